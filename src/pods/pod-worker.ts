import { randomUUID } from 'node:crypto';
import type { DeviceGrant, Grant } from '../../hostcalls/grant.ts';
import { LoamletError, errorLine } from '../base/errors.ts';
import type { PodLine } from '../observe/node-status.ts';
import type { ContainerExit, ContainerId, ContainerReport, ContainerStart } from '../runner/protocol.ts';
import {
  newContainer,
  step,
  type Container,
  type ContainerEffect,
  type ContainerEvent,
  type RunningImage,
} from './container-machine.ts';
import type { LogRun } from './logs/log-folder.ts';
import { logLocation, type LogLocation } from './logs/log-location.ts';
import { podLabel, type ContainerSpec, type Pod } from './pod.ts';
import { podPhase, podStatus, type HeldDevice, type PodCondition, type PodStatus, type PodView } from './pod-status.ts';

/** A module ready to run, with the image it came from. */
export interface PreparedModule {
  readonly image: RunningImage;
  readonly modulePath: string;
  readonly moduleDigest: string;
}

export type PodEvent = Extract<ContainerEffect, { type: 'event' }>;

/** What a worker needs of the node. Every call is idempotent for the same container id. */
export interface PodServices {
  readonly hostIP: () => string | undefined;
  readonly nodeName: string;
  readonly defaultMemoryLimitBytes: number;
  /** @throws AdmissionError while the pod can't have what it asks for */
  admit(pod: Pod): readonly Grant[];
  /** Fetches, checks and precompiles. @throws LoamletError whose code is the waiting reason */
  prepare(
    pod: Pod,
    container: ContainerSpec,
    grant: Grant,
    memoryLimitBytes: number,
    signal: AbortSignal,
  ): Promise<PreparedModule>;
  start(worker: PodWorker, container: ContainerStart): void;
  stop(id: ContainerId, graceMs: number): void;
  forget(id: ContainerId): void;
  deviceHealth(name: string): { readonly healthy: boolean; readonly message: string };
  event(pod: Pod, container: string | undefined, event: Omit<PodEvent, 'type'>): void;
  /** The pod's state has changed: to be saved, and its status sent. */
  changed(worker: PodWorker): void;
  /** Every container has ended and the pod is to go: nothing of it runs any more. */
  gone(worker: PodWorker): void;
  now(): number;
}

/** What is kept of a pod over a restart of the agent; JSON. */
export interface PodRecord {
  readonly startTimeMs: number;
  readonly containers: readonly Container[];
  readonly conditions: readonly PodCondition[];
  readonly failure?: NonNullable<PodView['failure']>;
}

/**
 * Drives one pod: feeds events to its containers' machines and carries out the effects. Nothing here waits for anything
 * but its own timers, so a pod whose registry hangs holds up no other.
 */
export class PodWorker {
  #pod: Pod;
  readonly #services: PodServices;
  readonly #startTimeMs: number;
  #containers: Container[];
  #grants: readonly Grant[] = [];
  #conditions: readonly PodCondition[];
  #failure: PodView['failure'];
  #removing = false;
  #reportedGone = false;
  readonly #timers = new Map<number, NodeJS.Timeout>();
  #deadline: NodeJS.Timeout | undefined;
  readonly #abort = new AbortController();

  constructor(pod: Pod, services: PodServices, record?: PodRecord) {
    this.#pod = pod;
    this.#services = services;
    this.#startTimeMs = record?.startTimeMs ?? services.now();
    this.#containers = pod.containers.map((_, index) => record?.containers[index] ?? newContainer);
    this.#conditions = record?.conditions ?? [];
    this.#failure = record?.failure;
  }

  get pod(): Pod {
    return this.#pod;
  }

  get record(): PodRecord {
    const failure = this.#failure;
    return {
      startTimeMs: this.#startTimeMs,
      containers: this.#containers,
      conditions: this.#conditions,
      ...(failure === undefined ? {} : { failure }),
    };
  }

  /** True once every container has ended for good. */
  get over(): boolean {
    return this.#containers.every((container) => container.state.type === 'ended');
  }

  /** Names of the devices the pod holds now. A pod that is over holds none. */
  *heldDevices(): Iterable<string> {
    if (this.over) return;
    for (const grant of this.#grants) for (const { device } of grant.devices) yield device.name;
  }

  /** The grant of a run of one of its containers. */
  grantOf(id: ContainerId): Grant | undefined {
    const index = this.#indexOf(id);
    return index === undefined ? undefined : this.#grants[index];
  }

  /** Container ids of runs that the runner should know. */
  *ids(): Iterable<ContainerId> {
    for (const { state } of this.#containers) if ('id' in state) yield state.id;
  }

  /** Where the log of a run belongs; undefined when the run is not this pod's. */
  logRunOf(id: ContainerId): LogRun | undefined {
    const index = this.#indexOf(id);
    const container = index === undefined ? undefined : this.#pod.containers[index];
    const restart = index === undefined ? undefined : this.#containers[index]?.restartCount;
    if (container === undefined || restart === undefined) return undefined;
    const { namespace, name: pod, uid } = this.#pod;
    return { namespace, pod, uid, container: container.name, restart };
  }

  /** Which logs a container has; undefined when the pod has no such container. */
  logLocation(name: string): LogLocation | undefined {
    const container = this.#containers[this.#pod.containers.findIndex((spec) => spec.name === name)];
    return container === undefined ? undefined : logLocation(this.#pod.uid, container);
  }

  /** For `loamlet status`. */
  summary(): PodLine {
    const states = this.#containers.map(({ state }) => state);
    const reasons = states.map((state) =>
      'reason' in state ? state.reason : state.type === 'ended' ? (state.exit?.reason ?? '') : '',
    );
    const ready = states.filter((state) => state.type === 'running' && state.ready).length;
    return {
      namespace: this.#pod.namespace,
      name: this.#pod.name,
      source: this.#pod.source,
      phase: podPhase(this.#view()),
      ready: `${ready}/${states.length}`,
      restarts: this.#containers.reduce((sum, { restartCount }) => sum + restartCount, 0),
      reason: reasons.find((reason) => reason !== '') ?? '',
    };
  }

  /** The status to publish now. */
  status(): PodStatus {
    const status = podStatus(this.#view(), this.#conditions, this.#services.hostIP(), this.#services.now());
    this.#conditions = status.conditions;
    return status;
  }

  #view(): PodView {
    const held = ({ device }: DeviceGrant): HeldDevice => ({ ...device, ...this.#services.deviceHealth(device.name) });
    return {
      pod: this.#pod,
      startTimeMs: this.#startTimeMs,
      containers: this.#containers,
      ...(this.#failure === undefined ? {} : { failure: this.#failure }),
      devices: this.#grants.map((grant) => grant.devices.map(held)),
    };
  }

  /**
   * Begins, or goes on where a record left off: `reports` is what the runner knows. A run that the runner no longer
   * knows has ended with it.
   */
  begin(reports: ReadonlyMap<ContainerId, ContainerReport>): void {
    this.#regrant();
    this.#containers.forEach(({ state }, index) => {
      if (state.type === 'waiting') this.#send(index, { type: 'due' });
      else if (state.type === 'preparing') this.#redo(index, state);
      else if (state.type !== 'ended') this.#adopt(index, state, reports.get(state.id));
    });
    this.#armDeadline();
    this.update(this.#pod);
    this.#services.changed(this);
  }

  /** A newer version of the pod's object. */
  update(pod: Pod): void {
    this.#pod = pod;
    const { deletion } = pod;
    if (deletion !== undefined && !this.#removing) {
      this.remove(Math.max(0, Math.min(deletion.graceSeconds * 1000, deletion.deadlineMs - this.#services.now())));
    } else if (deletion?.graceSeconds === 0) {
      this.#stopAll(0);
    }
  }

  /** Stops everything; `gone` follows when it has ended. */
  remove(graceMs: number): void {
    this.#removing = true;
    this.#stopAll(graceMs);
    this.#settle();
  }

  /** What the runner says of one of the pod's runs. False when the run is not this pod's. */
  deliver(id: ContainerId, event: ContainerEvent): boolean {
    const index = this.#indexOf(id);
    if (index === undefined) return false;
    this.#send(index, event);
    return true;
  }

  /** The runner is gone and every run with it. */
  runnerLost(message: string): void {
    this.#containers.forEach(({ state }, index) => {
      if ('id' in state) this.#send(index, { type: 'exited', exit: this.#lostExit(state, message) });
    });
  }

  /** Ends the timers and whatever is being fetched, without stopping a module: the agent is leaving. */
  leave(): void {
    this.#abort.abort();
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    clearTimeout(this.#deadline);
  }

  /** Device health has changed: the status is new. */
  refresh(): void {
    this.#services.changed(this);
  }

  #indexOf(id: ContainerId): number | undefined {
    const index = this.#containers.findIndex(({ state }) => 'id' in state && state.id === id);
    return index < 0 ? undefined : index;
  }

  #stopAll(graceMs: number): void {
    this.#containers.forEach((_, index) => this.#send(index, { type: 'stop', graceMs }));
  }

  #send(index: number, event: ContainerEvent): void {
    const before = this.#containers[index];
    if (before === undefined) return;
    const { container, effects } = step(before, event, this.#pod.restartPolicy);
    if (container === before && effects.length === 0) return;
    this.#containers[index] = container;
    // Saved before it is done: a run the agent dies over is found again by its id.
    if (container !== before) this.#services.changed(this);
    for (const effect of effects) this.#perform(index, effect);
    this.#settle();
  }

  #settle(): void {
    if (!this.over || !this.#removing || this.#reportedGone) return;
    this.#reportedGone = true;
    this.leave();
    this.#services.gone(this);
  }

  #perform(index: number, effect: ContainerEffect): void {
    switch (effect.type) {
      case 'prepare':
        void this.#prepare(index);
        return;
      case 'start':
        return this.#start(index, effect.id);
      case 'stop':
        return this.#services.stop(effect.id, effect.graceMs);
      case 'forget':
        return this.#services.forget(effect.id);
      case 'wait':
        return this.#wait(index, effect.ms);
      case 'event':
        return this.#services.event(this.#pod, this.#pod.containers[index]?.name, effect);
      default:
        return effect satisfies never;
    }
  }

  #wait(index: number, ms: number): void {
    if (this.#abort.signal.aborted) return;
    clearTimeout(this.#timers.get(index));
    const timer = setTimeout(() => {
      this.#timers.delete(index);
      this.#send(index, { type: 'due' });
    }, ms);
    this.#timers.set(index, timer);
  }

  readonly #prepared = new Map<ContainerId, PreparedModule>();

  async #prepare(index: number): Promise<void> {
    const spec = this.#pod.containers[index];
    if (spec === undefined) return;
    try {
      if (this.#pod.problems.length > 0) throw configError(this.#pod.problems);
      this.#grants = this.#services.admit(this.#pod);
      const grant = this.#grants[index];
      if (grant === undefined) return;
      const module = await this.#services.prepare(this.#pod, spec, grant, this.#memoryLimit(spec), this.#abort.signal);
      const id = randomUUID();
      this.#prepared.set(id, module);
      this.#send(index, { type: 'prepared', id, image: module.image });
      this.#prepared.delete(id);
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      const reason = error instanceof LoamletError ? error.code : 'CreateContainerError';
      this.#send(index, { type: 'refused', reason, message: errorLine(error) });
    }
  }

  #start(index: number, id: ContainerId): void {
    const spec = this.#pod.containers[index];
    const grant = this.#grants[index];
    const module = this.#prepared.get(id);
    if (spec === undefined || grant === undefined || module === undefined) return;
    this.#services.start(this, {
      id,
      name: `${podLabel(this.#pod)}/${spec.name}`,
      modulePath: module.modulePath,
      moduleDigest: module.moduleDigest,
      args: spec.args,
      env: spec.env.map((variable) => `${variable.name}=${this.#value(variable)}`),
      memoryLimitBytes: this.#memoryLimit(spec),
      grant,
    });
  }

  #value(variable: ContainerSpec['env'][number]): string {
    if ('value' in variable) return variable.value;
    return variable.field === 'nodeName' ? this.#services.nodeName : (this.#services.hostIP() ?? '');
  }

  #memoryLimit(spec: ContainerSpec): number {
    return spec.memoryLimitBytes ?? this.#services.defaultMemoryLimitBytes;
  }

  /** Grants are not kept over a restart: they follow from the pod and the node's config, which may have changed. */
  #regrant(): void {
    if (this.over || ![...this.ids()].length) return;
    try {
      this.#grants = this.#services.admit(this.#pod);
    } catch {
      // What still runs keeps running without publishing; its next start says why it is refused.
      this.#grants = [];
    }
  }

  #redo(index: number, state: Extract<Container['state'], { type: 'preparing' }>): void {
    const container = this.#containers[index];
    if (container === undefined) return;
    this.#containers[index] = { ...container, state: { ...state, type: 'waiting' } };
    this.#send(index, { type: 'due' });
  }

  #adopt(
    index: number,
    state: Extract<Container['state'], { id: ContainerId }>,
    report: ContainerReport | undefined,
  ): void {
    if (report === undefined) {
      this.#send(index, { type: 'exited', exit: this.#lostExit(state, 'the runner ended while the agent was away') });
    } else if (report.state === 'exited') {
      this.#send(index, { type: 'exited', exit: report });
    } else if (state.type === 'starting') {
      this.#send(index, { type: 'started', startedAtMs: report.startedAtMs });
    } else if (state.type === 'stopping') {
      // The request may have been lost with the agent.
      this.#services.stop(state.id, this.#pod.terminationGraceSeconds * 1000);
    }
  }

  #lostExit(state: Container['state'], message: string): ContainerExit {
    const now = this.#services.now();
    const startedAtMs = 'startedAtMs' in state ? (state.startedAtMs ?? now) : now;
    return { startedAtMs, finishedAtMs: now, exitCode: 137, reason: 'Error', message };
  }

  #armDeadline(): void {
    const seconds = this.#pod.activeDeadlineSeconds;
    if (seconds === undefined || this.over || this.#failure !== undefined) return;
    const ms = this.#startTimeMs + seconds * 1000 - this.#services.now();
    // setTimeout holds 24.8 days at most; a longer deadline is checked again then.
    const longest = 2 ** 31 - 1;
    this.#deadline = setTimeout(
      () => (ms > longest ? this.#armDeadline() : this.#deadlineExceeded()),
      Math.max(0, Math.min(ms, longest)),
    );
  }

  #deadlineExceeded(): void {
    this.#failure = {
      reason: 'DeadlineExceeded',
      message: 'Pod was active on the node longer than the specified deadline',
    };
    this.#services.event(this.#pod, undefined, {
      eventType: 'Normal',
      reason: 'DeadlineExceeded',
      message: this.#failure.message,
    });
    this.#stopAll(this.#pod.terminationGraceSeconds * 1000);
    this.#services.changed(this);
  }
}

function configError(problems: readonly string[]): LoamletError {
  const more = problems.length > 3 ? ` (and ${problems.length - 3} more)` : '';
  return new LoamletError('CreateContainerConfigError', 'operator', `${problems.slice(0, 3).join('; ')}${more}`);
}
