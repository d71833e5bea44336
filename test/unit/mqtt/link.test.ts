import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { Aedes, type AedesOptions } from 'aedes';
import { expect, test } from 'vitest';
import { Backoff } from '../../../src/mqtt/backoff.ts';
import { EmbeddedBroker } from '../../../src/mqtt/embedded-broker.ts';
import { MqttError } from '../../../src/mqtt/errors.ts';
import { MqttLink, type LinkOptions, type LinkState, type LinkStatus } from '../../../src/mqtt/link.ts';
import { item, items, ManualClock, numbers, OutboxWorld } from '../../support/outbox-world.ts';
import { Subscriber } from '../../support/subscriber.ts';
import { TestLog } from '../../support/test-log.ts';

const { log } = new TestLog();

function openLink(world: OutboxWorld, url: string, options: Partial<LinkOptions> = {}): Promise<MqttLink> {
  const backoff = new Backoff({ firstMs: 5, maxMs: 20 });
  return MqttLink.open({ url, source: world.outbox, clientId: 'loamlet-test', backoff, ...options }, world.log);
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

/** An aedes with its hooks in the test's hands. */
class HookedBroker implements AsyncDisposable {
  readonly #server: Server;
  readonly #aedes: Aedes;
  readonly url: string;

  private constructor(server: Server, aedes: Aedes, port: number) {
    this.#server = server;
    this.#aedes = aedes;
    this.url = `mqtt://127.0.0.1:${port}`;
  }

  static async open(options: AedesOptions): Promise<HookedBroker> {
    const aedes = await Aedes.createBroker(options);
    const server = createServer((socket) => void aedes.handle(socket)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (typeof address !== 'object' || address === null) throw new Error('no port');
    return new HookedBroker(server, aedes, address.port);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    await new Promise<void>((resolve) => this.#aedes.close(() => resolve()));
  }
}

test('delivers what waits in order, then what comes, and deletes it from disk', async () => {
  using world = new OutboxWorld();
  await world.outbox.append(items(1, 200));
  await using broker = await EmbeddedBroker.open({ port: 0 }, log);
  await using subscriber = await Subscriber311.open(broker.url);
  await using link = await openLink(world, broker.url);
  await subscriber.count(200);
  await world.outbox.append(items(201, 300));
  expect(await subscriber.count(300)).toEqual(numbers(1, 300));
  await link[Symbol.asyncDispose]();
  expect(world.outbox.stats()).toMatchObject({ waiting: 0, bytes: 0, deliveredTotal: 300 });
});

test('falls back to MQTT 3.1.1 for a broker that knows no other', async () => {
  using world = new OutboxWorld();
  await using broker = await EmbeddedBroker.open({ port: 0 }, log);
  await using link = await openLink(world, broker.url);
  expect(await reaches(link, 'connected')).toMatchObject({ protocol: '3.1.1', url: broker.url });
});

test('drops what is too old when it would go out, and counts it', async () => {
  const clock = new ManualClock();
  using world = new OutboxWorld({ clock });
  await world.outbox.append([item(1, { expiryMs: 1_000 }), item(2, { expiryMs: 60_000 }), item(3)]);
  clock.pass(30_000);
  await using broker = await EmbeddedBroker.open({ port: 0 }, log);
  await using subscriber = await Subscriber311.open(broker.url);
  await using link = await openLink(world, broker.url, { clock });
  expect(await subscriber.count(2)).toEqual(['2', '3']);
  await link[Symbol.asyncDispose]();
  expect(world.outbox.stats()).toMatchObject({ waiting: 0, expiredTotal: 1, deliveredTotal: 2 });
});

test('a long list of messages that are too old is dropped whole, and what follows arrives', async () => {
  const clock = new ManualClock();
  using world = new OutboxWorld({ clock });
  await world.outbox.append([...items(1, 3_000, { expiryMs: 1 }), item(3_001)]);
  clock.pass(2);
  await using broker = await EmbeddedBroker.open({ port: 0 }, log);
  await using subscriber = await Subscriber311.open(broker.url);
  await using link = await openLink(world, broker.url, { clock });
  expect(await subscriber.count(1)).toEqual(['3001']);
  await link[Symbol.asyncDispose]();
  expect(world.outbox.stats()).toMatchObject({ waiting: 0, expiredTotal: 3_000 });
});

test('a refused login is one line with user and remedy, logged once, while readings wait; let in, they arrive', async () => {
  let letIn = false;
  let attempts = 0;
  const fourth = Promise.withResolvers<void>();
  await using broker = await HookedBroker.open({
    authenticate: (_client, _username, _password, done) => {
      attempts += 1;
      if (attempts === 4) fourth.resolve();
      done(letIn ? null : Object.assign(new Error('no'), { returnCode: 4 }), letIn);
    },
  });
  using world = new OutboxWorld();
  await world.outbox.append(items(1, 3));
  await using link = await openLink(world, broker.url, { username: 'pi', password: 'wrong' });
  const status = await reaches(link, 'refused');
  expect(status.message).toMatch(/refused the login as user "pi" \(Bad username or password\): check mqtt\.username/);
  expect(status.message).toContain(broker.url);
  await fourth.promise;
  expect(world.testLog.atLeast(40)).toMatchObject([{ err: status.message, waiting: 3 }]);
  expect(world.waiting()).toEqual(numbers(1, 3));
  letIn = true;
  await using subscriber = await Subscriber311.open(broker.url);
  expect(await subscriber.count(3)).toEqual(numbers(1, 3));
  expect(JSON.stringify(world.testLog.lines)).not.toContain('wrong');
});

test('a message over which the broker hangs up steps aside, so that the others arrive', async () => {
  await using broker = await HookedBroker.open({
    authorizePublish: (_client, packet, done) => done(packet.topic === 'poison' ? new Error('too large') : null),
  });
  using world = new OutboxWorld();
  await world.outbox.append([item(1), item(2, { topic: 'poison' }), ...items(3, 20)]);
  await using subscriber = await Subscriber311.open(broker.url);
  await using link = await openLink(world, broker.url);
  await subscriber.until((received) => received.some(({ payload }) => payload === '20'));
  const arrived = [...new Set(subscriber.payloads)];
  expect(arrived).toEqual(numbers(1, 20).filter((number) => number !== '2'));
  await link[Symbol.asyncDispose]();
  expect(world.outbox.stats()).toMatchObject({ waiting: 0, refused: 1 });
  expect(world.testLog.atLeast(50)).toMatchObject([
    { msg: 'the broker refused a message; it is kept', topic: 'poison' },
  ]);
});

test('a broker that is not there is unreachable, and closing does not wait for it', async () => {
  using world = new OutboxWorld();
  const broker = await EmbeddedBroker.open({ port: 0 }, log);
  await broker[Symbol.asyncDispose]();
  await world.outbox.append([item(1)]);
  const link = await openLink(world, broker.url, { backoff: new Backoff() });
  expect(await link.firstOutcome).toMatchObject({
    state: 'unreachable',
    message: expect.stringContaining('ECONNREFUSED'),
  });
  await link[Symbol.asyncDispose]();
  expect(link.status().state).toBe('closed');
  expect(world.waiting()).toEqual(['1']);
});

test('a password file that is missing is named, and read once it is there', async () => {
  using world = new OutboxWorld();
  await using broker = await EmbeddedBroker.open({ port: 0 }, log);
  const passwordFile = `${world.path}.password`;
  await using link = await openLink(world, broker.url, { username: 'pi', passwordFile });
  expect((await reaches(link, 'refused')).message).toContain(passwordFile);
  const { writeFileSync } = await import('node:fs');
  writeFileSync(passwordFile, 'secret\n');
  await reaches(link, 'connected');
});

test('a password without a user name is told, not sent', async () => {
  using world = new OutboxWorld();
  await using broker = await EmbeddedBroker.open({ port: 0 }, log);
  await using link = await openLink(world, broker.url, { password: 'secret' });
  expect(await link.firstOutcome).toMatchObject({
    state: 'refused',
    message: expect.stringContaining('mqtt.username'),
  });
});

test('a server that is no broker is unreachable', async () => {
  using world = new OutboxWorld();
  const server = createServer((socket) => void socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  await using link = await openLink(world, `mqtt://127.0.0.1:${port}`);
  const { state, message } = await link.firstOutcome;
  expect(state).toBe('unreachable');
  expect(message).toContain(`mqtt://127.0.0.1:${port}`);
  server.close();
});

test('a URL that is none fails at once', async () => {
  using world = new OutboxWorld();
  await expect(openLink(world, 'http://broker')).rejects.toThrow(MqttError);
});

test('the embedded broker says which port is taken and what to do', async () => {
  await using broker = await EmbeddedBroker.open({ port: 0 }, log);
  const error = await EmbeddedBroker.open({ port: broker.port }, log).catch((thrown: unknown) => thrown);
  expect((error as MqttError).line).toMatch(
    new RegExp(`127\\.0\\.0\\.1:${broker.port} \\(EADDRINUSE\\): is another broker`),
  );
});

const Subscriber311 = { open: (url: string) => Subscriber.open(url, '#', { protocolVersion: 4 }) };
