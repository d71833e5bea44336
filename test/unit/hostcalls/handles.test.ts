import { expect, test } from 'vitest';
import { GuestTrap } from '../../../hostcalls/guest.ts';
import { GuestHandles } from '../../../hostcalls/handles.ts';

test('gives handles that are neither 0 nor 0xffffffff, and none twice while others are free', () => {
  const handles = new GuestHandles(2);
  const given = new Set<number>();
  for (let round = 0; round < 1000; round++) {
    const handle = handles.add('sensor', {});
    given.add(handle);
    handles.drop('sensor', handle);
  }
  expect(given.size).toBe(1000);
  expect(given).not.toContain(0);
  expect(given).not.toContain(0xffff_ffff);
});

test('takes a handle as the signed number it arrives as', () => {
  const handles = new GuestHandles();
  expect(() => handles.get('sensor', -1)).toThrow('used handle 4294967295, which it does not hold');
});

test.each([
  ['that was never given', (handles: GuestHandles) => handles.get('sensor', 99)],
  ['of another kind', (handles: GuestHandles) => handles.get('subscription', handles.add('sensor', {}))],
  [
    'dropped before',
    (handles: GuestHandles) => {
      const handle = handles.add('sensor', {});
      handles.drop('sensor', handle);
      handles.drop('sensor', handle);
    },
  ],
])('traps on a handle %s', (_, use) => {
  expect(() => use(new GuestHandles())).toThrow(GuestTrap);
});

test('traps at its bound, and has room again after a drop', () => {
  const handles = new GuestHandles(3);
  const [first] = [handles.add('a', {}), handles.add('a', {}), handles.add('a', {})];
  expect(() => handles.add('a', {})).toThrow(GuestTrap);
  handles.drop('a', first);
  expect(handles.add('a', {})).toBeGreaterThan(0);
});

test('closes all that is left, the last first, and waits for what was dropped', async () => {
  const closed: string[] = [];
  const handles = new GuestHandles();
  const slow = Promise.withResolvers<void>();
  handles.add('a', { [Symbol.dispose]: () => closed.push('first') });
  handles.add('a', { [Symbol.dispose]: () => closed.push('second') });
  const dropped = handles.add('a', {
    [Symbol.asyncDispose]: () => slow.promise.then(() => void closed.push('dropped')),
  });
  handles.drop('a', dropped);
  const all = handles.closeAll();
  expect(closed).toEqual(['second', 'first']);
  slow.resolve();
  await all;
  expect(closed).toEqual(['second', 'first', 'dropped']);
  expect(handles.size).toBe(0);
});

test('ends well when closing fails', async () => {
  const handles = new GuestHandles();
  handles.add('a', { [Symbol.asyncDispose]: () => Promise.reject(new Error('stuck')) });
  await expect(handles.closeAll()).resolves.toBeUndefined();
});
