import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { LoamletError } from '../../../src/base/errors.ts';
import { container, device, podObject, type Json, type PodWish } from '../../support/pod-builders.ts';
import { PodWorld, type WorldOptions } from '../../support/pod-world.ts';

const probe = (name: string, more: PodWish = {}): Json =>
  podObject({ name, containers: [container('c', { 'soil-moisture': 1 })], ...more });
const deleted = (manifest: Json, graceSeconds = 30): Json => ({
  ...manifest,
  metadata: {
    ...(manifest['metadata'] as Json),
    generation: 2,
    deletionTimestamp: new Date(Date.now() + graceSeconds * 1000).toISOString(),
    deletionGracePeriodSeconds: graceSeconds,
  },
});
const edited = (manifest: Json, metadata: Json, spec: Json = {}): Json => ({
  ...manifest,
  metadata: { ...(manifest['metadata'] as Json), ...metadata },
  spec: { ...(manifest['spec'] as Json), ...spec },
});

const rejections: unknown[] = [];
const onRejection = (reason: unknown): void => void rejections.push(reason);

beforeEach(() => {
  vi.useFakeTimers({ now: Date.parse('2026-11-22T19:00:00Z'), toFake: ['setTimeout', 'clearTimeout', 'Date'] });
  process.on('unhandledRejection', onRejection);
});
afterEach(() => {
  vi.useRealTimers();
  process.off('unhandledRejection', onRejection);
  expect(rejections.splice(0)).toEqual([]);
});

async function running(manifest = podObject(), options: WorldOptions = {}): Promise<PodWorld> {
  const world = new PodWorld(options);
  world.manager.upsert('api', manifest);
  await world.settle();
  for (const { name } of world.starts) await world.started(name.slice(name.indexOf('/') + 1));
  world.told();
  return world;
}

/** The next life of the agent on the same disk, with what the runner says. */
async function reborn(before: PodWorld, names: Parameters<PodWorld['report']>[], options: WorldOptions = {}) {
  const reports = names.map((name) => before.report(...name));
  before.manager.leave();
  const world = new PodWorld({ ...options, disk: before.disk });
  world.remember(before);
  const orphans = world.manager.restore([...before.disk.values()], reports);
  await world.settle();
  return { world, orphans };
}

describe('a pod', () => {
  it('is an object with its present status for whoever asks the kubelet port', async () => {
    const { manager } = await running(podObject({ name: 'talks' }));
    expect(manager.objects()).toMatchObject([{ metadata: { name: 'talks' }, status: { phase: 'Running' } }]);
  });

  it('is on disk before the runner hears of it', async () => {
    const world = new PodWorld();
    world.manager.upsert('api', podObject());
    await world.settle();
    const told = world.told();
    expect(told.filter((line) => line === 'start soil/c')).toHaveLength(1);
    expect(told.indexOf('start soil/c')).toBeGreaterThan(told.lastIndexOf('save soil'));
    const record = JSON.stringify(world.disk.get('uid-soil')?.record);
    expect(record).toContain(world.run('soil/c').id);
  });

  it('is reported at each of its steps, and nothing twice', async () => {
    const world = new PodWorld();
    world.manager.upsert('api', podObject());
    await world.settle();
    expect([world.phase('soil'), world.state('soil')]).toEqual(['Pending', 'waiting ContainerCreating']);
    await world.started('soil/c');
    expect([world.phase('soil'), world.state('soil')]).toEqual(['Running', 'running']);
    await world.exited('soil/c', 0);
    expect(world.state('soil')).toBe('waiting CrashLoopBackOff');
    const sent = world.statuses.get('soil')?.map((status) => JSON.stringify(status)) ?? [];
    expect(new Set(sent).size).toBe(sent.length);
  });

  it('that did not change is not saved again', async () => {
    const manifest = podObject();
    const world = await running(manifest);
    for (let echo = 0; echo < 5; echo++)
      world.manager.upsert('api', { ...manifest, status: { phase: 'Running', message: String(echo) } });
    world.manager.sync('api', [manifest]);
    await world.settle();
    expect(world.told()).toEqual([]);
    expect(world.runs('soil/c')).toBe(1);
  });

  it('of a new generation is saved, and reported with it', async () => {
    const manifest = podObject();
    const world = await running(manifest);
    world.manager.upsert('api', edited(manifest, { generation: 3 }));
    await world.settle();
    expect(world.told()).toEqual(['save soil']);
    expect(world.status('soil')?.observedGeneration).toBe(3);
  });

  it('gives the module its arguments, environment and limits', async () => {
    const env = [
      { name: 'A', value: '1' },
      { name: 'NODE', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } },
      { name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.hostIP' } } },
    ];
    const world = await running(podObject({ containers: [container('c', {}, { env, args: ['-v'] })] }));
    expect(world.run('soil/c')).toMatchObject({
      name: 'default/soil/c',
      args: ['c', '-v'],
      env: ['A=1', 'NODE=greenhouse', 'IP=192.168.1.7'],
      memoryLimitBytes: 64 << 20,
      modulePath: '/modules/0',
    });
  });

  it('that is not ready says so', async () => {
    const world = await running();
    const { id } = world.run('soil/c');
    world.manager.news({ type: 'ready', id, ready: false });
    await world.settle();
    expect(world.status('soil')?.conditions.find(({ type }) => type === 'Ready')?.status).toBe('False');
  });

  it('crashes at the pace of the back-off, with a new run each time', async () => {
    const world = await running();
    for (const [index, wait] of [0, 10_000, 20_000].entries()) {
      await world.exited('soil/c', 1);
      if (wait > 0) {
        await world.pass(wait - 1);
        expect(world.runs('soil/c')).toBe(index + 1);
      }
      await world.pass(1);
      expect(world.runs('soil/c')).toBe(index + 2);
      await world.started('soil/c');
    }
    expect(new Set(world.starts.map(({ id }) => id)).size).toBe(4);
    expect(world.status('soil')?.containerStatuses[0]).toMatchObject({ restartCount: 3 });
    expect(world.events.filter((line) => line.includes('BackOff'))).toHaveLength(2);
  });

  it('with restartPolicy Never ends once, and never begins again', async () => {
    const manifest = podObject({ spec: { restartPolicy: 'Never' } });
    const world = await running(manifest);
    await world.exited('soil/c', 0);
    expect(world.phase('soil')).toBe('Succeeded');
    world.manager.upsert('api', manifest);
    world.manager.resend();
    world.manager.runnerLost('the runner is gone');
    await world.pass(3_600_000);
    expect(world.runs('soil/c')).toBe(1);
    const { world: next } = await reborn(world, []);
    next.manager.sync('api', [manifest]);
    await next.pass(3_600_000);
    expect(next.runs('soil/c')).toBe(1);
    expect(next.phase('soil')).toBe('Succeeded');
  });

  it('that ended before this node’s memory begins is left alone', async () => {
    const world = new PodWorld();
    world.manager.upsert('api', podObject({ status: { phase: 'Succeeded' } }));
    await world.pass(60_000);
    expect(world.story).toEqual([]);
    world.manager.upsert('api', deleted(podObject({ status: { phase: 'Failed' } })));
    expect(world.finalized.map(({ name }) => name)).toEqual(['soil']);
  });
});

describe('a pod that cannot start', () => {
  it('says why with one Event, waits with back-off, and starts when it can', async () => {
    const world = new PodWorld({ slowPrepare: true });
    world.manager.upsert('api', podObject());
    await world.settle();
    for (const wait of [10_000, 20_000, 40_000]) {
      world.preparations.at(-1)?.reject(new LoamletError('ErrImagePull', 'world', 'no such image'));
      await world.settle();
      expect([world.phase('soil'), world.state('soil')]).toEqual(['Pending', 'waiting ErrImagePull']);
      const before = world.preparations.length;
      await world.pass(wait - 1);
      expect(world.preparations).toHaveLength(before);
      await world.pass(1);
      expect(world.preparations).toHaveLength(before + 1);
    }
    expect(world.events).toEqual(['soil/c ErrImagePull: no such image']);
    world.preparations.at(-1)?.resolve();
    await world.settle();
    await world.started('soil/c');
    expect(world.phase('soil')).toBe('Running');
  });

  it('of an unexpected error is not lost either', async () => {
    const world = new PodWorld({ slowPrepare: true });
    world.manager.upsert('api', podObject());
    await world.settle();
    world.preparations[0]?.reject(new TypeError('x is not a function\n   at y'));
    await world.settle();
    expect(world.state('soil')).toBe('waiting CreateContainerError');
    expect(world.events).toEqual(['soil/c CreateContainerError: x is not a function']);
  });

  it('for what its manifest asks never asks the registry', async () => {
    const world = new PodWorld();
    world.manager.upsert('api', podObject({ spec: { hostNetwork: true, hostPID: true } }));
    await world.pass(600_000);
    expect(world.state('soil')).toBe('waiting CreateContainerConfigError');
    expect(world.events).toEqual([
      'soil/c CreateContainerConfigError: spec.hostNetwork is not supported; spec.hostPID is not supported',
    ]);
    expect(world.starts).toEqual([]);
  });

  it('in the runner waits too', async () => {
    const world = new PodWorld();
    world.manager.upsert('api', podObject());
    await world.settle();
    const { id } = world.run('soil/c');
    world.manager.news({ type: 'startFailed', id, reason: 'DeviceUnavailable', message: 'bed-1 does not answer' });
    await world.settle();
    expect([world.phase('soil'), world.state('soil')]).toEqual(['Pending', 'waiting DeviceUnavailable']);
    expect(world.told('forget')).toEqual(['forget soil/c']);
    await world.pass(10_000);
    expect(world.runs('soil/c')).toBe(2);
  });

  it('because its device is held starts as soon as that is free', async () => {
    const world = await running(probe('first'), { devices: [device('bed-1')] });
    world.manager.upsert('api', probe('second'));
    await world.pass(400_000);
    expect(world.state('second')).toBe('waiting GrantDenied');
    expect(world.events.filter((line) => line.startsWith('second'))).toEqual([
      'second/c GrantDenied: every soil-moisture of this node is held by pod default/first',
    ]);
    world.manager.deleted('uid-first');
    await world.settle();
    expect(world.runs('second/c')).toBe(0);
    await world.exited('first/c', 143);
    expect(world.runs('second/c')).toBe(1);
    expect(world.devicesOf('second/c')).toEqual(['bed-1']);
  });

  it('starts also when the holder has done its work and stays', async () => {
    const world = await running(probe('first', { spec: { restartPolicy: 'Never' } }), { devices: [device('bed-1')] });
    world.manager.upsert('api', probe('second'));
    await world.settle();
    await world.exited('first/c', 0);
    expect(world.devicesOf('second/c')).toEqual(['bed-1']);
  });
});

describe('a device', () => {
  it('stays with a container while another of its pod starts again', async () => {
    const two = (name: string): Json =>
      podObject({
        name,
        containers: [container('a', { 'soil-moisture': 1 }), container('b', { 'soil-moisture': 1 })],
      });
    const devices = [device('bed-1'), device('bed-2'), device('bed-3')];
    const world = await running(probe('first'), { devices });
    world.manager.upsert('api', two('pair'));
    await world.settle();
    await world.started('pair/a', 'pair/b');
    expect([world.devicesOf('pair/a'), world.devicesOf('pair/b')]).toEqual([['bed-2'], ['bed-3']]);
    world.manager.deleted('uid-first');
    await world.exited('first/c', 143);
    // bed-1 is free: b must neither take a's device nor leave its own to nobody.
    await world.exited('pair/b', 1);
    expect([world.runs('pair/b'), world.devicesOf('pair/b')]).toEqual([2, ['bed-3']]);
    world.manager.upsert('api', probe('second'));
    await world.settle();
    expect(world.devicesOf('second/c')).toEqual(['bed-1']);
    world.manager.upsert('api', probe('third'));
    await world.settle();
    expect(world.state('third')).toBe('waiting GrantDenied');
  });

  it('is held from admission on, while the module is still being fetched', async () => {
    const world = new PodWorld({ slowPrepare: true, devices: [device('bed-1')] });
    world.manager.upsert('api', probe('first'));
    world.manager.upsert('api', probe('second'));
    await world.settle();
    expect(world.preparations.map(({ name }) => name)).toEqual(['first/c']);
    expect(world.state('second')).toBe('waiting GrantDenied');
  });

  it('is not held by a pod that was deleted while it was being fetched', async () => {
    const world = new PodWorld({ slowPrepare: true, devices: [device('bed-1')] });
    world.manager.upsert('api', probe('first'));
    world.manager.upsert('api', probe('second'));
    await world.settle();
    world.manager.upsert('api', deleted(probe('first')));
    await world.settle();
    expect(world.preparations[0]?.signal.aborted).toBe(true);
    expect(world.preparations.map(({ name }) => name)).toEqual(['first/c', 'second/c']);
    // The module of the first arrives all the same.
    world.preparations[0]?.resolve();
    await world.settle();
    expect(world.starts).toEqual([]);
  });

  it('is on one running module at a time, whatever happens in whatever order', async () => {
    let seed = 20_261_122;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff;
      return (seed >>> 8) % below;
    };
    let world = new PodWorld();
    /** What the runner knows: run id to its devices. */
    const alive = new Map<string, readonly string[]>();
    const look = (): void => {
      for (const line of world.told()) expect(line).not.toMatch(/undefined/);
      for (const start of world.starts.splice(0))
        alive.set(
          start.id,
          start.grant.devices.map(({ device: { name } }) => name),
        );
      const held = [...alive.values()].flat();
      expect(new Set(held).size).toBe(held.length);
    };
    const exit = (id: string) => {
      const now = Date.now();
      return {
        id,
        startedAtMs: now - 5,
        finishedAtMs: now,
        exitCode: random(2),
        reason: 'Error',
        message: '',
      } as const;
    };
    const names = ['a', 'b', 'c', 'd'];
    let serial = 0;
    const live = new Map<string, Json>();
    for (let turn = 0; turn < 1_500; turn++) {
      const name = names[random(names.length)] ?? 'a';
      const ids = [...alive.keys()];
      const id = ids[random(ids.length || 1)];
      switch (random(9)) {
        case 0:
        case 1: {
          const containers = Array.from({ length: 1 + random(2) }, (_, index) =>
            container(`c${index}`, { 'soil-moisture': 1 }),
          );
          const policy = ['Always', 'OnFailure', 'Never'][random(3)];
          const manifest = podObject({ name, uid: `${name}-${serial++}`, containers, spec: { restartPolicy: policy } });
          if (!live.has(name)) live.set(name, manifest);
          world.manager.upsert('api', live.get(name));
          break;
        }
        case 2: {
          const manifest = live.get(name);
          if (manifest !== undefined) world.manager.upsert('api', deleted(manifest, random(3) * 10));
          live.delete(name);
          break;
        }
        case 3:
        case 4:
          if (id !== undefined) world.manager.news({ type: 'started', id, startedAtMs: Date.now() });
          break;
        case 5:
        case 6:
          if (id === undefined) break;
          alive.delete(id);
          world.manager.news({ type: 'exited', ...exit(id) });
          break;
        case 7:
          await world.pass(random(60_000));
          break;
        default: {
          world.manager.leave();
          look();
          world = new PodWorld({ disk: world.disk });
          if (random(3) === 0) alive.clear();
          const reports = [...alive.keys()].map((run) =>
            random(4) === 0
              ? ({ state: 'exited', ...exit(run) } as const)
              : ({ state: 'running', id: run, startedAtMs: 0 } as const),
          );
          for (const report of reports) if (report.state === 'exited') alive.delete(report.id);
          const orphans = world.manager.restore([...world.disk.values()], reports);
          for (const orphan of orphans) expect(alive.has(orphan)).toBe(false);
        }
      }
      await world.settle();
      look();
    }
    // In the end everything can go.
    for (const { pod } of world.manager.workers) world.manager.deleted(pod.uid);
    for (let round = 0; round < 5 && alive.size > 0; round++) {
      // Only those of now: what an exit brings to life is for the next round.
      const ending = [...alive.keys()];
      for (const id of ending) {
        alive.delete(id);
        world.manager.news({ type: 'exited', ...exit(id) });
      }
      await world.settle();
      look();
    }
    expect([...world.manager.workers]).toEqual([]);
    expect(world.disk.size).toBe(0);
  });

  it('that no longer answers is an Event and in the status of who holds it', async () => {
    const world = await running(probe('first'));
    world.manager.deviceHealth('bed-1', false, 'no answer');
    await world.settle();
    expect(world.events.at(-1)).toBe('first DeviceUnhealthy: Device bed-1: no answer');
    expect(JSON.stringify(world.status('first'))).toContain('"health":"Unhealthy"');
    world.manager.deviceHealth('bed-1', true, '');
    await world.settle();
    expect(JSON.stringify(world.status('first'))).toContain('"health":"Healthy"');
    world.manager.deviceHealth('bed-2', false, 'nobody’s');
    expect(world.events.at(-1)).toBe('first DeviceHealthy: Device bed-1 answers again');
  });

  it('that the node has not is not remembered, however many the runner invents', () => {
    const world = new PodWorld();
    world.manager.deviceHealth('invented', false, 'x');
    expect(world.manager.healthOf('invented').healthy).toBe(true);
  });
});

describe('deletion', () => {
  it('stops within the grace, reports the end and lets the object go', async () => {
    const world = await running();
    world.manager.upsert('api', deleted(podObject(), 5));
    await world.settle();
    expect(world.told('stop')).toEqual(['stop soil/c 5000']);
    expect(world.finalized).toEqual([]);
    await world.exited('soil/c', 0);
    expect(world.finalized.map(({ name, status }) => [name, status.phase])).toEqual([['soil', 'Succeeded']]);
    expect(world.told('forget', 'remove', 'gone')).toEqual(['gone soil', 'remove soil', 'forget soil/c']);
    expect(world.disk.size).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('takes the timestamp for the deadline', async () => {
    const world = await running();
    const manifest = deleted(podObject(), 30);
    await world.pass(20_000);
    world.manager.upsert('api', manifest);
    await world.settle();
    expect(world.told('stop')).toEqual(['stop soil/c 10000']);
  });

  it('may become shorter, and an echo is not another request', async () => {
    const world = await running();
    const manifest = deleted(podObject(), 30);
    world.manager.upsert('api', manifest);
    world.manager.upsert('api', manifest);
    await world.settle();
    expect(world.told('stop')).toEqual(['stop soil/c 30000']);
    world.manager.upsert('api', deleted(podObject(), 3));
    await world.settle();
    expect(world.told('stop')).toEqual(['stop soil/c 3000']);
    world.manager.upsert('api', deleted(podObject(), 0));
    await world.settle();
    expect(world.told('stop')).toEqual(['stop soil/c 0']);
  });

  it.each<[string, (world: PodWorld) => void | Promise<void>]>([
    ['while it is being fetched', () => undefined],
    ['while it waits', (world) => world.preparations[0]?.reject(new LoamletError('ErrImagePull', 'world', 'x'))],
  ])('%s is at once', async (_, act) => {
    const world = new PodWorld({ slowPrepare: true });
    world.manager.upsert('api', podObject());
    await world.settle();
    await act(world);
    await world.settle();
    world.manager.upsert('api', deleted(podObject()));
    await world.settle();
    expect(world.finalized.map(({ status }) => status.phase)).toEqual(['Failed']);
    expect(world.disk.size).toBe(0);
    await world.pass(3_600_000);
    expect(world.starts).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('while it starts waits for the runner’s word', async () => {
    const world = new PodWorld();
    world.manager.upsert('api', podObject());
    await world.settle();
    world.manager.upsert('api', deleted(podObject()));
    await world.settle();
    expect(world.finalized).toEqual([]);
    const { id } = world.run('soil/c');
    world.manager.news({ type: 'startFailed', id, reason: 'CreateContainerError', message: 'x' });
    await world.settle();
    expect(world.finalized).toHaveLength(1);
    expect(world.told('forget')).toEqual(['forget soil/c']);
  });

  it('between loops is at once, with the last exit code', async () => {
    const world = await running();
    await world.exited('soil/c', 3);
    await world.started('soil/c');
    await world.exited('soil/c', 3);
    world.manager.upsert('api', deleted(podObject()));
    expect(JSON.stringify(world.finalized[0]?.status)).toContain('"exitCode":3');
  });

  it('is the end of it: what a late watch or a finalizer still tells of the object makes no new pod', async () => {
    const world = await running();
    world.manager.upsert('api', deleted(podObject()));
    await world.exited('soil/c', 143);
    expect(world.finalized).toHaveLength(1);
    world.manager.upsert('api', deleted(podObject()));
    world.manager.sync('api', [deleted(podObject())]);
    await world.settle();
    expect(world.finalized).toHaveLength(1);
    expect(JSON.stringify(world.finalized[0]?.status)).toContain('"exitCode":143');
    expect([...world.manager.workers]).toEqual([]);
    world.manager.deleted('uid-soil');
    world.manager.upsert('api', podObject());
    await world.settle();
    await world.started('soil/c');
    expect(world.phase('soil')).toBe('Running');
  });

  it('does not need the runner to live', async () => {
    const world = await running();
    world.manager.upsert('api', deleted(podObject()));
    world.manager.runnerLost('the runner is gone');
    await world.settle();
    expect(world.finalized).toHaveLength(1);
    expect(world.told('start')).toEqual([]);
  });

  it('of a pod this node never knew lets it go, also when the node is full, and starts nothing', async () => {
    const world = await running(podObject(), { maxPods: 1 });
    world.manager.upsert('api', deleted(podObject({ name: 'stranger' })));
    await world.settle();
    expect(world.finalized.map(({ name }) => name)).toEqual(['stranger']);
    expect(world.runs('stranger/c')).toBe(0);
  });

  it('of the object alone ends the pod too', async () => {
    const world = await running();
    world.manager.deleted('uid-soil');
    world.manager.deleted('uid-soil');
    await world.settle();
    expect(world.told('stop')).toEqual(['stop soil/c 30000']);
    await world.exited('soil/c', 143);
    expect([...world.manager.workers]).toEqual([]);
  });

  it('after the end is at once', async () => {
    const manifest = podObject({ spec: { restartPolicy: 'Never' } });
    const world = await running(manifest);
    await world.exited('soil/c', 0);
    world.manager.upsert('api', deleted(manifest));
    expect(world.finalized.map(({ status }) => status.phase)).toEqual(['Succeeded']);
  });
});

describe('a pod with a deadline', () => {
  const manifest = podObject({ spec: { activeDeadlineSeconds: 60 } });

  it('is stopped when it has passed and ends Failed', async () => {
    const world = await running(manifest);
    await world.pass(59_999);
    expect(world.told('stop')).toEqual([]);
    await world.pass(1);
    expect(world.told('stop')).toEqual(['stop soil/c 30000']);
    expect(world.events).toContain(
      'soil DeadlineExceeded: Pod was active on the node longer than the specified deadline',
    );
    await world.exited('soil/c', 0);
    expect(world.status('soil')).toMatchObject({ phase: 'Failed', reason: 'DeadlineExceeded' });
    await world.pass(3_600_000);
    expect(world.runs('soil/c')).toBe(1);
  });

  it('that has ended before it stays as it ended', async () => {
    const world = await running(podObject({ spec: { activeDeadlineSeconds: 60, restartPolicy: 'Never' } }));
    await world.exited('soil/c', 0);
    await world.pass(3_600_000);
    expect(world.status('soil')).toMatchObject({ phase: 'Succeeded', reason: null });
  });

  it('keeps it over a restart of the agent', async () => {
    const before = await running(manifest);
    await before.pass(50_000);
    const { world } = await reborn(before, [['soil/c']]);
    await world.pass(9_999);
    expect(world.told('stop')).toEqual([]);
    await world.pass(1);
    expect(world.told('stop')).toEqual(['stop soil/c 30000']);
  });

  it('that passed while the agent was away is not started again', async () => {
    const before = await running(manifest);
    await before.pass(50_000);
    before.manager.leave();
    vi.setSystemTime(Date.now() + 600_000);
    const { world } = await reborn(before, []);
    await world.pass(600_000);
    expect(world.runs('soil/c')).toBe(1);
    expect(world.status('soil')).toMatchObject({ phase: 'Failed', reason: 'DeadlineExceeded' });
  });

  it('of more than 24 days is not over at once', async () => {
    const world = await running(podObject({ spec: { activeDeadlineSeconds: 5_000_000 } }));
    await world.pass(4_999_999_000);
    expect(world.told('stop')).toEqual([]);
    await world.pass(1_000);
    expect(world.told('stop')).toEqual(['stop soil/c 30000']);
  });

  it('may get it later', async () => {
    const world = await running();
    world.manager.upsert('api', edited(podObject(), { generation: 2 }, { activeDeadlineSeconds: 10 }));
    await world.pass(10_000);
    expect(world.told('stop')).toEqual(['stop soil/c 30000']);
  });
});

describe('after a restart of the agent', () => {
  it('what runs is adopted: not started, not stopped, with its grant', async () => {
    const before = await running(probe('first'));
    const { world, orphans } = await reborn(before, [['first/c']]);
    expect(orphans).toEqual([]);
    expect(world.told('start', 'stop', 'forget')).toEqual([]);
    expect(world.phase('first')).toBe('Running');
    expect(world.manager.grantOf(before.run('first/c').id)?.grant).toEqual(before.run('first/c').grant);
    await world.exited('first/c', 1);
    expect(world.runs('first/c')).toBe(2);
  });

  it('what runs keeps its device, whoever is restored first', async () => {
    const before = await running(probe('z'), { devices: [device('bed-1'), device('bed-2')] });
    before.manager.upsert('api', probe('a'));
    await before.settle();
    await before.started('a/c');
    before.manager.deleted('uid-z');
    await before.exited('z/c', 0);
    before.manager.upsert('api', probe('b', { spec: { restartPolicy: 'Always' } }));
    await before.settle();
    await before.started('b/c');
    expect([before.devicesOf('a/c'), before.devicesOf('b/c')]).toEqual([['bed-2'], ['bed-1']]);
    const { world } = await reborn(before, [['a/c'], ['b/c']], { devices: [device('bed-1'), device('bed-2')] });
    const held = [...world.manager.workers].map((worker) => [worker.pod.name, [...worker.heldDevices()]]);
    expect(Object.fromEntries(held)).toEqual({ a: ['bed-2'], b: ['bed-1'] });
    expect(world.told('start', 'stop')).toEqual([]);
  });

  it('what ended meanwhile ends as it did', async () => {
    const before = await running(podObject({ spec: { restartPolicy: 'OnFailure' } }));
    const { world } = await reborn(before, [['soil/c', 0]]);
    expect(world.phase('soil')).toBe('Succeeded');
    expect(world.told('forget')).toEqual(['forget soil/c']);
    expect(world.runs('soil/c')).toBe(1);
  });

  it('what crashed meanwhile waits for its back-off', async () => {
    const before = await running();
    await before.exited('soil/c', 1);
    await before.started('soil/c');
    const { world } = await reborn(before, [['soil/c', 1]]);
    await world.pass(9_999);
    expect(world.runs('soil/c')).toBe(2);
    await world.pass(1);
    expect(world.runs('soil/c')).toBe(3);
  });

  it('what the runner lost starts again by its policy', async () => {
    const always = await running();
    expect((await reborn(always, [])).world.runs('soil/c')).toBe(2);
    const never = await running(podObject({ spec: { restartPolicy: 'Never' } }));
    const { world } = await reborn(never, []);
    expect(world.runs('soil/c')).toBe(1);
    expect(world.status('soil')).toMatchObject({
      phase: 'Failed',
      containerStatuses: [
        { state: { terminated: { exitCode: 137, message: 'the runner ended while the agent was away' } } },
      ],
    });
  });

  it('what was about to start and did not is tried again, also with restartPolicy Never', async () => {
    const before = new PodWorld();
    before.manager.upsert('api', podObject({ spec: { restartPolicy: 'Never' } }));
    await before.settle();
    const { world } = await reborn(before, []);
    expect(world.phase('soil')).toBe('Pending');
    await world.pass(10_000);
    expect(world.runs('soil/c')).toBe(2);
  });

  it('what was about to start and did is adopted', async () => {
    const before = new PodWorld();
    before.manager.upsert('api', podObject());
    await before.settle();
    const { world } = await reborn(before, [['soil/c']]);
    expect(world.phase('soil')).toBe('Running');
    expect(world.told('start', 'stop')).toEqual([]);
  });

  it('what was being fetched is fetched again, once', async () => {
    const before = new PodWorld({ slowPrepare: true });
    before.manager.upsert('api', podObject());
    await before.settle();
    const { world } = await reborn(before, []);
    expect(before.preparations[0]?.signal.aborted).toBe(true);
    before.preparations[0]?.resolve();
    await before.settle();
    expect(before.starts).toEqual([]);
    expect(world.runs('soil/c')).toBe(1);
  });

  it('what was to stop is stopped, within what is left of its grace', async () => {
    const before = await running();
    before.manager.upsert('api', deleted(podObject(), 30));
    await before.settle();
    await before.pass(10_000);
    const { world } = await reborn(before, [['soil/c']]);
    expect(world.told('stop')).toContain('stop soil/c 20000');
    await world.exited('soil/c', 143);
    expect(world.finalized).toHaveLength(1);
    expect(world.disk.size).toBe(0);
  });

  it('what nobody knows is an orphan, and is forgotten when it ends', async () => {
    const world = new PodWorld();
    const report = { id: 'unknown', state: 'running', startedAtMs: 0 } as const;
    expect(world.manager.restore([], [report])).toEqual(['unknown']);
    world.manager.news({
      type: 'exited',
      id: 'unknown',
      startedAtMs: 0,
      finishedAtMs: 1,
      exitCode: 143,
      reason: 'Error',
      message: '',
    });
    await world.settle();
    expect(world.story).toEqual(['forget unknown']);
  });

  it('under a stricter policy what runs is stopped, publishes nothing more, and is refused', async () => {
    const before = await running(probe('first'));
    const { world } = await reborn(before, [['first/c']], {
      rules: [{ namespaces: ['garden'], devices: [], publish: [] }],
    });
    const { id } = before.run('first/c');
    expect(world.told('start', 'stop')).toEqual(['stop first/c 30000']);
    expect(world.events).toHaveLength(1);
    expect(world.events[0]).toContain('first/c GrantChanged: Stopping module: this node');
    expect(world.manager.grantOf(id)?.grant.messaging).toBeUndefined();
    // It has the device until it has let go of it.
    expect([...(world.manager.find('default', 'first')?.heldDevices() ?? [])]).toEqual(['bed-1']);
    await world.exited('first/c', 143);
    expect(world.state('first')).toBe('waiting GrantDenied');
    expect(world.runs('first/c')).toBe(1);
  });

  it('under another calibration what runs starts again with it', async () => {
    const before = await running(probe('first'));
    const recalibrated = { ...device('bed-1'), options: { wet: 1 } };
    const { world } = await reborn(before, [['first/c']], { devices: [recalibrated] });
    expect(world.told('stop')).toEqual(['stop first/c 30000']);
    await world.exited('first/c', 143);
    expect(world.run('first/c').grant.devices[0]?.device).toEqual(recalibrated);
  });

  it('a record that cannot be read costs no other pod its life', async () => {
    const before = await running();
    before.disk.set('uid-x', { uid: 'uid-x', namespace: 'default', name: 'x', source: 'api', manifest: 7, record: {} });
    before.disk.set('uid-y', {
      ...before.disk.get('uid-soil')!,
      uid: 'uid-y',
      manifest: podObject({ name: 'y' }),
      record: {},
    });
    const { world } = await reborn(before, [['soil/c']]);
    expect(world.phase('soil')).toBe('Running');
    expect([...world.disk.keys()]).toEqual(['uid-soil']);
    expect(world.testLog.atLeast(50).map(({ msg }) => msg)).toEqual(['saved pod ignored', 'saved pod ignored']);
  });

  it('pods that its source no longer has go; those of another source stay', async () => {
    const before = await running();
    before.manager.upsert('static', podObject({ name: 'fixed' }));
    await before.settle();
    await before.started('fixed/c');
    const { world } = await reborn(before, [['soil/c'], ['fixed/c']]);
    world.manager.sync('api', []);
    await world.settle();
    expect(world.told('stop')).toEqual(['stop soil/c 30000']);
    world.manager.sync('static', []);
    await world.settle();
    expect(world.told('stop')).toEqual(['stop fixed/c 30000']);
  });
});

describe('when the runner is lost', () => {
  it('what ran goes through its restart policy', async () => {
    const world = await running();
    world.manager.runnerLost('the runner ended with signal SIGKILL');
    await world.settle();
    expect(world.runs('soil/c')).toBe(2);
    expect(world.status('soil')?.containerStatuses[0]).toMatchObject({
      restartCount: 1,
      lastState: { terminated: { exitCode: 137, message: 'the runner ended with signal SIGKILL' } },
    });
  });

  it('what was about to start has crashed: a module that holds its runner from the first moment can’t do so for ever', async () => {
    const world = new PodWorld();
    world.manager.upsert('api', podObject());
    world.manager.upsert('api', podObject({ name: 'once', spec: { restartPolicy: 'Never' } }));
    await world.settle();
    for (const wait of [0, 10_000, 20_000]) {
      const runs = world.runs('soil/c');
      world.manager.runnerLost('a module held it for 30 s');
      if (wait > 0) {
        await world.pass(wait - 1);
        expect(world.runs('soil/c')).toBe(runs);
      }
      await world.pass(1);
      expect(world.runs('soil/c')).toBe(runs + 1);
    }
    expect(world.runs('once/c')).toBe(1);
    expect(world.status('once')).toMatchObject({
      phase: 'Failed',
      containerStatuses: [{ state: { terminated: { exitCode: 137, message: 'a module held it for 30 s' } } }],
    });
  });

  it('what was not yet asked of it is not begun by the next', async () => {
    const world = new PodWorld({ slowPrepare: true });
    world.manager.upsert('api', podObject());
    await world.settle();
    world.preparations[0]?.resolve();
    // As far as `starting`, but not to the end of the turn.
    for (let microtask = 0; microtask < 5; microtask++) await Promise.resolve();
    expect([...(world.manager.find('default', 'soil')?.state.ids() ?? [])]).toHaveLength(1);
    world.manager.runnerLost('gone');
    await world.settle();
    const [lost, next] = world.preparations;
    expect([lost, next]).not.toContain(undefined);
    expect(world.starts).toEqual([]);
    next?.resolve();
    await world.settle();
    expect(world.starts).toHaveLength(1);
  });

  it('a run that no pod owns is stopped when it shows itself, and forgotten', async () => {
    const world = new PodWorld();
    world.manager.news({ type: 'started', id: 'stray', startedAtMs: 0 });
    await world.settle();
    expect(world.told()).toEqual(['stop stray 0']);
    world.manager.news({
      type: 'exited',
      id: 'stray',
      startedAtMs: 0,
      finishedAtMs: 1,
      exitCode: 143,
      reason: 'Error',
      message: '',
    });
    await world.settle();
    expect(world.told()).toEqual(['forget stray']);
  });

  it('late words of the lost one change nothing', async () => {
    const world = await running();
    const lost = world.exit('soil/c', 0);
    world.manager.runnerLost('gone');
    await world.settle();
    await world.started('soil/c');
    world.told();
    world.manager.news({ type: 'exited', ...lost });
    world.manager.news({ type: 'ready', id: lost.id, ready: false });
    await world.settle();
    expect(world.told('start', 'stop', 'save')).toEqual([]);
    expect(world.state('soil')).toBe('running');
  });
});

describe('static pods', () => {
  const fixed = podObject({ name: 'fixed' });

  it('that change are another pod: the old one goes, the new one comes', async () => {
    const world = new PodWorld();
    world.manager.sync('static', [fixed]);
    await world.settle();
    await world.started('fixed/c');
    world.manager.sync('static', [edited(fixed, { labels: { v: '2' } })]);
    await world.settle();
    expect(world.told('start', 'stop')).toEqual(['start fixed/c', 'stop fixed/c 30000', 'start fixed/c']);
    expect(world.manager.find('default', 'fixed')?.removing).toBe(false);
  });

  it('that come back while they stop start anew when they have stopped', async () => {
    const world = new PodWorld();
    world.manager.sync('static', [fixed]);
    await world.settle();
    await world.started('fixed/c');
    world.manager.sync('static', []);
    await world.settle();
    world.manager.sync('static', [fixed]);
    world.manager.sync('static', [fixed]);
    await world.settle();
    expect(world.runs('fixed/c')).toBe(1);
    await world.exited('fixed/c', 143);
    expect(world.runs('fixed/c')).toBe(2);
    expect(world.disk.size).toBe(1);
    expect(world.finalized).toEqual([]);
  });

  it('that come back and go again stay away', async () => {
    const world = new PodWorld();
    world.manager.sync('static', [fixed]);
    await world.settle();
    await world.started('fixed/c');
    world.manager.sync('static', []);
    world.manager.sync('static', [fixed]);
    world.manager.sync('static', []);
    await world.exited('fixed/c', 143);
    expect(world.runs('fixed/c')).toBe(1);
    expect(world.disk.size).toBe(0);
  });

  it('that are no pods are named in the log and cost no other its life', async () => {
    const world = new PodWorld();
    world.manager.sync('static', [{ kind: 'Deployment' }, fixed, 7]);
    await world.settle();
    expect(world.runs('fixed/c')).toBe(1);
    expect(world.testLog.atLeast(50)).toHaveLength(2);
  });
});

describe('a node that is full', () => {
  it('says so once, and takes the pod when another has gone', async () => {
    const world = await running(podObject(), { maxPods: 1 });
    for (let echo = 0; echo < 3; echo++) world.manager.upsert('api', podObject({ name: 'second' }));
    world.manager.upsert('api', podObject({ name: 'third' }));
    expect(world.events.filter((line) => line.includes('OutOfpods'))).toHaveLength(2);
    world.manager.deleted('uid-second');
    world.manager.deleted('uid-soil');
    await world.settle();
    await world.exited('soil/c', 143);
    expect([world.runs('second/c'), world.runs('third/c')]).toEqual([0, 1]);
  });
});

describe('a disk that takes nothing', () => {
  it('stops no module, and the runner forgets nothing that is not saved', async () => {
    const world = await running(podObject({ spec: { restartPolicy: 'Never' } }));
    world.diskIsFull = true;
    world.manager.upsert('api', podObject({ name: 'other' }));
    await world.exited('soil/c', 0);
    expect(world.told('start', 'forget')).toEqual(['start other/c']);
    expect(world.phase('soil')).toBe('Succeeded');
    await world.pass(5_000);
    expect(world.told('forget')).toEqual([]);
    world.diskIsFull = false;
    await world.pass(5_000);
    expect(world.told('save', 'forget')).toEqual(['save other', 'save soil', 'forget soil/c']);
    expect(world.phase('other')).toBe('Pending');
  });
});

describe('an agent that leaves', () => {
  it('saves, stops nothing and starts nothing', async () => {
    const world = new PodWorld({ slowPrepare: true });
    world.manager.upsert('api', podObject());
    await world.settle();
    world.told();
    world.manager.leave();
    world.preparations[0]?.resolve();
    await world.pass(3_600_000);
    expect(world.told('start', 'stop')).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('still records what ends while everything is being stopped', async () => {
    const world = await running(podObject({ spec: { restartPolicy: 'Never' } }));
    world.manager.leave();
    await world.exited('soil/c', 0);
    expect(JSON.stringify(world.disk.get('uid-soil')?.record)).toContain('Completed');
    expect(world.told('forget')).toEqual(['forget soil/c']);
  });
});
