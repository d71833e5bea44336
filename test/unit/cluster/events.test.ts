import { expect, test } from 'vitest';
import type { ApiClient } from '../../../src/cluster/api-client.ts';
import { ClusterError } from '../../../src/cluster/errors.ts';
import { EventRecorder, type ObjectRef } from '../../../src/cluster/events.ts';
import { TestLog } from '../../support/test-log.ts';

interface Stored {
  count: number;
  message: string;
}

class Api {
  readonly events = new Map<string, Stored>();
  away: Promise<void> | undefined;
  failures = 0;
  readonly log = new TestLog();
  readonly ending = new AbortController();
  readonly recorder = new EventRecorder(this.#client(), 'node', this.log.log, this.ending.signal);

  #client(): ApiClient {
    const check = async (): Promise<void> => {
      await this.away;
      if (this.failures-- > 0) throw new ClusterError('ApiUnreachable', 'away');
    };
    return {
      post: async (_path: string, body: Stored & { metadata: { name: string } }) => {
        await check();
        this.events.set(body.metadata.name, { count: body.count, message: body.message });
      },
      patch: async (path: string, _type: string, body: { count: number }) => {
        await check();
        const stored = this.events.get(path.split('/').at(-1) ?? '');
        if (stored === undefined) throw new ClusterError('ApiNotFound', 'gone');
        stored.count = body.count;
      },
    } as unknown as ApiClient;
  }

  counts(): Array<[string, number]> {
    return [...this.events.values()].map(({ message, count }) => [message, count]);
  }
}

const pod = (uid: string): ObjectRef => ({ kind: 'Pod', namespace: 'default', name: 'a', uid });

test('what repeats while the API server is away arrives as one Event with its count', async () => {
  const api = new Api();
  api.failures = 2;
  for (let i = 0; i < 3; i++) api.recorder.record(pod('1'), 'Warning', 'BackOff', 'again');
  await api.recorder.flush();
  expect(api.counts()).toEqual([['again', 3]]);
});

test('an Event that the cluster has forgotten is written anew', async () => {
  const api = new Api();
  api.recorder.record(pod('1'), 'Normal', 'Started', 'started');
  await api.recorder.flush();
  api.events.clear();
  api.recorder.record(pod('1'), 'Normal', 'Started', 'started');
  await api.recorder.flush();
  expect(api.counts()).toEqual([['started', 2]]);
});

test('no more than 500 wait, and the loss is said once', async () => {
  const api = new Api();
  const { promise, resolve } = Promise.withResolvers<void>();
  api.away = promise;
  for (let i = 0; i < 600; i++) api.recorder.record(pod(`${i}`), 'Normal', 'Started', `started ${i}`);
  resolve();
  await api.recorder.flush();
  expect(api.events.size).toBe(500);
  expect(api.recorder.dropped).toBe(100);
  expect(api.log.atLeast(40)).toHaveLength(1);
});

test('one noisy pod does not keep the others from being heard', async () => {
  const api = new Api();
  for (let i = 0; i < 1000; i++) api.recorder.record(pod('noisy'), 'Warning', 'Failed', `try ${i}`);
  api.recorder.record(pod('quiet'), 'Normal', 'Started', 'started');
  await api.recorder.flush();
  expect(api.events.size).toBe(26);
  expect(api.counts()).toContainEqual(['started', 1]);
});

test('a message without an end is cut', async () => {
  const api = new Api();
  api.recorder.record(pod('1'), 'Warning', 'Failed', 'x'.repeat(5000));
  await api.recorder.flush();
  expect(api.counts()[0]?.[0]).toHaveLength(1000);
});

test('takes nothing more after its end', async () => {
  const api = new Api();
  api.ending.abort();
  api.recorder.record(pod('1'), 'Normal', 'Started', 'started');
  await api.recorder.flush();
  expect(api.events.size).toBe(0);
});
