import type { MessagingGrant, PublishGrant } from '../../hostcalls/grant.ts';
import type { NodePolicy, Rules } from './admission.ts';
import { AdmissionError } from './admission-error.ts';
import { covers } from './filter-cover.ts';
import { podLabel, type Pod } from './pod.ts';

const publishAnnotation = 'mqtt.loamlet.dev/publish';
const subscribeAnnotation = 'mqtt.loamlet.dev/subscribe';
const ownTopics = { qos: 1, retain: true } as const;
/** Filters a pod may ask for: each is tried for each publish. */
const maxFilters = 32;

/**
 * The topics of a pod: what `mqtt.loamlet.dev/publish` asks for within the policy, else its own prefix. Undefined where
 * the node has no broker or the policy is silent about the pod.
 * @throws AdmissionError
 */
export function messagingGrant(pod: Pod, policy: NodePolicy, rules: Rules): MessagingGrant | undefined {
  if (pod.annotations[subscribeAnnotation] !== undefined) {
    throw new AdmissionError(
      `annotation ${subscribeAnnotation}: this version does not deliver messages to modules`,
      'remove it',
    );
  }
  const asked = pod.annotations[publishAnnotation];
  if (!policy.messaging) {
    if (asked !== undefined) throw new AdmissionError('this node has no broker', 'set mqtt in the node config');
    return undefined;
  }
  const prefix = `loamlet/${policy.nodeName}/${pod.namespace}/${pod.topicName}/`;
  const own = rules === 'all' || rules.length > 0 ? [{ filter: `${prefix}#`, ...ownTopics }] : [];
  if (asked === undefined) return own.length === 0 ? undefined : { prefix, publish: own };
  const offers = [...(rules === 'all' ? [] : rules.flatMap((rule) => rule.publish)), ...own];
  const filters = asked.split(',', maxFilters + 1).map((filter) => filter.trim());
  if (filters.length > maxFilters)
    throw new AdmissionError(`annotation ${publishAnnotation} has more than ${maxFilters} filters`);
  return { publish: filters.map((filter) => publishGrant(filter, pod, offers)) };
}

function publishGrant(filter: string, pod: Pod, offers: readonly PublishGrant[]): PublishGrant {
  const offer = offers.find((candidate) => covers(candidate.filter, filter));
  if (offer === undefined) {
    throw new AdmissionError(
      `this node's policy lets ${podLabel(pod)} publish to no topics of ${filter === '' ? 'an empty filter' : filter}`,
      'add a publish filter for it to the policy in the node config, or remove the annotation to use the own prefix',
    );
  }
  return { filter, qos: offer.qos, retain: offer.retain };
}
