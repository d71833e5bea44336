import { randomUUID } from 'node:crypto';
import type { DeviceGrant, Grant } from '../../hostcalls/grant.ts';
import { LoamletError, errorLine } from '../base/errors.ts';
import type { PodLine } from '../observe/node-status.ts';
import type { ContainerExit, ContainerId, ContainerReport } from '../runner/protocol.ts';
import { newContainer, step, type Container, type ContainerEffect, type ContainerEvent } from './container-machine.ts';
import { containerStart, memoryLimit } from './container-start.ts';
import { Deadline } from './deadline.ts';
import type { LogRun } from './logs/log-folder.ts';
import { logLocation, type LogLocation } from './logs/log-location.ts';
import { PodGrants } from './pod-grants.ts';
import { podLine } from './pod-line.ts';
import type { Deletion, Pod } from './pod.ts';
import { podStatus, type HeldDevice, type PodCondition, type PodStatus, type PodView } from './pod-status.ts';
import type { PodRecord, PodServices, PreparedModule } from './pod-services.ts';

export type { PodEvent, PodRecord, PodServices, PreparedModule } from './pod-services.ts';

/**
 * Drives one pod: feeds events to its containers' machines and carries out the effects. Nothing here waits for anything
 * but its own timers, so a pod whose registry hangs holds up no other.
 */
export class PodWorker {
  #pod: Pod;
  readonly #services: PodServices;
  readonly #startTimeMs: number;
  #containers: Container[];
  readonly #grants: PodGrants;
  #conditions: readonly PodCondition[];
  #failure: PodView['failure'];
  #removing = false;
  #reportedGone = false;
  readonly #timers = new Map<number, NodeJS.Timeout>();
  #deadline: Deadline | undefined;
  readonly #abort = new AbortController();
  /** Modules on their way from `prepared` to `start`. */
  readonly #prepared = new Map<ContainerId, { readonly module: PreparedModule; readonly grant: Grant }>();

  constructor(pod: Pod, services: PodServices, record?: PodRecord) {
    this.#pod = pod;
    this.#services = services;
    this.#startTimeMs = record?.startTimeMs ?? services.now();
    this.#containers = pod.containers.map((_, index) => record?.containers[index] ?? newContainer);
    this.#grants = new PodGrants(pod.containers.length, record?.grants);
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
      grants: this.#grants.saved,
      ...(failure === undefined ? {} : { failure }),
    };
  }

  /** True once every container has ended for good. */
  get over(): boolean {
    return this.#containers.every((container) => container.state.type === 'ended');
  }

  /** True once the pod is to go. */
  get removing(): boolean {
    return this.#removing;
  }

  /** Names of the devices the pod holds now. A pod that is over holds none. */
  *heldDevices(): Iterable<string> {
    if (this.over) return;
    for (const { device } of this.#grants.devices.flat()) yield device.name;
  }

  /** The grant of a run of one of its containers. */
  grantOf(id: ContainerId): Grant | undefined {
    const index = this.#indexOf(id);
    return index === undefined ? undefined : this.#grants.of(index);
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
    return podLine(this.#view());
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
      devices: this.#grants.devices.map((devices) => devices.map(held)),
    };
  }

  /**
   * Begins, or goes on where a record left off: `reports` is what the runner knows. A run that the runner no longer
   * knows has ended with it.
   */
  begin(reports: ReadonlyMap<ContainerId, ContainerReport>): void {
    const idle = [...this.#containers.keys()].filter((index) => {
      const { type } = this.#containers[index]?.state ?? {};
      return type === 'waiting' || type === 'preparing';
    });
    this.#containers.forEach(({ state }, index) => {
      if ('id' in state) this.#adopt(index, state, reports.get(state.id));
    });
    this.#reviewGrants();
    this.update(this.#pod);
    this.#setDeadline();
    for (const index of idle) this.#beginAgain(index);
    this.#services.changed(this);
  }

  /** A newer version of the pod's object. */
  update(pod: Pod): void {
    const before = this.#pod;
    this.#pod = pod;
    if (pod.activeDeadlineSeconds !== before.activeDeadlineSeconds) this.#setDeadline();
    if (pod.generation !== before.generation || !sameStrings(pod.annotations, before.annotations))
      this.#services.changed(this);
    const { deletion } = pod;
    if (deletion === undefined || (this.#removing && !isSooner(deletion, before.deletion))) return;
    this.remove(Math.max(0, Math.min(deletion.graceSeconds * 1000, deletion.deadlineMs - this.#services.now())));
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
      if ('id' in state) this.#lose(index, state, message);
    });
  }

  /** A device has become free: a container that waits for a grant need not wait for its back-off. */
  recheck(): void {
    if (this.#abort.signal.aborted) return;
    this.#containers.forEach(({ state }, index) => {
      if (state.type !== 'waiting' || state.reason !== 'GrantDenied' || !this.#pod.containers[index]?.devices.size)
        return;
      clearTimeout(this.#timers.get(index));
      this.#timers.delete(index);
      this.#send(index, { type: 'due' });
    });
  }

  /** Ends the timers and whatever is being fetched, without stopping a module: the agent is leaving. */
  leave(): void {
    this.#abort.abort();
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#deadline?.[Symbol.dispose]();
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
    const wasOver = this.over;
    this.#containers[index] = container;
    if (container !== before) this.#services.changed(this);
    for (const effect of effects) this.#perform(index, effect);
    if (this.over && !wasOver) {
      this.#deadline?.[Symbol.dispose]();
      if (this.#grants.devices.flat().length > 0) this.#services.freed();
    }
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

  async #prepare(index: number): Promise<void> {
    try {
      const spec = this.#pod.containers[index];
      if (spec === undefined || this.#pod.problems.length > 0) throw configError(this.#pod.problems);
      const grant = this.#admit(index);
      const { signal } = this.#abort;
      const module = await this.#services.prepare(this.#pod, spec, grant, memoryLimit(spec, this.#services), signal);
      if (signal.aborted) return;
      const id = randomUUID();
      this.#prepared.set(id, { module, grant });
      this.#send(index, { type: 'prepared', id, image: module.image });
      this.#prepared.delete(id);
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      const reason = error instanceof LoamletError ? error.code : 'CreateContainerError';
      this.#send(index, { type: 'refused', reason, message: errorLine(error) });
    }
  }

  #admit(index: number): Grant {
    const grant = this.#grants.next(
      index,
      (current) => this.#services.admit(this.#pod, current),
      (container) => this.#containers[container]?.state.type === 'waiting',
    );
    if (grant === undefined) throw configError([]);
    return grant;
  }

  #start(index: number, id: ContainerId): void {
    const spec = this.#pod.containers[index];
    const prepared = this.#prepared.get(id);
    if (spec === undefined || prepared === undefined) return;
    const { module, grant } = prepared;
    this.#services.start(this, containerStart(id, this.#pod, spec, module, grant, this.#services));
  }

  /**
   * After a restart the node's config may be another. A run goes on with the grant it was started with, or not at all:
   * when it would get another one now it publishes nothing more and is stopped, and its next start gets the new one or
   * says why not.
   */
  #reviewGrants(): void {
    const running = [...this.#containers.keys()].filter((index) => 'id' in (this.#containers[index]?.state ?? {}));
    for (const { index, why } of this.#grants.review(running, (current) => this.#services.admit(this.#pod, current))) {
      const { state } = this.#containers[index] ?? newContainer;
      if (!('id' in state) || state.type === 'stopping') continue;
      const message = `Stopping module: ${why}`;
      this.#perform(index, { type: 'event', eventType: 'Warning', reason: 'GrantChanged', message });
      this.#services.stop(state.id, this.#pod.terminationGraceSeconds * 1000);
    }
  }

  #beginAgain(index: number): void {
    const container = this.#containers[index];
    if (container === undefined) return;
    const { state } = container;
    if (state.type === 'preparing') this.#containers[index] = { ...container, state: { ...state, type: 'waiting' } };
    this.#send(index, { type: 'due' });
  }

  #adopt(
    index: number,
    state: Extract<Container['state'], { id: ContainerId }>,
    report: ContainerReport | undefined,
  ): void {
    if (report === undefined) {
      this.#lose(index, state, 'the runner ended while the agent was away');
    } else if (report.state === 'exited') {
      this.#send(index, { type: 'exited', exit: exitOf(report) });
    } else if (state.type === 'starting') {
      this.#send(index, { type: 'started', startedAtMs: report.startedAtMs });
    } else if (state.type === 'stopping') {
      // The request may have been lost with the agent.
      this.#services.stop(state.id, this.#pod.terminationGraceSeconds * 1000);
    }
  }

  /** A run ended with its runner. One that had not begun has not failed either: it is tried again with back-off. */
  #lose(index: number, state: Extract<Container['state'], { id: ContainerId }>, message: string): void {
    if (state.type === 'starting') {
      this.#send(index, { type: 'startFailed', reason: 'CreateContainerError', message });
      return;
    }
    const finishedAtMs = this.#services.now();
    const startedAtMs = state.startedAtMs ?? finishedAtMs;
    const exit: ContainerExit = { startedAtMs, finishedAtMs, exitCode: 137, reason: 'Error', message };
    this.#send(index, { type: 'exited', exit });
  }

  #setDeadline(): void {
    this.#deadline?.[Symbol.dispose]();
    const seconds = this.#pod.activeDeadlineSeconds;
    if (seconds === undefined || this.over || this.#failure !== undefined) return;
    const leftMs = this.#startTimeMs + seconds * 1000 - this.#services.now();
    if (leftMs <= 0) this.#deadlineExceeded();
    else this.#deadline = new Deadline(leftMs, () => this.#deadlineExceeded());
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

/** Without what else a report or a message says. */
export function exitOf({ startedAtMs, finishedAtMs, exitCode, reason, message }: ContainerExit): ContainerExit {
  return { startedAtMs, finishedAtMs, exitCode, reason, message };
}

function isSooner(deletion: Deletion, before: Deletion | undefined): boolean {
  if (before === undefined) return true;
  return deletion.graceSeconds < before.graceSeconds || deletion.deadlineMs < before.deadlineMs;
}

function sameStrings(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}

function configError(problems: readonly string[]): LoamletError {
  const more = problems.length > 3 ? ` (and ${problems.length - 3} more)` : '';
  return new LoamletError('CreateContainerConfigError', 'operator', `${problems.slice(0, 3).join('; ')}${more}`);
}
