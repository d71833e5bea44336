import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Backoff } from '../../../src/mqtt/backoff.ts';
import { DirectPublisher } from '../../../src/mqtt/direct-publisher.ts';
import { MqttLink, type LinkOptions, type LinkState, type LinkStatus } from '../../../src/mqtt/link.ts';
import { Gate } from '../../support/gate.ts';
import { Mosquitto } from '../../support/mosquitto.ts';
import { item, items, numbers, OutboxWorld } from '../../support/outbox-world.ts';
import { Subscriber } from '../../support/subscriber.ts';
import { TestLog } from '../../support/test-log.ts';

function openLink(world: OutboxWorld, url: string, options: Partial<LinkOptions> = {}): Promise<MqttLink> {
  const backoff = new Backoff({ firstMs: 10, maxMs: 50 });
  return MqttLink.open({ url, source: world.outbox, clientId: 'loamlet-pi', backoff, ...options }, world.log);
}

function reaches(link: MqttLink, state: LinkState): Promise<LinkStatus> {
  if (link.status().state === state) return Promise.resolve(link.status());
  return new Promise((resolve) => {
    const stop = link.onStatus((status) => {
      if (status.state !== state) return;
      stop();
      resolve(status);
    });
  });
}

/** In the order of their first arrival. */
const once = (payloads: readonly string[]): string[] => [...new Set(payloads)];

test('10,000 readings arrive once each and in order, and nothing stays on disk', async () => {
  await using mosquitto = await Mosquitto.start();
  using world = new OutboxWorld();
  await using subscriber = await Subscriber.open(mosquitto.url, '#');
  await using link = await openLink(world, mosquitto.url);
  for (let first = 1; first <= 10_000; first += 100) await world.outbox.append(items(first, first + 99));
  expect(await subscriber.count(10_000)).toEqual(numbers(1, 10_000));
  expect(link.status()).toMatchObject({ state: 'connected', protocol: '5.0' });
  await link[Symbol.asyncDispose]();
  expect(subscriber.payloads).toHaveLength(10_000);
  expect(world.outbox.stats()).toMatchObject({ waiting: 0, bytes: 0 });
});

test('keeps the readings when the broker is away, and delivers them in order when it is back', async () => {
  await using mosquitto = await Mosquitto.start({ persistence: true });
  using world = new OutboxWorld();
  await using subscriber = await Subscriber.open(mosquitto.url, 'garden/#', { session: 'view' });
  await using link = await openLink(world, mosquitto.url);
  await world.outbox.append(items(1, 50));
  await subscriber.count(50);
  await mosquitto.stop();
  await reaches(link, 'unreachable');
  await world.outbox.append(items(51, 500));
  expect(world.outbox.stats().waiting).toBeGreaterThanOrEqual(450);
  await mosquitto.start();
  await subscriber.until((received) => received.some(({ payload }) => payload === '500'));
  expect(once(subscriber.payloads)).toEqual(numbers(1, 500));
});

test('survives a network that breaks over and over: all arrive, in order, duplicates only of what was in flight', async () => {
  await using mosquitto = await Mosquitto.start();
  await using gate = await Gate.before(mosquitto.port);
  using world = new OutboxWorld();
  await using subscriber = await Subscriber.open(mosquitto.url, '#');
  // A CONNACK and some dozen acknowledgements; each connection moves the line on a little.
  gate.cutAfter(150);
  await world.outbox.append(items(1, 400));
  await using link = await openLink(world, gate.url, { windowSize: 16 });
  await subscriber.until((received) => received.some(({ payload }) => payload === '400'));
  expect(once(subscriber.payloads)).toEqual(numbers(1, 400));
  expect(gate.passed).toBeGreaterThan(5);
  expect(subscriber.payloads.length - 400).toBeLessThanOrEqual(gate.passed * 16);
  gate.cutAfter(Infinity);
  await link[Symbol.asyncDispose]();
});

test('a refused login is told with user and remedy; readings wait on disk and arrive once the broker knows the user', async () => {
  await using mosquitto = await Mosquitto.start({ passwords: { view: 'v' }, persistence: true });
  using world = new OutboxWorld();
  await world.outbox.append(items(1, 10));
  await using subscriber = await Subscriber.open(mosquitto.url, '#', {
    username: 'view',
    password: 'v',
    session: 'view',
  });
  await using link = await openLink(world, mosquitto.url, { username: 'pi', password: 'secret' });
  const { message } = await reaches(link, 'refused');
  expect(message).toMatch(
    /^the broker mqtt:\/\/127\.0\.0\.1:\d+ refused the login as user "pi" \(Not authorized|Bad User.*\): check mqtt\.username/,
  );
  expect(world.waiting()).toEqual(numbers(1, 10));
  await mosquitto.stop();
  mosquitto.configure({ passwords: { view: 'v', pi: 'secret' }, persistence: true });
  await mosquitto.start();
  expect(once(await subscriber.count(10))).toEqual(numbers(1, 10));
  const lines = world.testLog.atLeast(40).map(({ err }) => err);
  expect(lines.filter((line) => line === message)).toHaveLength(1);
  expect(JSON.stringify(world.testLog.lines)).not.toContain('secret');
});

test('a login without a user name is told to set one', async () => {
  await using mosquitto = await Mosquitto.start({ passwords: { view: 'v' } });
  const { log } = new TestLog();
  await expect(DirectPublisher.open({ url: mosquitto.url }, log)).rejects.toThrow(
    /refused the login without a user name/,
  );
});

test('a retained reading is there for who subscribes later', async () => {
  await using mosquitto = await Mosquitto.start();
  using world = new OutboxWorld();
  {
    await using link = await openLink(world, mosquitto.url);
    await reaches(link, 'connected');
    await world.outbox.append([
      item(1, { retain: true }),
      item(2, { retain: true }),
      item(3, { topic: 'garden/other' }),
    ]);
  }
  await using subscriber = await Subscriber.open(mosquitto.url, 'garden/#');
  await subscriber.count(1);
  expect(subscriber.received).toEqual([{ topic: 'garden/bed-3/moisture', payload: '2', retain: true, qos: 1 }]);
});

test('QoS 0 and 1 are published as they were asked', async () => {
  await using mosquitto = await Mosquitto.start();
  using world = new OutboxWorld();
  await using subscriber = await Subscriber.open(mosquitto.url, '#');
  await using _link = await openLink(world, mosquitto.url);
  await world.outbox.append([item(1, { qos: 0 }), item(2, { qos: 1 })]);
  await subscriber.count(2);
  expect(subscriber.received.map(({ qos }) => qos)).toEqual([0, 1]);
});

test('says online while it is there, offline when it goes and when it vanishes', async () => {
  await using mosquitto = await Mosquitto.start();
  await using gate = await Gate.before(mosquitto.port);
  using world = new OutboxWorld();
  await using view = await Subscriber.open(mosquitto.url, 'loamlet/pi/status');
  const link = await openLink(world, gate.url, { statusTopic: 'loamlet/pi/status' });
  await view.count(1);
  gate.shut();
  await view.count(2);
  gate.open();
  await view.count(3);
  await link[Symbol.asyncDispose]();
  await view.count(4);
  expect(view.payloads).toEqual(['online', 'offline', 'online', 'offline']);
  await using later = await Subscriber.open(mosquitto.url, 'loamlet/pi/status');
  await later.count(1);
  expect(later.received).toMatchObject([{ payload: 'offline', retain: true }]);
});

test('a message larger than the broker takes steps aside, and the others arrive', async () => {
  await using mosquitto = await Mosquitto.start({ lines: ['max_packet_size 2000'] });
  using world = new OutboxWorld();
  await using subscriber = await Subscriber.open(mosquitto.url, '#');
  await using link = await openLink(world, mosquitto.url);
  await world.outbox.append([item(1), item(2, { payload: Buffer.alloc(5_000) }), item(3)]);
  expect(await subscriber.count(2)).toEqual(['1', '3']);
  await link[Symbol.asyncDispose]();
  expect(world.outbox.stats()).toMatchObject({ waiting: 0, refused: 1 });
});

test('a topic the broker does not allow steps aside, and arrives once the broker allows it', async () => {
  const passwords = { pi: 'p', view: 'v' };
  using world = new OutboxWorld();
  const acl = `${world.path}.acl`;
  const allow = (topics: string[]): void =>
    writeFileSync(acl, `user view\ntopic #\n\nuser pi\n${topics.map((topic) => `topic ${topic}\n`).join('')}`);
  allow(['garden/#']);
  await using mosquitto = await Mosquitto.start({ passwords, persistence: true, lines: [`acl_file ${acl}`] });
  await using subscriber = await Subscriber.open(mosquitto.url, '#', {
    username: 'view',
    password: 'v',
    session: 'view',
  });
  const first = await openLink(world, mosquitto.url, { username: 'pi', password: 'p' });
  await world.outbox.append([...items(1, 100, { topic: 'house/door' }), ...items(101, 200)]);
  await subscriber.until((received) => received.some(({ payload }) => payload === '200'));
  expect(once(subscriber.payloads)).toEqual(numbers(101, 200));
  expect(world.outbox.stats()).toMatchObject({ refused: 100 });
  // One line for the topic, not one for each message.
  expect(world.testLog.atLeast(50)).toMatchObject([{ topic: 'house/door', reason: 'Not authorized' }]);
  await first[Symbol.asyncDispose]();
  await mosquitto.stop();
  allow(['garden/#', 'house/#']);
  await mosquitto.start();
  await using _link = await openLink(world, mosquitto.url, { username: 'pi', password: 'p' });
  await subscriber.until((received) => received.some(({ payload }) => payload === '100'));
  expect(once(subscriber.payloads)).toEqual([...numbers(101, 200), ...numbers(1, 100)]);
});

test('tries refused messages again after a while, over the same connection or another', async () => {
  const passwords = { pi: 'p', view: 'v' };
  using world = new OutboxWorld();
  const acl = `${world.path}.acl`;
  writeFileSync(acl, 'user view\ntopic #\n');
  await using mosquitto = await Mosquitto.start({ passwords, lines: [`acl_file ${acl}`] });
  await using subscriber = await Subscriber.open(mosquitto.url, '#', { username: 'view', password: 'v' });
  const refused = world.testLog.until((line) => line.msg === 'the broker refused a message; it is kept');
  await using _link = await openLink(world, mosquitto.url, { username: 'pi', password: 'p', retryRefusedMs: 50 });
  await world.outbox.append([item(1)]);
  await refused;
  writeFileSync(acl, 'user view\ntopic #\n\nuser pi\ntopic #\n');
  mosquitto.reload();
  expect(await subscriber.count(1)).toEqual(['1']);
});

test('a direct publish resolves when the broker has it, over a broken connection too', async () => {
  await using mosquitto = await Mosquitto.start();
  await using gate = await Gate.before(mosquitto.port);
  await using subscriber = await Subscriber.open(mosquitto.url, '#');
  const { log } = new TestLog();
  {
    await using publisher = await DirectPublisher.open({ url: gate.url }, log);
    await publisher.publish('t', Buffer.from('1'), 1, false);
    gate.shut();
    const second = publisher.publish('t', Buffer.from('2'), 1, false);
    gate.open();
    await second;
    void publisher.publish('t', Buffer.from('3'), 1, false);
  }
  expect(once(await subscriber.count(3))).toEqual(['1', '2', '3']);
});

test('closing a direct publisher whose broker is gone ends in time and says what was not acknowledged', async () => {
  const mosquitto = await Mosquitto.start();
  const { log } = new TestLog();
  const publisher = await DirectPublisher.open({ url: mosquitto.url, closeDeadlineMs: 100 }, log);
  await mosquitto[Symbol.asyncDispose]();
  const lost = expect(publisher.publish('t', Buffer.from('1'), 1, false)).rejects.toThrow('did not acknowledge');
  await publisher[Symbol.asyncDispose]();
  await lost;
});
