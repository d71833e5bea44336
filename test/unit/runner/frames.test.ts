import { describe, expect, it } from 'vitest';
import { encodeFrame, FrameDecoder, FrameError, type Frame } from '../../../src/runner/frames.ts';
import { parseAgentMessage } from '../../../src/runner/parse-agent-message.ts';
import { parseRunnerMessage } from '../../../src/runner/parse-runner-message.ts';
import { maxFrameBytes, type AgentMessage, type RunnerMessage } from '../../../src/runner/protocol.ts';

const agentMessages: AgentMessage[] = [
  { type: 'hello', version: 1, token: 'secret' },
  {
    type: 'start',
    container: {
      id: 'a',
      name: 'default/soil/main',
      modulePath: '/var/lib/loamlet/modules/x.wasm',
      moduleDigest: 'sha256:00',
      args: ['soil', '--fast'],
      env: ['A=B'],
      memoryLimitBytes: 1 << 20,
      grant: {
        devices: [
          {
            logicalName: 'soil',
            device: { name: 'bed', resource: 'soil', driver: 'simulated', options: { a: [1] } },
            freshnessMs: 5,
          },
        ],
        messaging: { publish: [{ filter: 'garden/#', qos: 1, retain: true }], prefix: 'garden/' },
      },
    },
  },
  { type: 'stop', id: 'a', graceMs: 30_000 },
  { type: 'forget', id: 'a' },
  {
    type: 'published',
    results: [
      { publishNo: 1 },
      { publishNo: 2, error: { case: 'full' } },
      { publishNo: 3, error: { case: 'other', message: 'disk' } },
    ],
  },
  { type: 'logged', seq: 7 },
  { type: 'ping', nonce: 1 },
  { type: 'shutdown', graceMs: 0 },
];

const exit = {
  startedAtMs: 1,
  finishedAtMs: 2,
  exitCode: 134,
  reason: 'Error',
  message: 'wasm trap: unreachable',
} as const;
const runnerMessages: RunnerMessage[] = [
  {
    type: 'welcome',
    version: 1,
    runnerId: 'r',
    pid: 12,
    containers: [
      { id: 'a', state: 'running', startedAtMs: 1 },
      { id: 'b', state: 'exited', ...exit },
    ],
  },
  { type: 'refused', code: 'Busy', message: 'another agent' },
  { type: 'started', id: 'a', startedAtMs: 1.5 },
  { type: 'startFailed', id: 'a', reason: 'GrantDenied', message: 'no' },
  { type: 'exited', id: 'a', ...exit },
  { type: 'device', name: 'bed', healthy: false, message: 'silent' },
  { type: 'ready', id: 'a', ready: true },
  { type: 'pong', nonce: 1 },
];

function decodeAll(bytes: Uint8Array, chunk: number): Frame[] {
  const decoder = new FrameDecoder();
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length; at += chunk) {
    for (const { head, tail } of decoder.push(bytes.subarray(at, at + chunk)))
      frames.push({ head, tail: tail.slice() });
  }
  expect(decoder.heldBytes).toBe(0);
  return frames;
}

/** The same numbers on each run. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

describe('frames', () => {
  it.each([1, 3, 7, 64, 100_000])('come out as they went in, in chunks of %i bytes', (chunk) => {
    const bytes = Buffer.concat([
      ...agentMessages.map((message) => encodeFrame(message)),
      encodeFrame({ type: 'tail' }, [Buffer.from('ab'), Buffer.from('c')]),
    ]);
    const frames = decodeAll(bytes, chunk);
    expect(frames.slice(0, -1).map(parseAgentMessage)).toEqual(agentMessages);
    expect(Buffer.from(frames.at(-1)!.tail).toString()).toBe('abc');
  });

  it('over the limit end the connection, before any of it is kept', () => {
    const header = Buffer.alloc(8);
    header.writeUInt32LE(maxFrameBytes + 1, 0);
    expect(() => [...new FrameDecoder().push(header)]).toThrow(FrameError);
  });

  it('keep no more than what has come, whatever their length says', () => {
    const decoder = new FrameDecoder();
    const header = Buffer.alloc(8);
    header.writeUInt32LE(maxFrameBytes, 0);
    expect([...decoder.push(header)]).toEqual([]);
    expect(decoder.heldBytes).toBe(8);
  });

  it.each([
    ['a head longer than the frame', [5, 0, 0, 0, 9, 0, 0, 0, 0]],
    ['a frame shorter than its head length', [3, 0, 0, 0, 0, 0, 0]],
    ['a head that is not JSON', [5, 0, 0, 0, 1, 0, 0, 0, 0x7b]],
  ])('with %s are refused', (_what, bytes) => {
    expect(() => [...new FrameDecoder().push(Buffer.from(bytes))]).toThrow(FrameError);
  });

  it('of random bytes raise nothing but a FrameError', () => {
    const next = random(1);
    for (let round = 0; round < 3000; round++) {
      const decoder = new FrameDecoder();
      const bytes = Buffer.from(Array.from({ length: 1 + Math.floor(next() * 64) }, () => Math.floor(next() * 256)));
      if (next() < 0.7) bytes[3] = bytes[2] = bytes[1] = 0;
      try {
        for (const frame of decoder.push(bytes)) parseAgentMessage(frame);
      } catch (error) {
        expect(error).toBeInstanceOf(FrameError);
      }
      expect(decoder.heldBytes).toBeLessThanOrEqual(bytes.length);
    }
  });
});

describe('messages', () => {
  const none = new Uint8Array(0);

  it.each(runnerMessages)('$type of a runner is read as it was said', (message) => {
    expect(parseRunnerMessage({ head: JSON.parse(JSON.stringify(message)), tail: none })).toEqual(message);
  });

  it('lay claim to exactly the bytes behind them', () => {
    const head = { type: 'logs', seq: 1, entries: [{ id: 'a', stream: 'stdout', atMs: 1, length: 2 }] };
    expect(parseRunnerMessage({ head, tail: Buffer.from('ab') })).toEqual(head);
    expect(() => parseRunnerMessage({ head, tail: Buffer.from('abc') })).toThrow(FrameError);
    expect(() => parseRunnerMessage({ head, tail: none })).toThrow(FrameError);
  });

  it.each([
    ['agent', agentMessages, parseAgentMessage],
    ['runner', runnerMessages, parseRunnerMessage],
  ] as const)(
    'of the %s with any one value changed are refused with a FrameError or read',
    (_side, messages, parse) => {
      const strange = [null, -1, 1e300, 1.5, '', 'x'.repeat(5000), [], {}, true, { __proto__: null }, undefined];
      for (const message of messages) {
        for (const change of variations(message, strange)) {
          try {
            parse({ head: change, tail: none });
          } catch (error) {
            expect(error).toBeInstanceOf(FrameError);
            expect((error as Error).message).not.toContain('\n');
          }
        }
      }
    },
  );

  it('name the field that is wrong', () => {
    expect(() => parseAgentMessage({ head: { type: 'stop', id: 'a', graceMs: 'soon' }, tail: none })).toThrow(
      'message.graceMs',
    );
  });

  it('of a runner break no line', () => {
    const message = parseRunnerMessage({
      head: { ...exit, type: 'exited', id: 'a', message: 'a\nb\r\n c' },
      tail: none,
    });
    expect(message).toMatchObject({ message: 'a b c' });
  });
});

/** Every value in `of` replaced in turn by each of `values`. */
function* variations(of: unknown, values: readonly unknown[]): Generator<unknown> {
  yield* values;
  if (Array.isArray(of)) {
    for (const [i, item] of of.entries()) for (const changed of variations(item, values)) yield of.with(i, changed);
  } else if (typeof of === 'object' && of !== null) {
    for (const [key, item] of Object.entries(of))
      for (const changed of variations(item, values)) yield { ...of, [key]: changed };
  }
}
