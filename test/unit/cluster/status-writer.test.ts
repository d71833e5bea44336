import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { ApiClient } from '../../../src/cluster/api-client.ts';
import { ClusterError, type ClusterErrorCode } from '../../../src/cluster/errors.ts';
import type { PodRef, RawPod } from '../../../src/cluster/raw-pod.ts';
import { StatusWriter } from '../../../src/cluster/status-writer.ts';
import { TestLog } from '../../support/test-log.ts';

const pod: PodRef = { namespace: 'default', name: 'a', uid: 'uid-a' };
const phase = (name: string): object => ({
  phase: name,
  conditions: [{ type: 'Ready', status: name === 'Running' ? 'True' : 'False' }],
});

/** An API server that keeps what it is told, and fails when asked to. */
class Api {
  readonly written: Array<{ path: string; phase: unknown }> = [];
  readonly deleted: string[] = [];
  /** For the coming requests, in order; then all is well. */
  failures: ClusterErrorCode[] = [];
  mine: string[] = [pod.uid];
  version = 10;
  atOnce = 0;
  mostAtOnce = 0;
  gate: Promise<void> = Promise.resolve();
  readonly log = new TestLog();
  readonly ending = new AbortController();
  readonly writer = new StatusWriter(this.#client(), 'node', this.log.log, this.ending.signal);

  #client(): ApiClient {
    const fail = (): void => {
      const code = this.failures.shift();
      if (code !== undefined)
        throw new ClusterError(code, code === 'ApiInvalid' ? 'metadata.uid: field is immutable' : code);
    };
    return {
      patch: async (path: string, _type: string, body: { status: { phase: unknown } }) => {
        this.mostAtOnce = Math.max(this.mostAtOnce, ++this.atOnce);
        await this.gate;
        this.atOnce--;
        fail();
        this.written.push({ path, phase: body.status.phase });
        return { metadata: { resourceVersion: String(++this.version) } };
      },
      delete: async (path: string) => {
        await Promise.resolve();
        fail();
        this.deleted.push(path);
      },
      get: async () => {
        await Promise.resolve();
        return { items: this.mine.map((uid) => ({ metadata: { namespace: 'default', name: 'a', uid }, spec: {} })) };
      },
    } as unknown as ApiClient;
  }

  /** The pod as a watch tells it. */
  raw(status: object, version: number): RawPod {
    return { metadata: { ...pod, resourceVersion: String(version) }, spec: {}, status };
  }
}

beforeEach(() => vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => vi.useRealTimers());

test('only the latest of many statuses is sent', async () => {
  const api = new Api();
  const { promise, resolve } = Promise.withResolvers<void>();
  api.gate = promise;
  for (const name of ['Pending', 'Running', 'Failed', 'Succeeded']) api.writer.set(pod, phase(name));
  resolve();
  await api.writer.flush(pod.uid);
  expect(api.written.map((write) => write.phase)).toEqual(['Succeeded']);
});

test('a status set while another is on its way follows it', async () => {
  const api = new Api();
  const { promise, resolve } = Promise.withResolvers<void>();
  api.gate = promise;
  api.writer.set(pod, phase('Pending'));
  await vi.waitFor(() => expect(api.atOnce).toBe(1));
  api.writer.set(pod, phase('Running'));
  resolve();
  await api.writer.flush(pod.uid);
  expect(api.written.map((write) => write.phase)).toEqual(['Pending', 'Running']);
});

test('tries again until it arrives', async () => {
  const api = new Api();
  api.failures = ['ApiUnreachable', 'ApiBusy'];
  api.writer.set(pod, phase('Running'));
  await api.writer.flush(pod.uid);
  expect(api.written).toHaveLength(1);
});

test.each<ClusterErrorCode>(['ApiNotFound', 'ApiInvalid'])('gives a pod up that is gone (%s)', async (code) => {
  const api = new Api();
  api.failures = [code];
  api.writer.set(pod, phase('Running'));
  await api.writer.flush(pod.uid);
  expect(api.written).toEqual([]);
  api.writer.resendAll();
  await api.writer.flush(pod.uid);
  expect(api.written).toEqual([]);
});

test('a 403 is the end only for a pod that the list does not have', async () => {
  const justBound = new Api();
  justBound.failures = ['ApiForbidden'];
  justBound.writer.set(pod, phase('Running'));
  await justBound.writer.flush(pod.uid);
  expect(justBound.written).toHaveLength(1);

  const gone = new Api();
  gone.mine = [];
  gone.failures = ['ApiForbidden'];
  gone.writer.set(pod, phase('Running'));
  await gone.writer.flush(pod.uid);
  expect(gone.written).toEqual([]);
});

test('what the API server forgot or changed is said again, once, and old news is passed over', async () => {
  const api = new Api();
  api.writer.set(pod, phase('Running'));
  await api.writer.flush(pod.uid);
  api.writer.observe(api.raw(phase('Pending'), 5));
  api.writer.observe(api.raw(phase('Running'), 12));
  await api.writer.flush(pod.uid);
  expect(api.written).toHaveLength(1);
  vi.advanceTimersByTime(2_000);
  api.writer.observe(api.raw(phase('Pending'), 13));
  await api.writer.flush(pod.uid);
  expect(api.written).toHaveLength(2);
});

test('no more than four requests at once, whatever the number of pods', async () => {
  const api = new Api();
  const { promise, resolve } = Promise.withResolvers<void>();
  api.gate = promise;
  for (let i = 0; i < 50; i++) api.writer.set({ ...pod, uid: `uid-${i}` }, phase('Running'));
  await vi.waitFor(() => expect(api.atOnce).toBe(4));
  resolve();
  for (let i = 0; i < 50; i++) await api.writer.flush(`uid-${i}`);
  expect(api.written).toHaveLength(50);
  expect(api.mostAtOnce).toBe(4);
});

test('the last status goes before the pod does', async () => {
  const api = new Api();
  api.failures = ['ApiUnreachable'];
  api.writer.set(pod, phase('Succeeded'));
  await api.writer.finalize(pod);
  expect(api.written.map((write) => write.phase)).toEqual(['Succeeded']);
  expect(api.deleted).toEqual(['/api/v1/namespaces/default/pods/a']);
});

test('an end comes at once, also while it waits to try again', async () => {
  const api = new Api();
  api.failures = Array.from({ length: 100 }, () => 'ApiUnreachable' as const);
  api.writer.set(pod, phase('Succeeded'));
  const finalized = api.writer.finalize(pod);
  api.ending.abort(new Error('ended'));
  await expect(finalized).rejects.toThrow('ended');
});
