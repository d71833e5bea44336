import { describe, expect, test } from 'vitest';
import { matchesFilter, maxTopicBytes, resolveTopic } from '../../../hostcalls/topics.ts';

describe('matching a topic filter', () => {
  test.each([
    ['a/b', 'a/b', true],
    ['a/b', 'a/b/c', false],
    ['a/b/c', 'a/b', false],
    ['a/#', 'a/b/c', true],
    ['a/#', 'a', true],
    ['a/#', 'ab', false],
    ['#', 'a/b', true],
    ['#', '$SYS/x', false],
    ['+/x', '$SYS/x', false],
    ['$SYS/#', '$SYS/x', true],
    ['a/+', 'a/b', true],
    ['a/+', 'a/', true],
    ['a/+', 'a', false],
    ['a/+/c', 'a/b/c', true],
    ['a/+/c', 'a/b/d/c', false],
    ['+', '/a', false],
    ['+/+', '/a', true],
    ['a/../b', 'b', false],
    ['a/../b', 'a/../b', true],
  ])('%s and %s: %s', (filter, topic, matches) => {
    expect(matchesFilter(filter, topic)).toBe(matches);
  });
});

describe('resolving a topic', () => {
  const own = {
    publish: [{ filter: 'loamlet/n/default/app/#', qos: 1, retain: true }],
    prefix: 'loamlet/n/default/app/',
  } as const;
  const asked = {
    publish: [
      { filter: 'garden/bed-3', qos: 0, retain: false },
      { filter: 'garden/#', qos: 1, retain: true },
    ],
  } as const;

  test('puts the prefix of a pod without topics of its own before it', () => {
    expect(resolveTopic(own, 'soil')).toEqual({ topic: 'loamlet/n/default/app/soil', qos: 1, retain: true });
  });

  test('has no way out of the prefix, since .. is only a name', () => {
    expect(resolveTopic(own, '../other/x')).toMatchObject({ topic: 'loamlet/n/default/app/../other/x' });
  });

  test('takes quality of service and retain of the first filter that matches', () => {
    expect(resolveTopic(asked, 'garden/bed-3')).toEqual({ topic: 'garden/bed-3', qos: 0, retain: false });
    expect(resolveTopic(asked, 'garden/bed-4')).toEqual({ topic: 'garden/bed-4', qos: 1, retain: true });
  });

  test('denies a topic outside the grant, with the topic and what is granted', () => {
    const denial = resolveTopic(asked, 'kitchen/oven');
    expect(denial).toMatchObject({ denied: 'permission-denied' });
    expect(denial).toHaveProperty('message', 'topic kitchen/oven is not granted: garden/bed-3, garden/#');
  });

  test.each([
    ['an empty one', ''],
    ['a wildcard', 'garden/+'],
    ['a wildcard at the end', 'garden/#'],
    ['a NUL', 'garden/\0'],
    ['a control character', 'garden/\u0007'],
    ['a non-character', 'garden/\ufffe'],
    ['half a surrogate pair', 'garden/\ud800'],
    ["the broker's own", '$SYS/x'],
    ['too many bytes', `garden/${'ü'.repeat(maxTopicBytes / 2)}`],
    ['too many levels', `garden${'/'.repeat(128)}`],
  ])('refuses %s, over which a broker would end the connection', (_, topic) => {
    expect(resolveTopic({ publish: [{ filter: '#', qos: 1, retain: false }] }, topic)).toMatchObject({
      denied: 'other',
    });
  });

  test('counts the prefix into the bound', () => {
    const long = 'x'.repeat(maxTopicBytes - own.prefix.length);
    expect(resolveTopic(own, long)).toHaveProperty('topic');
    expect(resolveTopic(own, `${long}x`)).toMatchObject({ denied: 'other' });
  });
});
