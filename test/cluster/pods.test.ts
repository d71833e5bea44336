import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import type { PodEvent, PodRef, RawPod } from '../../src/cluster/raw-pod.ts';
import type { ClusterMembership } from '../../src/cluster/membership.ts';
import { podEvents } from '../../src/cluster/pod-source.ts';
import { useControlPlane } from '../support/control-plane.ts';
import { Gate } from '../support/gate.ts';
import { becomeMember } from '../support/member.ts';
import { ApiClient } from '../../src/cluster/api-client.ts';
import { certificateAccess } from '../../src/cluster/api-access.ts';
import { loadIdentity } from '../../src/cluster/node-identity.ts';

const cluster = useControlPlane();

interface Pod {
  metadata: { uid: string; resourceVersion: string };
  status: {
    phase: string;
    conditions: Array<{ type: string; status: string; reason?: string; message?: string }>;
    containerStatuses?: Array<{ restartCount: number; state: Record<string, unknown> }>;
  };
}

interface Event {
  reason: string;
  count: number;
  type: string;
  message: string;
  source: { component: string; host: string };
  involvedObject: { fieldPath?: string };
}

const getPod = (name: string): Promise<Pod> => cluster().admin.get<Pod>(`/api/v1/namespaces/default/pods/${name}`);

/** A pod that is bound to the node from the beginning. */
async function bind(name: string, nodeName: string): Promise<PodRef> {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default' },
    spec: {
      nodeName,
      containers: [{ name: 'c', image: 'registry.example/soil:1' }],
      tolerations: [{ operator: 'Exists' }],
      terminationGracePeriodSeconds: 30,
    },
  };
  const created = await cluster().admin.post<Pod>('/api/v1/namespaces/default/pods', pod);
  return { namespace: 'default', name, uid: created.metadata.uid };
}

/** Reads the events of a membership one by one. */
class Reader implements AsyncDisposable {
  readonly #ending = new AbortController();
  readonly #events: AsyncGenerator<PodEvent, void, undefined>;

  constructor(membership: Pick<ClusterMembership, 'pods'>) {
    this.#events = membership.pods(this.#ending.signal);
  }

  async next(): Promise<PodEvent> {
    const { value, done } = await this.#events.next();
    if (done === true || value === undefined) throw new Error('no more events');
    return value;
  }

  /** The next event that is about this pod as we want it. */
  async upsert(name: string, wanted: (pod: RawPod) => boolean = () => true): Promise<RawPod> {
    for (;;) {
      const event = await this.next();
      if (event.type === 'upsert' && event.pod.metadata.name === name && wanted(event.pod)) return event.pod;
    }
  }

  async sync(): Promise<readonly RawPod[]> {
    for (;;) {
      const event = await this.next();
      if (event.type === 'sync') return event.pods;
    }
  }

  async deleted(uid: string): Promise<void> {
    for (;;) {
      const event = await this.next();
      if (event.type === 'deleted' && event.uid === uid) return;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort();
    await this.#events.return();
  }
}

const names = (pods: readonly RawPod[]): string[] => pods.map(({ metadata }) => metadata.name).toSorted();

function running(overrides: object = {}) {
  const time = new Date().toISOString();
  const conditions = ['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady'].map((type) => ({
    type,
    status: 'True',
    reason: null,
    message: null,
    lastTransitionTime: time,
  }));
  const container = {
    name: 'c',
    image: 'registry.example/soil:1',
    imageID: 'registry.example/soil@sha256:0',
    containerID: 'loamlet://1',
    ready: true,
    started: true,
    restartCount: 0,
    state: { running: { startedAt: time } },
    lastState: {},
  };
  return { phase: 'Running', startTime: time, conditions, containerStatuses: [container], ...overrides };
}

test('tells of all pods first, then of each change, and of no other node', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-watch' });
  await member.membership.joined;
  const first = await bind('first', 'loam-watch');
  await bind('elsewhere', 'another-node');
  await using reader = new Reader(member.membership);
  expect(names(await reader.sync())).toEqual(['first']);
  await bind('second', 'loam-watch');
  const second = await reader.upsert('second');
  expect(second.metadata).not.toHaveProperty('managedFields');
  expect(second.spec).toMatchObject({ nodeName: 'loam-watch' });
  await cluster().kubectl('delete', 'pod', 'first', '--wait=false');
  const deleting = await reader.upsert('first', ({ metadata }) => metadata.deletionTimestamp !== undefined);
  expect(deleting.metadata.deletionGracePeriodSeconds).toBe(30);
  await member.membership.statuses.finalize(first);
  await reader.deleted(first.uid);
});

test('goes on after the API server was away, first with all pods again', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-outage' });
  await member.membership.joined;
  await bind('stays', 'loam-outage');
  await using reader = new Reader(member.membership);
  expect(names(await reader.sync())).toEqual(['stays']);
  await cluster().pause();
  await cluster().resume();
  await bind('later', 'loam-outage');
  // Its version is gone with the old process, so everything comes anew; never a sync without what is there.
  const seen = new Set<string>();
  while (!seen.has('later')) {
    const event = await reader.next();
    expect(event.type).not.toBe('deleted');
    if (event.type === 'sync') expect(names(event.pods)).toContain('stays');
    for (const name of event.type === 'sync'
      ? names(event.pods)
      : event.type === 'upsert'
        ? [event.pod.metadata.name]
        : [])
      seen.add(name);
  }
});

test('goes on where it was when only the connection broke', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-cut' });
  await member.membership.joined;
  const identity = await loadIdentity(member.options.stateDirectory, 'loam-cut');
  if (identity === undefined) throw new Error('no identity');
  const server = new URL(identity.address.server);
  await using gate = await Gate.before(Number(server.port));
  const client = new ApiClient(
    certificateAccess({ ...identity.address, server: `https://127.0.0.1:${gate.port}` }, identity),
  );
  const source = {
    pods: (signal: AbortSignal) => podEvents({ client, nodeName: 'loam-cut', log: member.log.log }, signal),
  };
  await bind('before-cut', 'loam-cut');
  await using reader = new Reader(source);
  expect(names(await reader.sync())).toEqual(['before-cut']);
  gate.shut();
  await bind('during-cut', 'loam-cut');
  gate.open();
  expect(await reader.next()).toMatchObject({ type: 'upsert', pod: { metadata: { name: 'during-cut' } } });
  client.close();
});

test('asks for everything again when its version is too old, which comes as an error inside a good answer', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-410' });
  await member.membership.joined;
  await bind('kept', 'loam-410');
  // The first connection begins at a version that etcd has forgotten.
  const { client } = member.membership;
  let connections = 0;
  const forgetful = {
    stream: (
      path: string,
      query: Record<string, string | number | boolean | undefined>,
      idleMs: number,
      signal: AbortSignal,
    ) => {
      const old = { ...query, sendInitialEvents: undefined, resourceVersionMatch: undefined, resourceVersion: '1' };
      return client.stream(path, connections++ === 0 ? old : query, idleMs, signal);
    },
  } as unknown as ApiClient;
  await using reader = new Reader({
    pods: (signal) => podEvents({ client: forgetful, nodeName: 'loam-410', log: member.log.log }, signal),
  });
  expect(names(await reader.sync())).toEqual(['kept']);
  expect(connections).toBe(2);
  expect(member.log.lines.map(({ msg }) => msg)).toContain('the version to watch from is gone: asking for all pods');
});

test('lists where the API server can not send initial events', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-list' });
  await member.membership.joined;
  await bind('listed', 'loam-list');
  const { client } = member.membership;
  const older = {
    get: client.get.bind(client),
    stream: (
      path: string,
      query: Record<string, string | number | boolean | undefined>,
      idleMs: number,
      signal: AbortSignal,
    ) =>
      // What makes today's server refuse it as yesterday's did.
      client.stream(
        path,
        query.sendInitialEvents === true ? { ...query, resourceVersionMatch: undefined } : query,
        idleMs,
        signal,
      ),
  } as unknown as ApiClient;
  await using reader = new Reader({
    pods: (signal) => podEvents({ client: older, nodeName: 'loam-list', log: member.log.log }, signal),
  });
  expect(names(await reader.sync())).toEqual(['listed']);
  await bind('watched', 'loam-list');
  await reader.upsert('watched');
});

test('a status arrives in full, takes back what it said before, and leaves the scheduler its own', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-status' });
  await member.membership.joined;
  const { statuses } = member.membership;
  const pod = await bind('told', 'loam-status');
  const conditions = [
    {
      type: 'Ready',
      status: 'False',
      reason: 'ContainersNotReady',
      message: 'waits',
      lastTransitionTime: new Date().toISOString(),
    },
  ];
  statuses.set(pod, { phase: 'Pending', conditions });
  await statuses.flush(pod.uid);
  expect((await getPod('told')).status.conditions).toContainEqual(
    expect.objectContaining({ type: 'Ready', reason: 'ContainersNotReady' }),
  );
  statuses.set(pod, running());
  await statuses.flush(pod.uid);
  const { status } = await getPod('told');
  expect(status.phase).toBe('Running');
  const ready = status.conditions.find(({ type }) => type === 'Ready');
  expect(ready).toMatchObject({ status: 'True' });
  expect(ready?.reason).toBeUndefined();
  expect(await cluster().kubectl('get', 'pod', 'told')).toMatch(/^told\s+1\/1\s+Running\s+0\s/m);
});

test('a status for a pod of the same name that came later is not written', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-uid' });
  await member.membership.joined;
  const pod = await bind('reborn', 'loam-uid');
  const earlier = { ...pod, uid: randomUUID() };
  member.membership.statuses.set(earlier, running());
  await member.membership.statuses.flush(earlier.uid);
  expect((await getPod('reborn')).status.phase).toBe('Pending');
  // Nor is it deleted in place of the other.
  await member.membership.statuses.finalize(earlier);
  expect((await getPod('reborn')).metadata.uid).toBe(pod.uid);
});

test('a status given while the API server is away arrives when it is back, the latest one only', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-wait' });
  await member.membership.joined;
  const { statuses } = member.membership;
  const pod = await bind('waits', 'loam-wait');
  await cluster().pause();
  statuses.set(pod, running());
  statuses.set(pod, { ...running(), phase: 'Failed' });
  await cluster().resume();
  await statuses.flush(pod.uid);
  expect((await getPod('waits')).status.phase).toBe('Failed');
});

test('says again that a pod is ready when somebody set it to not ready', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-ready' });
  await member.membership.joined;
  const { statuses } = member.membership;
  const pod = await bind('ready', 'loam-ready');
  await using reader = new Reader(member.membership);
  await reader.sync();
  statuses.set(pod, running());
  await statuses.flush(pod.uid);
  const isReady = (raw: RawPod, wanted: string): boolean => conditionOf(raw) === wanted;
  await reader.upsert('ready', (raw) => isReady(raw, 'True'));
  // As the node lifecycle controller does for a silent node.
  const lost = { status: { conditions: [{ type: 'Ready', status: 'False' }] } };
  await cluster().admin.patch('/api/v1/namespaces/default/pods/ready/status', 'strategic-merge', lost);
  await reader.upsert('ready', (raw) => isReady(raw, 'False'));
  await reader.upsert('ready', (raw) => isReady(raw, 'True'));
});

test('a deleted pod goes with its last status, and its end is final', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-final' });
  await member.membership.joined;
  const { statuses } = member.membership;
  const pod = await bind('final', 'loam-final');
  await using reader = new Reader(member.membership);
  await reader.sync();
  await cluster().kubectl('delete', 'pod', 'final', '--wait=false');
  await reader.upsert('final', ({ metadata }) => metadata.deletionTimestamp !== undefined);
  statuses.set(pod, { ...running(), phase: 'Succeeded' });
  await statuses.finalize(pod);
  await expect(getPod('final')).rejects.toMatchObject({ code: 'ApiNotFound' });
  // Twice does no harm: the agent may have been killed in between.
  await statuses.finalize(pod);
});

test('the same words about the same pod are one Event with a count', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-events' });
  await member.membership.joined;
  const { events } = member.membership;
  const pod = await bind('eventful', 'loam-events');
  const container = { kind: 'Pod' as const, ...pod, fieldPath: 'spec.containers{c}' };
  const message = 'registry.example/soil:1 is not a wasm module';
  events.record(container, 'Warning', 'Failed', message);
  await events.flush();
  for (let i = 0; i < 4; i++) events.record(container, 'Warning', 'Failed', message);
  events.record(container, 'Normal', 'Pulled', 'pulled');
  events.record(member.membership.nodeRef, 'Normal', 'Starting', 'loamlet has started');
  await events.flush();
  const of = async (...selector: string[]): Promise<Event[]> =>
    (await cluster().get<{ items: Event[] }>('events', ...selector)).items;
  const told = (await of('--field-selector', `involvedObject.uid=${pod.uid},source=loamlet`)).toSorted(
    (a, b) => b.count - a.count,
  );
  expect(told.map(({ reason, count }) => [reason, count])).toEqual([
    ['Failed', 5],
    ['Pulled', 1],
  ]);
  expect(told[0]).toMatchObject({
    type: 'Warning',
    message,
    source: { component: 'loamlet', host: 'loam-events' },
    involvedObject: { fieldPath: 'spec.containers{c}' },
  });
  expect(await cluster().kubectl('describe', 'node', 'loam-events')).toContain('loamlet has started');
});

test('no more than 25 Events of one pod are sent at once', async () => {
  await using member = await becomeMember(cluster(), { nodeName: 'loam-flood' });
  await member.membership.joined;
  const { events } = member.membership;
  const pod = await bind('noisy', 'loam-flood');
  for (let i = 0; i < 40; i++) events.record({ kind: 'Pod', ...pod }, 'Warning', 'BackOff', `try ${i}`);
  await events.flush();
  const { items } = await cluster().get<{ items: Event[] }>(
    'events',
    '--field-selector',
    `involvedObject.uid=${pod.uid},source=loamlet`,
  );
  expect(items).toHaveLength(25);
  expect(events.dropped).toBe(15);
});

function conditionOf({ status }: RawPod): string | undefined {
  const { conditions = [] } = (status ?? {}) as { conditions?: Array<{ type: string; status: string }> };
  return conditions.find(({ type }) => type === 'Ready')?.status;
}
