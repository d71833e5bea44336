import { expect, test } from 'vitest';
import type { ApiClient, Query } from '../../../src/cluster/api-client.ts';
import { ClusterError } from '../../../src/cluster/errors.ts';
import { podEvents } from '../../../src/cluster/pod-source.ts';
import { TestLog } from '../../support/test-log.ts';

const pod = { metadata: { uid: 'u1', name: 'soil', namespace: 'default', resourceVersion: '7' }, spec: {} };
const initial = [
  { type: 'ADDED', object: pod },
  {
    type: 'BOOKMARK',
    object: { metadata: { resourceVersion: '9', annotations: { 'k8s.io/initial-events-end': 'true' } } },
  },
];
const expired = [{ type: 'ERROR', object: { code: 410, reason: 'Expired', message: 'too old resource version' } }];
const away = new ClusterError('ApiUnreachable', 'away');

interface Seen {
  readonly events: string[];
  /** What each watch asked for. */
  readonly queries: Query[];
  readonly delaysMs: number[];
  readonly log: TestLog;
}

/** Reads the pods of an API server that answers each watch with the next of these, an Error in it breaking it off. */
async function read(watches: readonly (Error | readonly unknown[])[]): Promise<Seen> {
  const seen: Seen = { events: [], queries: [], delaysMs: [], log: new TestLog() };
  const ending = new AbortController();
  const left = [...watches];
  const client = {
    async stream(_path: string, query: Query) {
      await Promise.resolve();
      const next = left.shift();
      if (next === undefined) {
        ending.abort();
        throw away;
      }
      seen.queries.push(query);
      if (next instanceof Error) throw next;
      async function* frames(): AsyncGenerator<Uint8Array> {
        await Promise.resolve();
        for (const frame of next as readonly unknown[]) {
          if (frame instanceof Error) throw frame;
          yield Buffer.from(`${JSON.stringify(frame)}\n`);
        }
      }
      return Object.assign(frames(), { destroy: () => {} });
    },
  } as unknown as ApiClient;
  const sleep = async (ms: number): Promise<void> => {
    await Promise.resolve();
    seen.delaysMs.push(ms);
  };
  const options = { client, nodeName: 'loam-1', log: seen.log.log, random: () => 0, sleep };
  for await (const event of podEvents(options, ending.signal))
    seen.events.push(event.type === 'sync' ? `sync ${event.pods.length}` : event.type);
  return seen;
}

test('goes on from the last version after a watch has ended', async () => {
  const { events, queries } = await read([
    initial,
    [{ type: 'MODIFIED', object: pod }],
    [{ type: 'DELETED', object: pod }],
  ]);
  expect(events).toEqual(['sync 1', 'upsert', 'deleted']);
  expect(queries.map(({ resourceVersion }) => resourceVersion)).toEqual([undefined, '9', '7']);
});

test('asks for all pods at once when the API server is back and has forgotten the version', async () => {
  const { events, queries, delaysMs } = await read([initial, ...Array<Error>(8).fill(away), expired, initial]);
  expect(events).toEqual(['sync 1', 'sync 1']);
  expect(queries.at(-1)).toMatchObject({ sendInitialEvents: true });
  expect(delaysMs.slice(0, 10)).toEqual([250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000, 10_000, 250]);
});

test('does not storm an API server that has forgotten everything there is', async () => {
  const { delaysMs } = await read([initial, expired, expired, expired, expired]);
  expect(delaysMs.slice(0, 5)).toEqual([250, 250, 500, 1000, 2000]);
});

test('says nothing of pods in a list that was cut off, and says the trouble once', async () => {
  const { events, log } = await read([[initial[0], new Error('aborted')], away, initial]);
  expect(events).toEqual(['sync 1']);
  expect(log.atLeast(40).map(({ error }) => error)).toEqual(['the API server ended the watch (aborted)']);
});
