/** Which MQTT topic a module's topic is, if its grant has it. Asked by the host call, and again by the agent. */
import type { MessagingGrant, PublishGrant } from './grant.ts';

/** Bytes of UTF-8 of a whole topic, prefix included. */
export const maxTopicBytes = 1024;
/** Levels of a topic; mosquitto ends the connection over 200. */
const maxTopicLevels = 128;

export interface ResolvedTopic {
  /** As it goes to the broker. */
  readonly topic: string;
  readonly qos: 0 | 1;
  readonly retain: boolean;
}

/** `other`: no topic at all; `permission-denied`: a topic, but not one of the grant. */
export interface TopicDenial {
  readonly denied: 'other' | 'permission-denied';
  readonly message: string;
}

export function resolveTopic(grant: MessagingGrant, topic: string): ResolvedTopic | TopicDenial {
  if (topic === '') return { denied: 'other', message: 'the topic is empty' };
  const full = (grant.prefix ?? '') + topic;
  const fault = topicFault(full);
  if (fault !== undefined) return { denied: 'other', message: fault };
  const allowed = grant.publish.find((candidate) => matchesFilter(candidate.filter, full));
  if (allowed === undefined) return { denied: 'permission-denied', message: notGranted(full, grant.publish) };
  return { topic: full, qos: allowed.qos, retain: allowed.retain };
}

/**
 * Why no broker takes this topic (MQTT 5 §1.5.4, §4.7), or undefined. A broker ends the connection over one, which would
 * hold up everybody's messages, so what brokers may refuse (control and non-characters) is refused here.
 */
export function topicFault(topic: string): string | undefined {
  if (topic === '') return 'the topic is empty';
  if (Buffer.byteLength(topic) > maxTopicBytes) return `the topic is longer than ${maxTopicBytes} bytes`;
  if (topic.startsWith('$')) return 'topics that begin with $ are for the broker alone';
  if (/[+#]/.test(topic)) return 'the topic holds a wildcard (+ or #), which only subscriptions may';
  if (!topic.isWellFormed() || forbiddenCharacter.test(topic)) {
    return 'the topic holds a control character or one that is not Unicode';
  }
  if (topic.split('/').length > maxTopicLevels) return `the topic has more than ${maxTopicLevels} levels`;
  return undefined;
}

// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const forbiddenCharacter = /[\u0000-\u001f\u007f-\u009f\ufdd0-\ufdef]|\p{Noncharacter_Code_Point}/u;

/** MQTT 5 §4.7: `+` is one level, `#` all that follow and the level above them. */
export function matchesFilter(filter: string, topic: string): boolean {
  const wanted = filter.split('/');
  const levels = topic.split('/');
  // Wildcards at the start do not reach the broker's own topics.
  if (topic.startsWith('$') && (wanted[0] === '+' || wanted[0] === '#')) return false;
  for (const [index, level] of wanted.entries()) {
    if (level === '#') return true;
    if (index >= levels.length || (level !== '+' && level !== levels[index])) return false;
  }
  return wanted.length === levels.length;
}

function notGranted(topic: string, grants: readonly PublishGrant[]): string {
  const granted = grants.slice(0, 3).map((grant) => grant.filter);
  return granted.length === 0
    ? `no topic is granted, so not ${topic} either`
    : `topic ${topic} is not granted: ${granted.join(', ')}${grants.length > 3 ? ', …' : ''}`;
}
