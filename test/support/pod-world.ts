/**
 * A `PodManager` with a scripted runner, module source and disk, for tests with virtual time: `setTimeout` and `Date`
 * are to be faked, `setImmediate` is not.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { vi } from 'vitest';
import type { DeviceConfig } from '../../devices/contract.ts';
import type { Grant } from '../../hostcalls/grant.ts';
import { PodManager, type SavedPod } from '../../src/pods/pod-manager.ts';
import type { PodStatus } from '../../src/pods/pod-status.ts';
import type { PreparedModule } from '../../src/pods/pod-services.ts';
import type { PolicyRule } from '../../src/config/schema.ts';
import type { ContainerReport, ContainerStart } from '../../src/runner/protocol.ts';
import { device } from './pod-builders.ts';
import { TestLog } from './test-log.ts';

export interface Preparation {
  /** `pod/container` */
  readonly name: string;
  readonly grant: Grant;
  readonly signal: AbortSignal;
  resolve(): void;
  reject(error: Error): void;
}

export interface WorldOptions {
  readonly devices?: readonly DeviceConfig[];
  readonly rules?: readonly PolicyRule[];
  readonly maxPods?: number;
  readonly disk?: Map<string, SavedPod>;
  /** Modules are ready at once unless this is set. */
  readonly slowPrepare?: boolean;
}

/** One life of the agent. The next one begins with `new PodWorld({ disk: world.disk })`. */
export class PodWorld {
  readonly manager: PodManager;
  /** What survives the agent: JSON by uid. */
  readonly disk: Map<string, SavedPod>;
  /** Everything that happened, in order: `save soil`, `start soil/c`, `stop soil/c 30000`, `forget soil/c`, ... */
  readonly story: string[] = [];
  readonly starts: ContainerStart[] = [];
  readonly preparations: Preparation[] = [];
  readonly events: string[] = [];
  readonly statuses = new Map<string, PodStatus[]>();
  readonly finalized: { readonly name: string; readonly status: PodStatus }[] = [];
  readonly testLog = new TestLog();
  diskIsFull = false;
  readonly #names = new Map<string, string>();

  constructor(options: WorldOptions = {}) {
    this.disk = options.disk ?? new Map();
    const prepared: PreparedModule = {
      image: { reference: 'registry/c:1', imageId: 'registry/c@sha256:0' },
      modulePath: '/modules/0',
      moduleDigest: 'sha256:0',
    };
    this.manager = new PodManager({
      policy: {
        nodeName: 'greenhouse',
        devices: options.devices ?? [device('bed-1'), device('bed-2'), device('pump-1', 'pump')],
        messaging: true,
        ...(options.rules === undefined ? {} : { rules: options.rules }),
      },
      maxPods: options.maxPods ?? 100,
      defaultMemoryLimitBytes: 64 << 20,
      hostIP: () => '192.168.1.7',
      runner: {
        start: (start) => {
          this.starts.push(start);
          const name = start.name.slice(start.name.indexOf('/') + 1);
          this.#names.set(start.id, name);
          this.story.push(`start ${name}`);
        },
        stop: (id, graceMs) => this.story.push(`stop ${this.#names.get(id) ?? id} ${graceMs}`),
        forget: (id) => this.story.push(`forget ${this.#names.get(id) ?? id}`),
      },
      prepare: (pod, container, grant, _memory, signal) => {
        if (options.slowPrepare !== true) return Promise.resolve(prepared);
        const { promise, resolve, reject } = Promise.withResolvers<PreparedModule>();
        const name = `${pod.name}/${container.name}`;
        this.preparations.push({ name, grant, signal, resolve: () => resolve(prepared), reject });
        return promise;
      },
      save: (changed, removed) => {
        if (this.diskIsFull) throw new Error('ENOSPC: no space left on device');
        for (const pod of changed) {
          this.disk.set(pod.uid, JSON.parse(JSON.stringify(pod)) as SavedPod);
          this.story.push(`save ${pod.name}`);
        }
        for (const uid of removed) {
          this.story.push(`remove ${this.disk.get(uid)?.name ?? uid}`);
          this.disk.delete(uid);
        }
      },
      event: (pod, container, { reason, message }) =>
        this.events.push(`${pod.name}${container === undefined ? '' : `/${container}`} ${reason}: ${message}`),
      status: (pod, status) => this.statuses.set(pod.name, [...(this.statuses.get(pod.name) ?? []), status]),
      finalize: (pod, status) => this.finalized.push({ name: pod.name, status }),
      forgotten: (pod) => this.story.push(`gone ${pod.name}`),
      log: this.testLog.log,
    });
  }

  /** Lets everything happen that waits for no time. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 4; turn++) {
      await vi.advanceTimersByTimeAsync(0);
      await nextTurn();
    }
  }

  async pass(ms: number): Promise<void> {
    await vi.advanceTimersByTimeAsync(ms);
    await this.settle();
  }

  /** Takes what happened since the last call. */
  told(...only: readonly string[]): string[] {
    const told = this.story.splice(0);
    return only.length === 0 ? told : told.filter((line) => only.some((word) => line.startsWith(`${word} `)));
  }

  /** The last run of `pod/container`. */
  run(name: string): ContainerStart {
    const start = this.starts.findLast((candidate) => candidate.name.endsWith(`/${name}`));
    if (start === undefined) throw new Error(`${name} was never started`);
    return start;
  }

  runs(name: string): number {
    return this.starts.filter((start) => start.name.endsWith(`/${name}`)).length;
  }

  async started(...names: readonly string[]): Promise<void> {
    for (const name of names) this.manager.news({ type: 'started', id: this.run(name).id, startedAtMs: Date.now() });
    await this.settle();
  }

  async exited(name: string, exitCode = 0, ranMs = 1_000): Promise<void> {
    this.manager.news({ type: 'exited', ...this.exit(name, exitCode, ranMs) });
    await this.settle();
  }

  exit(name: string, exitCode = 0, ranMs = 1_000): Omit<Extract<ContainerReport, { state: 'exited' }>, 'state'> {
    const now = Date.now();
    const reason = exitCode === 0 ? 'Completed' : 'Error';
    return { id: this.run(name).id, startedAtMs: now - ranMs, finishedAtMs: now, exitCode, reason, message: '' };
  }

  /** As the runner reports it to the next agent. */
  report(name: string, exitCode?: number): ContainerReport {
    const { id } = this.run(name);
    if (exitCode === undefined) return { id, state: 'running', startedAtMs: Date.now() };
    return { state: 'exited', ...this.exit(name, exitCode) };
  }

  /** The names of the runs of this life, for the stories of the next. */
  remember(previous: PodWorld): void {
    for (const start of previous.starts) {
      this.#names.set(start.id, start.name.slice(start.name.indexOf('/') + 1));
      this.starts.push(start);
    }
  }

  status(name: string): PodStatus | undefined {
    return this.statuses.get(name)?.at(-1);
  }

  phase(name: string): string | undefined {
    return this.status(name)?.phase;
  }

  /** The state of the first container as it was last told: `waiting GrantDenied`. */
  state(name: string, index = 0): string {
    const state = (this.status(name)?.containerStatuses[index]?.['state'] ?? {}) as Record<string, { reason?: string }>;
    const [type = '', detail] = Object.entries(state)[0] ?? [];
    return detail?.reason === undefined ? type : `${type} ${detail.reason}`;
  }

  devicesOf(name: string): string[] {
    return this.run(name).grant.devices.map(({ device: { name: held } }) => held);
  }
}
