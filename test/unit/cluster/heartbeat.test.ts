import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { keepAlive, type HeartbeatOptions } from '../../../src/cluster/heartbeat.ts';
import { ClusterError } from '../../../src/cluster/errors.ts';
import { TestLog } from '../../support/test-log.ts';

beforeEach(() => vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] }));
afterEach(() => vi.useRealTimers());

/** A cluster of one node and its lease, which can be away. */
class World {
  away = false;
  node: string | undefined;
  lease: string | undefined;
  created = 0;
  renewals = 0;
  refreshes = 0;
  returns = 0;
  readonly log = new TestLog();
  readonly #ending = new AbortController();
  readonly #running: Promise<void>;

  constructor() {
    const check = (): void => {
      if (this.away) throw new ClusterError('ApiUnreachable', 'away');
    };
    const registrar = {
      uid: undefined as string | undefined,
      forget: () => (registrar.uid = undefined),
      refresh: () => this.refreshes++,
      update: async () => {
        await Promise.resolve();
        check();
        if (registrar.uid !== undefined) return false;
        if (this.node === undefined) this.node = `uid-${++this.created}`;
        registrar.uid = this.node;
        return true;
      },
    };
    const lease = {
      renew: async () => {
        await Promise.resolve();
        check();
        if (this.lease !== undefined) this.renewals++;
        return this.lease !== undefined;
      },
      create: async (uid: string) => {
        await Promise.resolve();
        check();
        this.lease = uid;
      },
    };
    const options: HeartbeatOptions = {
      registrar,
      lease,
      log: this.log.log,
      onBeat: () => {},
      onReturn: () => this.returns++,
      onFailure: () => {},
      sleep: async (ms, signal) =>
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, ms);
          signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
        }),
    };
    this.#running = keepAlive(options, this.#ending.signal);
  }

  async pass(seconds: number): Promise<void> {
    await vi.advanceTimersByTimeAsync(seconds * 1000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort();
    await this.#running;
  }
}

test('the lease is renewed every ten seconds', async () => {
  await using world = new World();
  await world.pass(1);
  expect(world.lease).toBe('uid-1');
  await world.pass(60);
  expect(world.renewals).toBe(6);
});

test('a deleted node is created again, with its lease, within a beat', async () => {
  await using world = new World();
  await world.pass(1);
  world.node = undefined;
  world.lease = undefined;
  await world.pass(10);
  expect(world.node).toBe('uid-2');
  expect(world.lease).toBe('uid-2');
});

test('an outage is told once, and its end brings everything up to date', async () => {
  await using world = new World();
  await world.pass(1);
  world.away = true;
  await world.pass(300);
  expect(world.log.atLeast(40).map(({ msg }) => msg)).toEqual(['heartbeat failed: trying again']);
  const before = world.renewals;
  world.away = false;
  await world.pass(10);
  expect(world.renewals).toBeGreaterThan(before);
  expect(world.refreshes).toBeGreaterThan(0);
  expect(world.returns).toBe(1);
  expect(world.log.lines.at(-1)?.msg).toBe('the API server is back');
});

test('a short outage needs no statuses sent again', async () => {
  await using world = new World();
  await world.pass(1);
  world.away = true;
  await world.pass(15);
  world.away = false;
  await world.pass(10);
  expect(world.returns).toBe(0);
});
