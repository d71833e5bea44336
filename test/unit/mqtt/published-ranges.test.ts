import { expect, test } from 'vitest';
import { PublishedRanges, type Range } from '../../../src/mqtt/published-ranges.ts';

test('numbers in a row are one range', () => {
  const ranges = new PublishedRanges();
  for (let number = 5; number <= 900; number += 1) ranges.add(number);
  expect(ranges.ranges).toEqual([{ first: 5, last: 900 }]);
});

test('agrees with a plain set, and its changes make the same table, whatever the order', () => {
  let seed = 42;
  const random = (below: number): number => (seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) % below;
  const set = new Set<number>();
  const table = new Map<number, number>();
  const ranges = new PublishedRanges();
  for (let round = 0; round < 2_000; round += 1) {
    const number = random(1_500);
    expect(ranges.add(number)).toBe(!set.has(number));
    set.add(number);
    if (round % 7 !== 0) continue;
    const { saved, removed } = ranges.takeChanges();
    for (const first of removed) expect(table.delete(first) || !table.has(first)).toBe(true);
    for (const { first, last } of saved) table.set(first, last);
    expect(stored(table)).toEqual(ranges.ranges);
  }
  for (let number = 0; number < 1_500; number += 1) expect(ranges.has(number)).toBe(set.has(number));
});

test('past its bound the oldest gap closes, the newest stay open', () => {
  const ranges = new PublishedRanges();
  const highest = PublishedRanges.maxRanges * 2 + 10;
  for (let number = 0; number <= highest; number += 2) ranges.add(number);
  expect(ranges.ranges).toHaveLength(PublishedRanges.maxRanges);
  expect([ranges.has(1), ranges.has(highest - 1)]).toEqual([true, false]);
});

function stored(table: Map<number, number>): Range[] {
  return [...table].map(([first, last]) => ({ first, last })).toSorted((a, b) => a.first - b.first);
}
