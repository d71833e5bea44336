import { execFile } from 'node:child_process';
import { rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { Mosquitto } from '../../support/mosquitto.ts';
import { NodeProcess } from '../../support/node-process.ts';
import { Subscriber } from '../../support/subscriber.ts';
import { until } from '../../support/until.ts';
import { numbersTo, podOf, useGuests } from './world.ts';

const guest = useGuests('counter');
const counted = 'loamlet/loam-1/default/counter/count';

/** The last number the module was told was published. */
function told(node: NodeProcess): number {
  return Number(
    node
      .printed('counter')
      .findLast((line) => line.startsWith('published '))
      ?.slice(10) ?? 0,
  );
}

async function untilTold(node: NodeProcess, number: number): Promise<void> {
  await until(
    `${number} are published`,
    () => told(node) >= number,
    () => `${told(node)}\n${node.log}`,
  );
}

/** What arrived, each counted where it came first. */
function arrived(subscriber: Subscriber): string[] {
  return [...new Set(subscriber.received.filter(({ topic }) => topic === counted).map(({ payload }) => payload))];
}

async function untilArrived(node: NodeProcess, subscriber: Subscriber, number: number): Promise<void> {
  await until(
    `${number} arrives`,
    () => subscriber.received.some(({ payload }) => Number(payload) >= number),
    () => `${subscriber.received.length} arrived, the last is ${subscriber.payloads.at(-1)}\n${node.log}`,
  );
}

/** Lets no file of the agent grow beyond so many bytes: to SQLite, a disk that fails. */
async function limitFiles(node: NodeProcess, bytes: string): Promise<void> {
  await promisify(execFile)('prlimit', ['--pid', String(node.pid), `--fsize=${bytes}:`]);
}

test('keeps readings on disk while the broker is away, and delivers all in order when it is back', async () => {
  await using mosquitto = await Mosquitto.start();
  await using node = await NodeProcess.start({ mqtt: { url: mosquitto.url } });
  await using first = await Subscriber.open(mosquitto.url, counted);
  node.apply(podOf('counter', guest('counter'), { env: { INTERVAL_MS: 5 } }));
  await untilArrived(node, first, 3);
  await mosquitto.stop();
  const early = arrived(first);
  await first[Symbol.asyncDispose]();
  await untilTold(node, told(node) + 100);
  const { broker, outbox } = await node.until(
    'the broker is away',
    // First the connection is closed; what is looked at is the next attempt to make one.
    ({ broker, outbox }) =>
      broker?.state === 'unreachable' && !broker.message?.includes('closed') && (outbox?.waiting ?? 0) >= 100,
  );
  expect(broker?.message).toMatch(
    /^the broker mqtt:\/\/127\.0\.0\.1:\d+ cannot be reached \(ECONNREFUSED\): is it running/,
  );
  expect(outbox?.refused).toBe(0);
  // Not even the end of the agent loses them.
  await node.signal('SIGKILL');
  await mosquitto.start();
  await using second = await Subscriber.open(mosquitto.url, counted);
  await node.start();
  const last = told(node) + 20;
  await untilTold(node, last);
  await untilArrived(node, second, last);
  const late = arrived(second);
  expect(late).toEqual(late.map((_, index) => String(Number(late[0]) + index)));
  expect([...new Set([...early, ...late])].slice(0, last)).toEqual(numbersTo(last));
});

test('kill -9 of the agent in the middle of publishing: the module goes on, the next agent adopts it, nothing is lost', async () => {
  await using mosquitto = await Mosquitto.start();
  await using subscriber = await Subscriber.open(mosquitto.url, counted);
  await using node = await NodeProcess.start({ mqtt: { url: mosquitto.url } });
  node.apply(podOf('counter', guest('counter'), { env: { INTERVAL_MS: 1 } }));
  await untilArrived(node, subscriber, 20);
  const runner = await node.runnerPid();
  for (let round = 1; round <= 6; round++) {
    const arrivedNow = arrived(subscriber).length;
    await untilArrived(node, subscriber, arrivedNow + 17 * round);
    await node.signal('SIGKILL');
    await node.start();
    expect(await node.running('counter')).toMatchObject({ restarts: 0 });
    expect(await node.runnerPid()).toBe(runner);
  }
  const last = told(node) + 50;
  await untilTold(node, last);
  await untilArrived(node, subscriber, last);
  const numbers = arrived(subscriber);
  expect(numbers).toEqual(numbersTo(numbers.length));
  expect(numbers.length).toBeGreaterThanOrEqual(last);
  // Its log has no gap either; what an agent had not confirmed may be in it twice.
  const printed = [...new Set(node.printed('counter'))];
  expect(printed).toEqual(numbersTo(printed.length).map((number) => `published ${number}`));
});

test('kill -9 of the broker, again and again: the node comes back and goes on in order', async () => {
  await using mosquitto = await Mosquitto.start();
  await using node = await NodeProcess.start({ mqtt: { url: mosquitto.url } });
  node.apply(podOf('counter', guest('counter'), { env: { INTERVAL_MS: 2 } }));
  let before = 0;
  for (let round = 1; round <= 3; round++) {
    await using subscriber = await Subscriber.open(mosquitto.url, counted);
    const wanted = told(node) + 30;
    await untilTold(node, wanted);
    await untilArrived(node, subscriber, wanted);
    const numbers = arrived(subscriber).map(Number);
    expect(numbers).toEqual(numbers.map((_, index) => (numbers[0] ?? 0) + index));
    expect(numbers.at(-1)).toBeGreaterThan(before);
    before = numbers.at(-1) ?? 0;
    await mosquitto.kill();
    await untilTold(node, before + 30);
    await mosquitto.start();
  }
  const { outbox } = await node.until('it is connected again', ({ broker }) => broker?.state === 'connected');
  expect(outbox?.refused).toBe(0);
});

test('a disk that fails: the module is told, what it was told before is kept, and Ctrl-C still ends all', async () => {
  await using mosquitto = await Mosquitto.start();
  await using subscriber = await Subscriber.open(mosquitto.url, counted);
  await mosquitto.stop();
  await using node = await NodeProcess.start({ mqtt: { url: mosquitto.url } });
  node.apply(podOf('counter', guest('counter'), { env: { INTERVAL_MS: 5 } }));
  await untilTold(node, 20);
  // No file of the agent grows past what the log of the database has now.
  const wal = join(node.stateDirectory, 'loamlet.db-wal');
  await limitFiles(node, String(statSync(wal).size));
  await node.untilPrinted('counter', 'not published: other: disk I/O error');
  await limitFiles(node, 'unlimited');
  await untilTold(node, told(node) + 20);

  await limitFiles(node, String(statSync(wal).size));
  const failures = (): number => node.printed('counter').filter((line) => line.startsWith('not published')).length;
  const before = failures();
  await until('it fails again', () => failures() > before);
  node.apply(podOf('late', guest('counter')));
  await node.running('late');
  expect(await node.signal('SIGINT')).toBe(0);
  expect(node.processes()).toEqual([]);
  const last = told(node);
  await mosquitto.start();
  await using second = await Subscriber.open(mosquitto.url, counted);
  await node.start();
  await untilArrived(node, second, last);
  const numbers = [...new Set([...arrived(subscriber), ...arrived(second)])];
  expect(numbers.slice(0, last)).toEqual(numbersTo(last));
});

test('a broker that refuses the login is named in one line, readings wait, and the right password delivers them', async () => {
  await using mosquitto = await Mosquitto.start({ passwords: { gardener: 'compost' } });
  const node = NodeProcess.prepare();
  const passwordFile = join(node.folder, 'password');
  writeFileSync(passwordFile, 'weeds\n', { mode: 0o600 });
  node.configure({ mqtt: { url: mosquitto.url, username: 'gardener', passwordFile } });
  await node.start();
  await using subscriber = await Subscriber.open(mosquitto.url, counted, { username: 'gardener', password: 'compost' });
  node.apply(podOf('counter', guest('counter'), { env: { INTERVAL_MS: 20 } }));
  await untilTold(node, 10);
  const { broker, outbox } = await node.until('it is refused', (status) => status.broker?.state === 'refused');
  expect(broker?.message).toMatch(/refused the login as user "gardener" .*: check mqtt.username and mqtt.passwordFile/);
  expect(outbox?.waiting).toBeGreaterThanOrEqual(10);
  const { stdout } = await node.command('status');
  expect(stdout.split('\n').filter((line) => line.includes('refused the login'))).toHaveLength(1);
  expect(node.log.split('\n').filter((line) => line.includes('refused the login'))).toHaveLength(1);

  writeFileSync(passwordFile, 'compost\n', { mode: 0o600 });
  const last = told(node);
  await untilArrived(node, subscriber, last);
  expect(arrived(subscriber).slice(0, last)).toEqual(numbersTo(last));
});

test('a password file that is gone is named, and its return delivers what waits', async () => {
  await using mosquitto = await Mosquitto.start({ passwords: { gardener: 'compost' } });
  const node = NodeProcess.prepare();
  const passwordFile = join(node.folder, 'password');
  node.configure({ mqtt: { url: mosquitto.url, username: 'gardener', passwordFile } });
  await node.start();
  const { broker } = await node.until('it is refused', (status) => status.broker?.state === 'refused');
  expect(broker?.message).toContain(passwordFile);
  writeFileSync(passwordFile, 'compost\n', { mode: 0o600 });
  await node.until('it is connected', (status) => status.broker?.state === 'connected');
  rmSync(passwordFile);
});
