import { expect, test } from 'vitest';
import type { AppendResult } from '../../../src/mqtt/outbox-item.ts';
import { item, items, ManualClock, numbers, OutboxWorld } from '../../support/outbox-world.ts';

const committed: AppendResult = { state: 'committed' };
const states = (results: readonly AppendResult[]): string[] => results.map(({ state }) => state);

test('a committed reading is on disk for the next start, with all its fields', async () => {
  const clock = new ManualClock();
  using world = new OutboxWorld({ clock });
  const results = await world.outbox.append([item(7, { retain: true, qos: 0, expiryMs: 5_000 })]);
  expect(results).toEqual([committed]);
  const [message] = world.reopen().page(0, 10, 1_000);
  expect(message).toEqual({
    seq: 1,
    topic: 'garden/bed-3/moisture',
    payload: Buffer.from('7'),
    qos: 0,
    retain: true,
    expiryMs: 5_000,
    bootId: 'boot-1',
    monotonicMs: 1_000,
    wallMs: Date.UTC(2026, 5, 1),
    clockSet: true,
  });
});

test('publishes that arrive together share one commit, and the next ones need no timer', async () => {
  using world = new OutboxWorld();
  await Promise.all(numbers(1, 50).map((number) => world.outbox.append([item(Number(number))])));
  expect(world.outbox.stats().commits).toBe(1);
  await world.outbox.append([item(51)]);
  expect(world.outbox.stats().commits).toBe(2);
  expect(world.waiting()).toEqual(numbers(1, 51));
});

test('is not answered before it is committed', async () => {
  using world = new OutboxWorld();
  let answered = false;
  const append = world.outbox.append([item(1)]).then(() => (answered = true));
  await Promise.resolve();
  expect([answered, world.waiting()]).toEqual([false, []]);
  await append;
  expect(world.waiting()).toEqual(['1']);
});

test('a repeated publish is answered as committed and stored once', async () => {
  using world = new OutboxWorld();
  await world.outbox.append(items(1, 3));
  expect(await world.outbox.append([...items(2, 4), item(4)])).toEqual([committed, committed, committed, committed]);
  expect(world.waiting()).toEqual(numbers(1, 4));
  expect(await world.outbox.append([item(2, { runnerId: 'runner-b' })])).toEqual([committed]);
  expect(world.waiting()).toEqual([...numbers(1, 4), '2']);
});

test('a repeated publish is not stored again after it was delivered, nor after a restart', async () => {
  using world = new OutboxWorld();
  await world.outbox.append(items(1, 10));
  world.outbox.delivered(world.outbox.page(0, 100, Infinity));
  expect(await world.outbox.append(items(8, 10))).toEqual([committed, committed, committed]);
  expect(world.waiting()).toEqual([]);
  expect(states(await world.reopen().append(items(9, 11)))).toEqual(['committed', 'committed', 'committed']);
  expect(world.waiting()).toEqual(['11']);
});

test('a publish that was answered with full is stored when it comes again, though later ones were stored before', async () => {
  using world = new OutboxWorld({ maxBytes: 1_000 });
  const big = item(2, { payload: Buffer.alloc(900) });
  expect(states(await world.outbox.append([item(1), big, item(3)]))).toEqual(['committed', 'full', 'committed']);
  world.outbox.delivered(world.outbox.page(0, 100, Infinity));
  const again = world.reopen({ maxBytes: 10_000 });
  expect(states(await again.append([item(1), { ...big, payload: Buffer.from('two') }, item(3)]))).toEqual([
    'committed',
    'committed',
    'committed',
  ]);
  expect(world.waiting()).toEqual(['two']);
});

test('answers full at the bound of rows and of bytes, and takes more once some are delivered', async () => {
  using world = new OutboxWorld({ maxRows: 3 });
  expect(states(await world.outbox.append(items(1, 4)))).toEqual(['committed', 'committed', 'committed', 'full']);
  expect(world.outbox.stats()).toMatchObject({ waiting: 3, fullTotal: 1 });
  world.outbox.delivered(world.outbox.page(0, 1, Infinity));
  expect(states(await world.outbox.append(items(4, 5)))).toEqual(['committed', 'full']);
  const reopened = world.reopen();
  expect(states(await reopened.append([item(5)]))).toEqual(['full']);
  const { bytes } = reopened.stats();
  expect(states(await world.reopen({ maxBytes: bytes }).append([item(5)]))).toEqual(['full']);
});

test('counts the same bytes after a restart as before, and none when all is delivered', async () => {
  using world = new OutboxWorld();
  await world.outbox.append([item(1, { topic: 'gärten/🌱', payload: Buffer.alloc(321, 1) }), item(2)]);
  const { bytes } = world.outbox.stats();
  expect(world.reopen().stats().bytes).toBe(bytes);
  world.outbox.delivered(world.outbox.page(0, 100, Infinity));
  expect(world.outbox.stats()).toMatchObject({ bytes: 0, waiting: 0, oldestAgeMs: undefined });
});

test('deletes what is delivered and nothing between', async () => {
  using world = new OutboxWorld();
  await world.outbox.append(items(1, 10));
  const messages = world.outbox.page(0, 100, Infinity);
  world.outbox.delivered(messages.filter(({ seq }) => ![4, 7, 8].includes(seq)).toReversed());
  expect(world.waiting()).toEqual(['4', '7', '8']);
  expect(world.reopen().stats()).toMatchObject({ waiting: 3 });
});

test('pages are bounded by rows and by bytes, with one row at least', async () => {
  using world = new OutboxWorld();
  await world.outbox.append(items(1, 10, { payload: Buffer.alloc(1_000) }));
  expect(world.outbox.page(0, 4, Infinity).map(({ seq }) => seq)).toEqual([1, 2, 3, 4]);
  expect(world.outbox.page(4, 100, 2_000).map(({ seq }) => seq)).toEqual([5, 6]);
  expect(world.outbox.page(6, 100, 1).map(({ seq }) => seq)).toEqual([7]);
  expect(world.outbox.page(10, 100, Infinity)).toEqual([]);
});

test('a refused message steps aside, survives a restart and comes back first when retried', async () => {
  using world = new OutboxWorld();
  await world.outbox.append(items(1, 3));
  const [first] = world.outbox.page(0, 1, Infinity);
  world.outbox.refused(first!, 'Not authorized');
  expect(world.waiting()).toEqual(['2', '3']);
  const outbox = world.reopen();
  expect(outbox.stats()).toMatchObject({ waiting: 2, refused: 1 });
  outbox.retryRefused();
  expect(world.waiting()).toEqual(['1', '2', '3']);
  expect(outbox.stats()).toMatchObject({ waiting: 3, refused: 0 });
});

test('drops the oldest refused message at the bound, with a log line and a count', async () => {
  using world = new OutboxWorld({ maxRefused: 2 });
  await world.outbox.append(items(1, 4));
  for (const message of world.outbox.page(0, 3, Infinity)) world.outbox.refused(message, 'Not authorized');
  expect(world.outbox.stats()).toMatchObject({ waiting: 1, refused: 2, droppedTotal: 1 });
  expect(world.testLog.atLeast(50)).toHaveLength(1);
  world.outbox.retryRefused();
  expect(world.waiting()).toEqual(['2', '3', '4']);
});

test.each([
  ['', 'empty'],
  ['garden/+/moisture', 'wildcard'],
  ['garden/#', 'wildcard'],
  ['$SYS/broker', '\\$'],
  ['a\u0000b', 'control'],
  ['a\ud800b', 'Unicode'],
  ['x'.repeat(65_536), 'longer'],
])('refuses the topic %j, which would end the connection for all', async (topic, why) => {
  using world = new OutboxWorld();
  const [result] = await world.outbox.append([item(1, { topic })]);
  expect(result).toMatchObject({ state: 'refused', message: expect.stringMatching(why) });
  expect(world.waiting()).toEqual([]);
});

test('refuses an oversized payload, a wild publish number and QoS 2, and stores their neighbours', async () => {
  using world = new OutboxWorld({ maxPayloadBytes: 10 });
  const bad = [
    item(2, { payload: Buffer.alloc(11) }),
    item(-1),
    item(1.5),
    item(Number.NaN),
    item(3, { qos: 2 as 1 }),
    item(4, { expiryMs: -1 }),
  ];
  const results = await world.outbox.append([item(1), ...bad, item(5)]);
  expect(states(results)).toEqual(['committed', ...bad.map(() => 'refused'), 'committed']);
  expect(world.waiting()).toEqual(['1', '5']);
});

test('a commit that fails is answered as failed, and the same publish is stored when the disk works again', async () => {
  using world = new OutboxWorld();
  await world.outbox.append([item(1)]);
  world.database.sqlite.pragma('query_only = ON');
  expect(states(await world.outbox.append([item(2), item(3)]))).toEqual(['failed', 'failed']);
  expect(world.outbox.stats()).toMatchObject({ waiting: 1, committedTotal: 1 });
  world.database.sqlite.pragma('query_only = OFF');
  expect(await world.outbox.append([item(2), item(3)])).toEqual([committed, committed]);
  expect(world.waiting()).toEqual(['1', '2', '3']);
});

test('rows that could not be deleted are deleted with the next ones', async () => {
  using world = new OutboxWorld();
  await world.outbox.append(items(1, 3));
  const [first, second] = world.outbox.page(0, 2, Infinity);
  world.database.sqlite.pragma('query_only = ON');
  world.outbox.delivered([first!]);
  expect(world.outbox.stats()).toMatchObject({ waiting: 2, deliveredTotal: 1 });
  world.database.sqlite.pragma('query_only = OFF');
  world.outbox.delivered([second!]);
  expect(world.waiting()).toEqual(['3']);
});

test('stores what was appended before it is closed, and answers failed after', async () => {
  using world = new OutboxWorld();
  const last = world.outbox.append([item(1)]);
  world.outbox[Symbol.dispose]();
  expect(await last).toEqual([committed]);
  expect(states(await world.outbox.append([item(2)]))).toEqual(['failed']);
  expect(world.waiting()).toEqual(['1']);
});

test('tells the age of the oldest row, over a reboot too where the clock was set', async () => {
  const clock = new ManualClock();
  using world = new OutboxWorld({ clock });
  await world.outbox.append([item(1)]);
  clock.pass(5_000);
  await world.outbox.append([item(2)]);
  expect(world.outbox.stats().oldestAgeMs).toBe(5_000);
  clock.moment = { ...clock.moment, bootId: 'boot-2', monotonicMs: 10 };
  expect(world.outbox.stats().oldestAgeMs).toBe(5_000);
  clock.moment = { ...clock.moment, clockSet: false };
  expect(world.outbox.stats().oldestAgeMs).toBeUndefined();
});

test('forgets the publish numbers of a runner that ended, and keeps its readings', async () => {
  using world = new OutboxWorld();
  await world.outbox.append([item(1), item(1, { runnerId: 'runner-b' })]);
  world.outbox.forget('runner-a');
  expect(world.database.sqlite.prepare('SELECT runner_id FROM published').pluck().all()).toEqual(['runner-b']);
  expect(world.waiting()).toEqual(['1', '1']);
  expect(await world.outbox.append(items(1, 2))).toEqual([committed, committed]);
  expect(world.waiting()).toEqual(['1', '1', '2']);
});
