import { describe, expect, it } from 'vitest';
import { TimerWheel, type WheelEntry } from '../../../src/runner/timer-wheel.ts';

interface Sleeper extends WheelEntry {
  readonly id: number;
}

function sleeper(id: number): Sleeper {
  return { id, due: 0, wheelSlot: -1, wheelNext: null, wheelPrev: null };
}

/** Goes from deadline to deadline, as the scheduler does, and lists who fired when. */
function runOut(wheel: TimerWheel<Sleeper>): [id: number, at: number][] {
  const fired: [number, number][] = [];
  for (let due = wheel.nextDue(); due < Infinity; due = wheel.nextDue()) {
    wheel.advance(due, (entry) => fired.push([entry.id, due]));
  }
  return fired;
}

describe('the timer wheel', () => {
  it.each([0, 1, 4095, 4096, 1_000_000_007, 2 ** 31 + 5])('fires at the millisecond, from a start at %i', (start) => {
    const wheel = new TimerWheel<Sleeper>(start);
    const delays = [1, 2, 3, 4094, 4095, 4096, 4097, 8192, 100_000, 3_600_000];
    delays.forEach((delay, id) => wheel.add(sleeper(id), start + delay));
    expect(runOut(wheel)).toEqual(delays.map((delay, id) => [id, start + delay]));
    expect(wheel.size).toBe(0);
  });

  it('takes what is further than its last slot round again', () => {
    const wheel = new TimerWheel<Sleeper>(0);
    const week = 7 * 24 * 3_600_000;
    wheel.add(sleeper(1), week);
    expect(runOut(wheel)).toEqual([[1, week]]);
  });

  it('fires what is due already at the next look', () => {
    const wheel = new TimerWheel<Sleeper>(5000);
    wheel.add(sleeper(1), 10);
    expect(wheel.nextDue()).toBe(5000);
    expect(runOut(wheel)).toEqual([[1, 5000]]);
  });

  it('never fires early when time stands still or jumps', () => {
    const wheel = new TimerWheel<Sleeper>(0);
    const fired: number[] = [];
    for (const delay of [5, 4100, 9000]) wheel.add(sleeper(delay), delay);
    for (const now of [0, 0, 4, 4.9]) wheel.advance(now, ({ id }) => fired.push(id));
    expect(fired).toEqual([]);
    wheel.advance(100_000, ({ id }) => fired.push(id));
    expect(fired).toEqual([5, 4100, 9000]);
  });

  it('looks at a block it has just reached, though something near was added since', () => {
    const wheel = new TimerWheel<Sleeper>(0);
    wheel.add(sleeper(1), 4098);
    wheel.advance(4095, () => {});
    wheel.add(sleeper(2), 4100);
    expect(runOut(wheel).map(([id]) => id)).toEqual([1, 2]);
  });

  it('forgets what is removed, and takes it again', () => {
    const wheel = new TimerWheel<Sleeper>(0);
    const [a, b, c] = [sleeper(1), sleeper(2), sleeper(3)];
    for (const entry of [a, b, c]) wheel.add(entry, 10);
    wheel.remove(b);
    wheel.remove(b);
    wheel.add(b, 20);
    expect(runOut(wheel).toSorted(([one], [other]) => one - other)).toEqual([
      [1, 10],
      [2, 20],
      [3, 10],
    ]);
  });

  it('does not lose or double anyone among many', () => {
    const wheel = new TimerWheel<Sleeper>(123);
    let state = 1;
    const dues = Array.from({ length: 5000 }, () => (state = (state * 48271) % 2147483647) % 50_000_000);
    dues.forEach((due, id) => wheel.add(sleeper(id), due));
    const fired = runOut(wheel);
    expect(fired.map(([id]) => id).toSorted((a, b) => a - b)).toEqual(dues.map((_, id) => id));
    for (const [id, at] of fired) expect(at).toBe(Math.max(123, dues[id]!));
  });
});
