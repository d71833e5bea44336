import { describe, expect, it } from 'vitest';
import { matchesFilter } from '../../../hostcalls/topics.ts';
import { covers } from '../../../src/pods/filter-cover.ts';

describe('a policy filter covers what is asked', () => {
  it.each([
    ['garden/#', 'garden/bed-3/#'],
    ['garden/#', 'garden'],
    ['garden/#', 'garden/+/set'],
    ['garden/+', 'garden/a'],
    ['garden/+/set', 'garden/+/set'],
    ['#', '+/#'],
    ['+/#', '#'],
    ['#', '/'],
    ['+/+', '/'],
    ['a//b', 'a//b'],
  ])('%s covers %s', (policy, asked) => expect(covers(policy, asked)).toBe(true));

  it.each([
    ['garden/+', 'garden/#'],
    ['garden/+', 'garden'],
    ['garden/+', 'garden/a/b'],
    ['garden/a', 'garden/+'],
    ['garden', 'garden/#'],
    ['a/+/#', 'a/#'],
    ['+/+/#', '+/#'],
    ['garden/#', 'gardens/x'],
    ['garden/#', '#'],
    ['#', ''],
    ['', ''],
    ['#', 'a/#/b'],
    ['#', 'a+'],
    ['#', 'a/b#'],
    ['#', '$SYS/#'],
    ['$SYS/#', '$SYS/#'],
    ['#', 'a\0b'],
    ['a#', 'a#'],
    ['#', 'x'.repeat(1025)],
  ])('%s does not cover %s', (policy, asked) => expect(covers(policy, asked)).toBe(false));
});

it('agrees with matching every topic, for all filters of up to three levels', () => {
  const words = (alphabet: readonly string[], levels: number): string[][] =>
    levels === 0 ? [[]] : words(alphabet, levels - 1).flatMap((word) => alphabet.map((level) => [...word, level]));
  const filters = [1, 2, 3].flatMap((levels) =>
    words(['a', 'b', '', '+', '#'], levels)
      .filter((word) => word.slice(0, -1).every((level) => level !== '#'))
      .map((word) => word.join('/'))
      .filter((filter) => filter !== ''),
  );
  // The empty topic, which nobody may use, is the level above `/#`. `z` stands for every level that no filter names; four levels are one more than any filter has.
  const topics = [1, 2, 3, 4].flatMap((levels) => words(['a', 'b', '', 'z'], levels).map((word) => word.join('/')));
  const matched = filters.map((filter) => new Set(topics.filter((topic) => matchesFilter(filter, topic))));
  let covered = 0;
  filters.forEach((policy, outer) => {
    filters.forEach((asked, inner) => {
      const isSubset = matched[inner]?.isSubsetOf(matched[outer] ?? new Set()) ?? false;
      const says = covers(policy, asked);
      if (says) covered++;
      if (says !== isSubset) expect.fail(`covers(${policy}, ${asked}) is ${says}`);
    });
  });
  expect(covered).toBeGreaterThan(filters.length);
});
