/** Bytes of UTF-8, by MQTT's 16-bit length. */
export const maxTopicBytes = 65_535;

/**
 * Why a topic can't be published to, or undefined when it can. A broker ends the connection over such a topic, which
 * would stop everybody's messages behind it.
 */
export function topicFault(topic: string): string | undefined {
  if (topic === '') return 'the topic is empty';
  if (Buffer.byteLength(topic) > maxTopicBytes) return `the topic is longer than ${maxTopicBytes} bytes`;
  if (topic.startsWith('$')) return "topics that begin with $ are the broker's own";
  if (!topic.isWellFormed()) return 'the topic is not UTF-8';
  for (const character of topic) {
    const point = character.codePointAt(0) ?? 0;
    if (character === '+' || character === '#') return `the topic holds the wildcard ${character}`;
    if (
      point < 0x20 ||
      (point >= 0x7f && point < 0xa0) ||
      (point & 0xfffe) === 0xfffe ||
      (point >= 0xfdd0 && point <= 0xfdef)
    ) {
      return 'the topic holds a control character';
    }
  }
  return undefined;
}
