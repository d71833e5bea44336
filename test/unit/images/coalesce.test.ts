import { expect, test } from 'vitest';
import { Coalesce } from '../../../src/images/coalesce.ts';
import { Slots } from '../../../src/images/slots.ts';

const never = new AbortController().signal;

test('does the work of one key once for all who wait, and again for those who come later', async () => {
  const coalesce = new Coalesce<number>();
  const { promise, resolve } = Promise.withResolvers<number>();
  let begun = 0;
  const work = () => {
    begun += 1;
    return promise;
  };
  const all = [coalesce.run('a', never, work), coalesce.run('a', never, work), coalesce.run('b', never, work)];
  resolve(7);
  expect(await Promise.all(all)).toEqual([7, 7, 7]);
  expect(begun).toBe(2);
  await coalesce.run('a', never, work);
  expect(begun).toBe(3);
});

test('aborts the work when the last who waited has given up, not before', async () => {
  const coalesce = new Coalesce<void>();
  const [one, two] = [new AbortController(), new AbortController()];
  let shared: AbortSignal = never;
  const work = (signal: AbortSignal) => {
    shared = signal;
    return new Promise<void>((_, reject) => {
      signal.addEventListener('abort', () => reject(new Error('aborted')));
    });
  };
  const first = coalesce.run('a', one.signal, work);
  const second = coalesce.run('a', two.signal, work);
  one.abort(new Error('first left'));
  await expect(first).rejects.toThrow('first left');
  expect(shared.aborted).toBe(false);
  two.abort(new Error('second left'));
  await expect(second).rejects.toThrow('second left');
  expect(shared.aborted).toBe(true);
});

test('an error goes to all who wait, and is not kept', async () => {
  const coalesce = new Coalesce<number>();
  const failing = () => Promise.reject(new Error('no'));
  const results = await Promise.allSettled([coalesce.run('a', never, failing), coalesce.run('a', never, failing)]);
  expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
  expect(await coalesce.run('a', never, () => Promise.resolve(1))).toBe(1);
});

test('slots let so many work at once, in the order they came, and skip who has given up', async () => {
  const slots = new Slots(1);
  const order: string[] = [];
  const gate = Promise.withResolvers<void>();
  const abort = new AbortController();
  const first = slots.use(never, () => gate.promise);
  const second = slots.use(abort.signal, () => Promise.resolve(order.push('second')));
  const third = slots.use(never, () => Promise.resolve(order.push('third')));
  abort.abort(new Error('left'));
  await expect(second).rejects.toThrow('left');
  gate.resolve();
  await Promise.all([first, third]);
  expect(order).toEqual(['third']);
  // The slot is free again, also after an error.
  await expect(slots.use(never, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(await slots.use(never, () => Promise.resolve(1))).toBe(1);
});
