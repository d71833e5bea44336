import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { Grant } from '../../hostcalls/grant.ts';
import { LoamletError, errorLine } from '../base/errors.ts';
import type { PodLine } from '../observe/node-status.ts';
import type { ContainerId, ContainerReport } from '../runner/protocol.ts';
import { exitOf, lostExit } from './container-exit.ts';
import { newContainer, step, type Container, type ContainerEffect, type ContainerEvent } from './container-machine.ts';
import { containerStart, memoryLimit } from './container-start.ts';
import { Deadline } from './deadline.ts';
import { graceLeftMs, isSooner } from './deletion.ts';
import type { LogLocation } from './logs/log-location.ts';
import type { Pod } from './pod.ts';
import { PodState } from './pod-state.ts';
import type { PodRecord, PodServices, PreparedModule } from './pod-services.ts';

export type { PodEvent, PodRecord, PodServices, PreparedModule } from './pod-services.ts';

/**
 * Drives one pod: feeds events to its containers' machines and carries out the effects. Nothing here waits for anything
 * but its own timers, so a pod whose registry hangs holds up no other.
 */
export class PodWorker {
  readonly state: PodState;
  readonly #services: PodServices;
  #removing = false;
  #reportedGone = false;
  readonly #timers = new Map<number, NodeJS.Timeout>();
  #deadline: Deadline | undefined;
  readonly #abort = new AbortController();
  /** Modules on their way from `prepared` to `start`. */
  readonly #prepared = new Map<ContainerId, { readonly module: PreparedModule; readonly grant: Grant }>();

  constructor(pod: Pod, services: PodServices, record?: PodRecord) {
    this.#services = services;
    this.state = new PodState(pod, services, record);
  }

  get pod(): Pod {
    return this.state.pod;
  }

  /** True once the pod is to go. */
  get removing(): boolean {
    return this.#removing;
  }

  /** Names of the devices the pod holds now. */
  heldDevices(): Iterable<string> {
    return this.state.heldDevices();
  }

  /** Which logs a container has; undefined when the pod has no such container. */
  logLocation(name: string): LogLocation | undefined {
    return this.state.logLocation(name);
  }

  /** For `loamlet status`. */
  summary(): PodLine {
    return this.state.line;
  }

  /**
   * Begins, or goes on where a record left off: `reports` is what the runner knows. A run that the runner no longer
   * knows has ended with it.
   */
  begin(reports: ReadonlyMap<ContainerId, ContainerReport>): void {
    const idle = [...this.state.containers.keys()].filter((index) => {
      const { type } = this.state.containers[index]?.state ?? {};
      return type === 'waiting' || type === 'preparing';
    });
    this.state.containers.forEach(({ state }, index) => {
      if ('id' in state) this.#adopt(index, state, reports.get(state.id));
    });
    this.#reviewGrants();
    this.update(this.pod);
    this.#setDeadline();
    for (const index of idle) this.#beginAgain(index);
    this.#services.changed(this);
  }

  /** A newer version of the pod's object. */
  update(pod: Pod): void {
    const before = this.pod;
    this.state.pod = pod;
    if (pod.activeDeadlineSeconds !== before.activeDeadlineSeconds) this.#setDeadline();
    if (pod.generation !== before.generation || !isDeepStrictEqual(pod.annotations, before.annotations))
      this.#services.changed(this);
    const { deletion } = pod;
    if (deletion === undefined || (this.#removing && !isSooner(deletion, before.deletion))) return;
    this.remove(graceLeftMs(deletion, this.#services.now()));
  }

  /** Stops everything; `gone` follows when it has ended. */
  remove(graceMs: number): void {
    this.#removing = true;
    this.#stopAll(graceMs);
    this.#settle();
  }

  /** What the runner says of one of the pod's runs. False when the run is not this pod's. */
  deliver(id: ContainerId, event: ContainerEvent): boolean {
    const index = this.state.indexOf(id);
    if (index === undefined) return false;
    this.#send(index, event);
    return true;
  }

  /** The runner is gone and every run with it, also one that has not said `started`: it may be what held the runner. */
  runnerLost(message: string): void {
    this.state.containers.forEach(({ state }, index) => {
      if ('id' in state) this.#send(index, this.#lostExit(state, message));
    });
  }

  /** A device has become free: a container that waits for a grant need not wait for its back-off. */
  recheck(): void {
    if (this.#abort.signal.aborted) return;
    this.state.containers.forEach(({ state }, index) => {
      if (state.type !== 'waiting' || state.reason !== 'GrantDenied' || !this.pod.containers[index]?.devices.size)
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

  #stopAll(graceMs: number): void {
    this.state.containers.forEach((_, index) => this.#send(index, { type: 'stop', graceMs }));
  }

  #send(index: number, event: ContainerEvent): void {
    const before = this.state.containers[index];
    if (before === undefined) return;
    const { container, effects } = step(before, event, this.pod.restartPolicy);
    if (container === before && effects.length === 0) return;
    const wasOver = this.state.over;
    this.state.containers[index] = container;
    if (container !== before) this.#services.changed(this);
    for (const effect of effects) this.#perform(index, effect);
    if (this.state.over && !wasOver) {
      this.#deadline?.[Symbol.dispose]();
      if (this.state.grants.devices.flat().length > 0) this.#services.freed();
    }
    this.#settle();
  }

  #settle(): void {
    if (!this.state.over || !this.#removing || this.#reportedGone) return;
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
        return this.#services.event(this.pod, this.pod.containers[index]?.name, effect);
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
      const spec = this.pod.containers[index];
      if (spec === undefined || this.pod.problems.length > 0) throw configError(this.pod.problems);
      const grant = this.#admit(index);
      const { signal } = this.#abort;
      const module = await this.#services.prepare(this.pod, spec, grant, memoryLimit(spec, this.#services), signal);
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
    const grant = this.state.grants.next(
      index,
      (current) => this.#services.admit(this.pod, current),
      (container) => this.state.containers[container]?.state.type === 'waiting',
    );
    if (grant === undefined) throw configError([]);
    return grant;
  }

  #start(index: number, id: ContainerId): void {
    const spec = this.pod.containers[index];
    const prepared = this.#prepared.get(id);
    if (spec === undefined || prepared === undefined) return;
    const { module, grant } = prepared;
    this.#services.start(this, containerStart(id, this.pod, spec, module, grant, this.#services));
  }

  /**
   * After a restart the node's config may be another. A run goes on with the grant it was started with, or not at all:
   * when it would get another one now it publishes nothing more and is stopped, and its next start gets the new one or
   * says why not.
   */
  #reviewGrants(): void {
    const { grants, running } = this.state;
    for (const { index, why } of grants.review(running, (current) => this.#services.admit(this.pod, current))) {
      const { state } = this.state.containers[index] ?? newContainer;
      if (!('id' in state) || state.type === 'stopping') continue;
      const message = `Stopping module: ${why}`;
      this.#perform(index, { type: 'event', eventType: 'Warning', reason: 'GrantChanged', message });
      this.#services.stop(state.id, this.pod.terminationGraceSeconds * 1000);
    }
  }

  #beginAgain(index: number): void {
    const container = this.state.containers[index];
    if (container === undefined) return;
    const { state } = container;
    if (state.type === 'preparing')
      this.state.containers[index] = { ...container, state: { ...state, type: 'waiting' } };
    this.#send(index, { type: 'due' });
  }

  #adopt(
    index: number,
    state: Extract<Container['state'], { id: ContainerId }>,
    report: ContainerReport | undefined,
  ): void {
    if (report === undefined && state.type === 'starting') {
      // Saved, and the agent gone before it could be asked for: what never ran has not failed.
      const message = 'the agent ended before the module had started';
      this.#send(index, { type: 'startFailed', reason: 'CreateContainerError', message });
    } else if (report === undefined) {
      this.#send(index, this.#lostExit(state, 'the runner ended while the agent was away'));
    } else if (report.state === 'exited') {
      this.#send(index, { type: 'exited', exit: exitOf(report) });
    } else if (state.type === 'starting') {
      this.#send(index, { type: 'started', startedAtMs: report.startedAtMs });
    } else if (state.type === 'stopping') {
      // The request may have been lost with the agent.
      this.#services.stop(state.id, this.pod.terminationGraceSeconds * 1000);
    }
  }

  #lostExit(state: Extract<Container['state'], { id: ContainerId }>, message: string): ContainerEvent {
    const startedAtMs = 'startedAtMs' in state ? state.startedAtMs : undefined;
    return { type: 'exited', exit: lostExit(startedAtMs, this.#services.now(), message) };
  }

  #setDeadline(): void {
    this.#deadline?.[Symbol.dispose]();
    const seconds = this.pod.activeDeadlineSeconds;
    if (seconds === undefined || this.state.over || this.state.failure !== undefined) return;
    const leftMs = this.state.startTimeMs + seconds * 1000 - this.#services.now();
    if (leftMs <= 0) this.#deadlineExceeded();
    else this.#deadline = new Deadline(leftMs, () => this.#deadlineExceeded());
  }

  #deadlineExceeded(): void {
    this.state.failure = {
      reason: 'DeadlineExceeded',
      message: 'Pod was active on the node longer than the specified deadline',
    };
    this.#services.event(this.pod, undefined, {
      eventType: 'Normal',
      reason: 'DeadlineExceeded',
      message: this.state.failure.message,
    });
    this.#stopAll(this.pod.terminationGraceSeconds * 1000);
    this.#services.changed(this);
  }
}

function configError(problems: readonly string[]): LoamletError {
  const more = problems.length > 3 ? ` (and ${problems.length - 3} more)` : '';
  return new LoamletError('CreateContainerConfigError', 'operator', `${problems.slice(0, 3).join('; ')}${more}`);
}
