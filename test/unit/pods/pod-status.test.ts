import { describe, expect, it } from 'vitest';
import { newContainer, type Container, type ContainerState } from '../../../src/pods/container-machine.ts';
import { podStatus, type PodCondition, type PodStatus, type PodView } from '../../../src/pods/pod-status.ts';
import { container, pod } from '../../support/pod-builders.ts';

const image = { reference: 'registry/c:1', imageId: 'registry/c@sha256:0' };
const ended = (exitCode: number) =>
  ({
    startedAtMs: 1_000_400,
    finishedAtMs: 1_005_900,
    exitCode,
    reason: exitCode === 0 ? 'Completed' : 'Error',
    message: '',
    id: 'run-0',
    image,
  }) as const;
const of = (state: ContainerState, more: Partial<Container> = {}): Container => ({ ...newContainer, state, ...more });

const waiting = of({ type: 'waiting', reason: 'ErrImagePull', message: 'no such image', attempt: 1 });
const preparing = of({ type: 'preparing', reason: 'ContainerCreating', message: '', attempt: 0 });
const starting = of({ type: 'starting', id: 'run-1', attempt: 0, image, reason: 'ContainerCreating', message: '' });
const running = of({ type: 'running', id: 'run-1', startedAtMs: 2_000_000, ready: true, image });
const unready = of({ type: 'running', id: 'run-1', startedAtMs: 2_000_000, ready: false, image });
const stopping = of({ type: 'stopping', id: 'run-1', startedAtMs: 2_000_000, image });
const stoppedEarly = of({ type: 'stopping', id: 'run-1', startedAtMs: undefined, image });
const succeeded = of({ type: 'ended', exit: ended(0) }, { last: ended(0) });
const failed = of({ type: 'ended', exit: ended(3) }, { last: ended(3) });
const neverRan = of({ type: 'ended' });
const looping = of(
  { type: 'waiting', reason: 'CrashLoopBackOff', message: 'back-off 10s', attempt: 0 },
  { last: ended(3), restartCount: 2 },
);

function view(containers: readonly Container[], more: Partial<PodView> = {}): PodView {
  return {
    pod: pod({ containers: containers.map((_, index) => container(`c${index}`)) }),
    startTimeMs: 999_999,
    containers,
    ...more,
  };
}
function statusOf(containers: readonly Container[], more: Partial<PodView> = {}, at = 3_000_000): PodStatus {
  return podStatus(view(containers, more), [], '192.168.1.7', at);
}
const condition = (status: PodStatus, type: string): PodCondition | undefined =>
  status.conditions.find((candidate) => candidate.type === type);

describe('the phase of a pod', () => {
  it.each<[string, readonly Container[], string]>([
    ['that waits', [waiting], 'Pending'],
    ['that is prepared', [preparing], 'Pending'],
    ['that starts', [starting], 'Pending'],
    ['that runs', [running], 'Running'],
    ['that is not ready', [unready], 'Running'],
    ['one of whose containers never started', [running, waiting], 'Pending'],
    ['that loops', [looping], 'Running'],
    ['that stops', [stopping], 'Running'],
    ['that stops before it ran', [stoppedEarly], 'Pending'],
    ['half of which has ended', [succeeded, running], 'Running'],
    ['that has done its work', [succeeded, succeeded], 'Succeeded'],
    ['that has failed', [succeeded, failed], 'Failed'],
    ['that was stopped before it ran', [neverRan], 'Failed'],
  ])('%s', (_, containers, phase) => expect(statusOf(containers).phase).toBe(phase));

  it('that ran too long is Failed, with the reason, once all has ended', () => {
    const failure = { reason: 'DeadlineExceeded', message: 'too long' };
    expect(statusOf([stopping], { failure }).phase).toBe('Running');
    expect(statusOf([succeeded], { failure })).toMatchObject({ phase: 'Failed', ...failure });
  });
});

describe('conditions', () => {
  const types = (status: PodStatus): Record<string, string> =>
    Object.fromEntries(status.conditions.map(({ type, status: value }) => [type, value]));

  it('of a pod that runs are all true, and say null where there is no reason', () => {
    const status = statusOf([running]);
    expect(types(status)).toEqual({
      PodReadyToStartContainers: 'True',
      Initialized: 'True',
      Ready: 'True',
      ContainersReady: 'True',
    });
    for (const { reason, message } of status.conditions) expect([reason, message]).toEqual([null, null]);
    expect([status.reason, status.message]).toEqual([null, null]);
  });
  it('of a pod that waits name the containers', () => {
    const status = statusOf([running, waiting]);
    for (const type of ['Ready', 'ContainersReady']) {
      expect(condition(status, type)).toMatchObject({
        status: 'False',
        reason: 'ContainersNotReady',
        message: 'containers with unready status: [c1]',
      });
    }
    expect(types(statusOf([waiting])).PodReadyToStartContainers).toBe('False');
  });
  it('of a pod that is over say how', () => {
    expect(condition(statusOf([succeeded]), 'Ready')).toMatchObject({ status: 'False', reason: 'PodCompleted' });
    expect(condition(statusOf([succeeded]), 'Initialized')).toMatchObject({ status: 'True', reason: 'PodCompleted' });
    expect(condition(statusOf([failed]), 'Ready')).toMatchObject({ status: 'False', reason: 'PodFailed' });
    expect(types(statusOf([failed])).PodReadyToStartContainers).toBe('False');
  });
  it('leave the scheduler’s alone', () => {
    expect(condition(statusOf([running]), 'PodScheduled')).toBeUndefined();
    const fixed = statusOf([running], { pod: pod({ containers: [container('c0')] }, 'static') });
    expect(condition(fixed, 'PodScheduled')).toMatchObject({ status: 'True' });
  });
  it('keep the time of their last change, and have whole seconds', () => {
    const first = statusOf([waiting], {}, 3_000_123);
    const same = podStatus(view([waiting]), first.conditions, undefined, 4_000_000);
    expect(same.conditions).toEqual(first.conditions);
    const then = podStatus(view([running]), same.conditions, undefined, 5_000_000);
    expect(condition(then, 'Initialized')?.lastTransitionTime).toBe('1970-01-01T00:50:00Z');
    expect(condition(then, 'Ready')?.lastTransitionTime).toBe('1970-01-01T01:23:20Z');
  });
});

describe('the status of a container', () => {
  const one = (state: Container, more: Partial<PodView> = {}) => statusOf([state], more).containerStatuses[0];

  it('that waits has the reason', () =>
    expect(one(waiting)).toEqual({
      name: 'c0',
      image: 'registry/c0:1',
      imageID: '',
      ready: false,
      started: false,
      restartCount: 0,
      state: { waiting: { reason: 'ErrImagePull', message: 'no such image' } },
      lastState: {},
    }));
  it('that runs has its start, image and id', () =>
    expect(one(running)).toMatchObject({
      image: 'registry/c:1',
      imageID: 'registry/c@sha256:0',
      containerID: 'loamlet://run-1',
      ready: true,
      started: true,
      state: { running: { startedAt: '1970-01-01T00:33:20Z' } },
    }));
  it('that loops has its last end', () =>
    expect(one(looping)).toMatchObject({
      restartCount: 2,
      containerID: 'loamlet://run-0',
      state: { waiting: { reason: 'CrashLoopBackOff' } },
      lastState: {
        terminated: {
          exitCode: 3,
          reason: 'Error',
          startedAt: '1970-01-01T00:16:40Z',
          finishedAt: '1970-01-01T00:16:45Z',
          containerID: 'loamlet://run-0',
        },
      },
    }));
  it('that has ended has its own end as its state, not as an earlier one', () => {
    expect(one(succeeded)).toMatchObject({
      state: { terminated: { exitCode: 0, reason: 'Completed' } },
      lastState: {},
    });
    expect(
      one(of({ type: 'ended', exit: { ...ended(137), reason: 'Killed', message: 'over the grace' } })),
    ).toMatchObject({
      state: { terminated: { exitCode: 137, reason: 'Error', message: 'over the grace' } },
    });
  });
  it('that never ran is not said to have been started', () => {
    expect(one(stoppedEarly)).toMatchObject({ started: false, state: { waiting: { reason: 'ContainerCreating' } } });
    expect(one(neverRan)).toMatchObject({ state: { terminated: { exitCode: 137, reason: 'ContainerStatusUnknown' } } });
  });
  it('has the health of its devices', () => {
    const held = (name: string, resource: string, healthy: boolean) => ({ name, resource, healthy, message: '' });
    const devices = [
      [held('bed-1', 'soil-moisture', true), held('pump-1', 'pump', true), held('bed-2', 'soil-moisture', false)],
    ];
    expect(one(running, { devices })).toMatchObject({
      allocatedResourcesStatus: [
        {
          name: 'loamlet.dev/soil-moisture',
          resources: [
            { resourceID: 'bed-1', health: 'Healthy' },
            { resourceID: 'bed-2', health: 'Unhealthy' },
          ],
        },
        { name: 'loamlet.dev/pump', resources: [{ resourceID: 'pump-1', health: 'Healthy' }] },
      ],
    });
    expect(one(running)).not.toHaveProperty('allocatedResourcesStatus');
  });
});

it('has the addresses of the node only when they are known', () => {
  expect(statusOf([running])).toMatchObject({ hostIP: '192.168.1.7', hostIPs: [{ ip: '192.168.1.7' }] });
  expect(podStatus(view([running]), [], undefined, 0)).not.toHaveProperty('hostIP');
});

it('reports the generation it is about, on itself and each condition', () => {
  const status = statusOf([running], { pod: pod({ containers: [container('c0')], metadata: { generation: 4 } }) });
  expect(status.observedGeneration).toBe(4);
  for (const { observedGeneration } of status.conditions) expect(observedGeneration).toBe(4);
  const fixed = statusOf([running], {
    pod: pod({ containers: [container('c0')], metadata: { generation: undefined } }),
  });
  expect(fixed).not.toHaveProperty('observedGeneration');
});
