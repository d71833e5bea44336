/** A runner that was taken over: what it can say to the agent, and what that costs. */
import { spawn } from 'node:child_process';
import { createServer, type Socket } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RunnerClient, type RunnerReceiver } from '../../../src/runner/client.ts';
import { encodeFrame, FrameDecoder, FrameError } from '../../../src/runner/frames.ts';
import { LogQueue } from '../../../src/runner/log-queue.ts';
import { parseRunnerMessage } from '../../../src/runner/parse-runner-message.ts';
import { protocolVersion } from '../../../src/runner/protocol.ts';
import { Readiness } from '../../../src/runner/readiness.ts';
import { storePublishes } from '../../../src/pods/publish-gate.ts';
import type { Grant } from '../../../hostcalls/grant.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { TestLog } from '../../support/test-log.ts';

const frameOf = (head: string): Buffer => {
  const text = Buffer.from(head);
  const frame = Buffer.alloc(8 + text.length);
  frame.writeUInt32LE(4 + text.length, 0);
  frame.writeUInt32LE(text.length, 4);
  text.copy(frame, 8);
  return frame;
};
const parse = (head: string): unknown => [...new FrameDecoder().push(frameOf(head))].map(parseRunnerMessage)[0];

describe('a frame', () => {
  it.each([
    '{"__proto__":{"type":"pong","nonce":1}}',
    '{"type":"pong","nonce":-1}',
    '{"type":"pong","nonce":1e300}',
    '{"type":"pong","nonce":1.5}',
    '{"type":"__proto__"}',
    '{"type":["pong"],"nonce":1}',
    '{"type":"exited","id":"a","startedAtMs":0,"finishedAtMs":8.64e15,"exitCode":0,"reason":"Error","message":""}',
    '{"type":"exited","id":"a","startedAtMs":0,"finishedAtMs":0,"exitCode":256,"reason":"Error","message":""}',
    '{"type":"exited","id":{},"startedAtMs":0,"finishedAtMs":0,"exitCode":0,"reason":"Error","message":""}',
    '{"type":"publish","items":[{"publishNo":-5,"id":"a","topic":"t","length":0,"atMs":0}]}',
    '{"type":"publish","items":[{"publishNo":1,"id":"a","topic":"t","length":-1,"atMs":0}]}',
    '{"type":"publish","items":[{"publishNo":1,"id":"a","topic":"t","length":1,"atMs":0}]}',
    '{"type":"publish","items":{"length":1}}',
    '{"type":"logs","seq":0,"entries":[]}',
    '{"type":"logs","seq":1,"entries":[{"id":"a","stream":"../x","atMs":0,"length":0}]}',
    'null',
    '[]',
    `${'['.repeat(100_000)}${']'.repeat(100_000)}`,
  ])('%.60s is refused with one line', (head) => {
    expect(() => parse(head)).toThrow(FrameError);
    expect(() => parse(head)).not.toThrow(/\n/);
  });

  it('of spaces and line breaks takes no long time to make one line of', () => {
    const message = `${' '.repeat(2000)}x`.repeat(2).slice(0, 4096);
    const frame = JSON.stringify({ type: 'startFailed', id: 'a', reason: 'GrantDenied', message });
    const started = performance.now();
    for (let n = 0; n < 200; n++) parse(frame);
    expect(performance.now() - started).toBeLessThan(1_000);
  });

  it('that comes byte by byte takes no more than about its size', () => {
    const decoder = new FrameDecoder();
    const frame = frameOf(JSON.stringify({ type: 'pong', nonce: 1, padding: 'x'.repeat(200_000) }));
    const chunks: Uint8Array[] = Array.from(frame, (byte) => Uint8Array.of(byte));
    globalThis.gc?.();
    let frames = 0;
    for (const [n, chunk] of chunks.entries()) {
      for (const _ of decoder.push(chunk)) frames++;
      if (n === chunks.length - 2) expect(decoder.heldChunks).toBeLessThan(64);
    }
    expect(frames).toBe(1);
  });
});

describe('what a runner says was published', () => {
  const grants: Readonly<Record<string, Grant>> = {
    mine: {
      devices: [],
      messaging: { publish: [{ filter: 'own/mine/#', qos: 1, retain: false }], prefix: 'own/mine/' },
    },
    mute: { devices: [] },
  };
  const store = async (id: string, topic: string): Promise<unknown> => {
    const stored: unknown[] = [];
    const [result] = await storePublishes(
      'runner',
      [{ item: { publishNo: 1, id, topic, length: 0, atMs: 0 }, payload: new Uint8Array(0) }],
      (asked) => (Object.hasOwn(grants, asked) ? grants[asked] : undefined),
      {
        append: (items) => {
          stored.push(...items.map((item) => item.topic));
          return Promise.resolve(items.map(() => ({ state: 'committed' })));
        },
      },
    );
    return result?.error?.case ?? stored[0];
  };

  it.each([
    ['mine', 'moisture', 'own/mine/moisture'],
    ['mine', '', 'other'],
    ['mine', '../other/moisture', 'own/mine/../other/moisture'],
    ['mine', '#', 'other'],
    ['mine', 'a\0b', 'other'],
    ['mine', '\ud800', 'other'],
    ['mine', 'x'.repeat(60_000), 'other'],
    ['mine', '/'.repeat(500), 'other'],
    ['mute', 'moisture', 'permission-denied'],
    ['unknown', 'moisture', 'permission-denied'],
    ['__proto__', 'moisture', 'permission-denied'],
    ['constructor', 'moisture', 'permission-denied'],
  ])('for %s on %.40s is %s', async (id, topic, answer) => {
    expect(await store(id, topic)).toBe(answer);
  });
});

/** Speaks the runner's end of the protocol, for as long as a test wants. */
async function hostileRunner(act: (socket: Socket) => void): Promise<
  {
    client: RunnerClient;
    receiver: RunnerReceiver & { logged: number };
    log: TestLog;
    connections: () => number;
    release: () => void;
  } & AsyncDisposable
> {
  const folder = await tempFolder();
  const socketPath = join(folder.path, 'runner.sock');
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('data', () => {
      socket.write(
        encodeFrame({ type: 'welcome', version: protocolVersion, runnerId: 'r', pid: process.pid, containers: [] }),
      );
      act(socket);
    });
  }).listen(socketPath);
  await once(server, 'listening');
  const log = new TestLog();
  const gate = Promise.withResolvers<void>();
  const receiver = {
    logged: 0,
    news: () => {},
    device: () => {},
    logs: (pieces: readonly { bytes: Uint8Array }[]) => {
      for (const { bytes } of pieces) receiver.logged += bytes.length;
      return gate.promise;
    },
    publishes: () => Promise.resolve([]),
  };
  // Whoever asks whether the runner lives looks for a process with its flag.
  const alive = spawn('sh', ['-c', 'read end', '--disable-wasm-trap-handler'], { stdio: ['pipe', 'ignore', 'ignore'] });
  const ended = once(alive, 'exit');
  const record = { id: 'r', socketPath, token: 't', pid: alive.pid!, startedAtMs: 0 };
  const client = await RunnerClient.adopt(record, { directory: folder.path, log: log.log });
  return {
    client,
    receiver,
    log,
    connections: () => connections,
    release: gate.resolve,
    async [Symbol.asyncDispose]() {
      gate.resolve();
      await client[Symbol.asyncDispose]();
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      alive.stdin.end();
      await ended;
      await folder[Symbol.asyncDispose]();
    },
  };
}

describe('the agent', () => {
  it('hears a runner no further that sends more log than the disk takes', async () => {
    const bytes = Buffer.alloc(1 << 20, 'x');
    let sent = 0;
    const stalled = Promise.withResolvers<void>();
    await using world = await hostileRunner((socket) => {
      let seq = 0;
      const send = (): void => {
        while (sent < 64 && !socket.destroyed) {
          sent++;
          const frame = encodeFrame(
            { type: 'logs', seq: ++seq, entries: [{ id: 'a', stream: 'stdout', atMs: 0, length: bytes.length }] },
            [bytes],
          );
          if (!socket.write(frame)) {
            const timer = setTimeout(stalled.resolve, 300);
            return void socket.once('drain', () => {
              clearTimeout(timer);
              send();
            });
          }
        }
      };
      send();
    });
    world.client.listen(world.receiver);
    await stalled.promise;
    expect(world.receiver.logged).toBeGreaterThan(0);
    expect(world.receiver.logged).toBeLessThanOrEqual(20 << 20);
    world.release();
    await expect.poll(() => world.receiver.logged, { timeout: 20_000 }).toBe(64 << 20);
  });

  it('does not keep what a runner that reads nothing is told', async () => {
    let socketOfRunner: Socket | undefined;
    await using world = await hostileRunner((socket) => {
      socketOfRunner = socket.pause();
    });
    world.client.listen(world.receiver);
    const lost = world.log.until(({ msg }) => msg === 'connection to the runner lost');
    const told = world.client.closed.then(({ kind }) => kind);
    // Forty megabytes of it, past what the kernel takes.
    for (let n = 0; n < 400; n++) world.client.stop('x'.repeat(100_000), 0);
    expect(await Promise.race([lost.then(({ reason }) => reason), told])).toBe('the runner does not read');
    expect(socketOfRunner).toBeDefined();
  });

  it('gives up a runner that ends each connection at once', async () => {
    await using world = await hostileRunner((socket) => void socket.end());
    world.client.listen(world.receiver);
    expect(await world.client.closed).toMatchObject({ kind: 'lost' });
    expect(world.connections()).toBeGreaterThan(1);
    expect(world.connections()).toBeLessThan(20);
  });
});

describe('a module', () => {
  it('that says a thousand times a turn that it is ready and is not is told of twice', async () => {
    const told: boolean[] = [];
    using readiness = new Readiness((ready) => told.push(ready));
    for (let n = 0; n < 1000; n++) readiness.set(n % 2 === 1);
    readiness.set(true);
    expect(told).toEqual([false]);
    await expect.poll(() => told, { timeout: 10_000 }).toEqual([false, true]);
  });

  it('that writes a byte at a time to both streams makes no frame that is too large', async () => {
    const queue = new LogQueue();
    const id = 'x'.repeat(250);
    for (let guest = 0; guest < 9; guest++) {
      const log = queue.open(id + guest);
      for (let n = 0; n < 8_000; n++) queue.write(log, n % 2 === 0 ? 'stdout' : 'stderr', Uint8Array.of(46));
    }
    let bytes = 0;
    let seq = 0;
    queue.attach((frame) => {
      for (const { head, tail } of new FrameDecoder().push(frame)) {
        bytes += tail.length;
        ({ seq } = head as { seq: number });
        setImmediate(() => queue.logged(seq));
      }
    });
    await expect.poll(() => bytes, { timeout: 20_000 }).toBe(72_000);
  });
});
