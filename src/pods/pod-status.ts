/** What the API server and `kubectl` are told of a pod: computed anew from its state, never edited. */
import { resourcePrefix } from '../base/names.ts';
import type { Container, ContainerState, Ended } from './container-machine.ts';
import type { Pod } from './pod.ts';

export type PodPhase = 'Pending' | 'Running' | 'Succeeded' | 'Failed';

export interface PodCondition {
  readonly type: string;
  readonly status: 'True' | 'False';
  /** Null clears what is there: a strategic merge keeps what is not sent. */
  readonly reason: string | null;
  readonly message: string | null;
  readonly lastTransitionTime: string;
  readonly observedGeneration?: number;
}

/** The `status` of a v1 Pod, the part a node owns. */
export interface PodStatus {
  readonly phase: PodPhase;
  readonly observedGeneration?: number;
  readonly reason: string | null;
  readonly message: string | null;
  readonly startTime: string;
  readonly hostIP?: string;
  readonly hostIPs?: readonly { readonly ip: string }[];
  readonly conditions: readonly PodCondition[];
  readonly containerStatuses: readonly Readonly<Record<string, unknown>>[];
}

export interface PodView {
  readonly pod: Pod;
  readonly startTimeMs: number;
  readonly containers: readonly Container[];
  /** The pod as a whole has ended for this reason: `DeadlineExceeded`. */
  readonly failure?: { readonly reason: string; readonly message: string };
  /** Devices each container holds, by its index, with their health. */
  readonly devices?: readonly (readonly HeldDevice[])[];
}

export interface HeldDevice {
  readonly name: string;
  readonly resource: string;
  readonly healthy: boolean;
  readonly message: string;
}

/** @param previous the conditions sent last, whose transition times are kept where nothing changed */
export function podStatus(
  view: PodView,
  previous: readonly PodCondition[],
  hostIP: string | undefined,
  nowMs: number,
): PodStatus {
  const { pod, containers } = view;
  const phase = podPhase(view);
  const over = phase === 'Succeeded' || phase === 'Failed';
  const unready = pod.containers
    .filter((_, index) => !isReady(containers[index]?.state))
    .map((container) => container.name);
  const readiness: Verdict = over
    ? ['False', phase === 'Succeeded' ? 'PodCompleted' : 'PodFailed', null]
    : unready.length === 0
      ? ['True', null, null]
      : ['False', 'ContainersNotReady', `containers with unready status: [${unready.join(' ')}]`];
  const holding = containers.some(
    (container) => container.state.type !== 'waiting' && container.state.type !== 'preparing',
  );
  const verdicts: [type: string, verdict: Verdict][] = [
    ['PodReadyToStartContainers', holding && !over ? ['True', null, null] : ['False', null, null]],
    ['Initialized', over && phase === 'Succeeded' ? ['True', 'PodCompleted', null] : ['True', null, null]],
    ['Ready', readiness],
    ['ContainersReady', readiness],
    ...(pod.source === 'static' ? ([['PodScheduled', ['True', null, null]]] as [string, Verdict][]) : []),
  ];
  const now = seconds(nowMs);
  const generation = pod.generation === undefined ? {} : { observedGeneration: pod.generation };
  return {
    phase,
    ...generation,
    reason: view.failure?.reason ?? null,
    message: view.failure?.message ?? null,
    startTime: seconds(view.startTimeMs),
    ...(hostIP === undefined ? {} : { hostIP, hostIPs: [{ ip: hostIP }] }),
    conditions: verdicts.map(([type, [status, reason, message]]) => {
      const before = previous.find((condition) => condition.type === type);
      const lastTransitionTime = before?.status === status ? before.lastTransitionTime : now;
      return { type, status, reason, message, lastTransitionTime, ...generation };
    }),
    containerStatuses: pod.containers.map((spec, index) => {
      const container = containers[index];
      const held = view.devices?.[index] ?? [];
      return container === undefined ? { name: spec.name } : containerStatus(spec, container, held);
    }),
  };
}

type Verdict = readonly [status: 'True' | 'False', reason: string | null, message: string | null];

export function podPhase(view: PodView): PodPhase {
  const { containers, failure } = view;
  const ended = containers.every((container) => container.state.type === 'ended');
  if (ended) {
    const failed =
      failure !== undefined || containers.some(({ state }) => state.type === 'ended' && state.exit?.exitCode !== 0);
    return failed ? 'Failed' : 'Succeeded';
  }
  // As in a kubelet: Pending while any container has never been able to start, Running from then on.
  return containers.some((container) => !hasRun(container)) ? 'Pending' : 'Running';
}

function hasRun({ state, restartCount }: Container): boolean {
  if (restartCount > 0 || state.type === 'running' || state.type === 'ended') return true;
  return state.type === 'stopping' && state.startedAtMs !== undefined;
}

function isReady(state: ContainerState | undefined): boolean {
  return state?.type === 'running' && state.ready;
}

function containerStatus(
  spec: { readonly name: string; readonly image: string },
  container: Container,
  held: readonly HeldDevice[],
): Record<string, unknown> {
  const { state, restartCount, last } = container;
  const image = 'image' in state ? state.image : last?.image;
  const id = 'id' in state ? state.id : last?.id;
  const previous = state.type === 'ended' ? undefined : last;
  return {
    name: spec.name,
    image: image?.reference ?? spec.image,
    imageID: image?.imageId ?? '',
    ...(id === undefined ? {} : { containerID: `loamlet://${id}` }),
    ready: isReady(state),
    started: state.type === 'running' || (state.type === 'stopping' && state.startedAtMs !== undefined),
    restartCount,
    state: stateOf(state),
    lastState: previous === undefined ? {} : { terminated: terminated(previous) },
    ...(held.length === 0 ? {} : { allocatedResourcesStatus: resourceHealth(held) }),
  };
}

function stateOf(state: ContainerState): Record<string, unknown> {
  switch (state.type) {
    case 'waiting':
    case 'preparing':
    case 'starting':
      return { waiting: { reason: state.reason, ...(state.message === '' ? {} : { message: state.message }) } };
    case 'running':
      return { running: { startedAt: seconds(state.startedAtMs) } };
    case 'stopping':
      return state.startedAtMs === undefined
        ? { waiting: { reason: 'ContainerCreating' } }
        : { running: { startedAt: seconds(state.startedAtMs) } };
    case 'ended':
      return {
        terminated:
          state.exit === undefined
            ? { exitCode: 137, reason: 'ContainerStatusUnknown', message: 'the container was stopped before it ran' }
            : terminated(state.exit),
      };
    default:
      return state satisfies never;
  }
}

function terminated(ended: Ended): Record<string, unknown> {
  return {
    exitCode: ended.exitCode,
    reason: ended.reason === 'Killed' ? 'Error' : ended.reason,
    ...(ended.message === '' ? {} : { message: ended.message }),
    startedAt: seconds(ended.startedAtMs),
    finishedAt: seconds(ended.finishedAtMs),
    containerID: `loamlet://${ended.id}`,
  };
}

/** `allocatedResourcesStatus` of KEP-4680. */
function resourceHealth(held: readonly HeldDevice[]): unknown[] {
  const byResource = Map.groupBy(held, (device) => device.resource);
  return [...byResource].map(([resource, devices]) => ({
    name: resourcePrefix + resource,
    resources: devices.map((device) => ({ resourceID: device.name, health: device.healthy ? 'Healthy' : 'Unhealthy' })),
  }));
}

/** Kubernetes' Time has whole seconds. */
function seconds(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
}
