import type { Grant } from '../../hostcalls/grant.ts';
import { errorLine } from '../base/errors.ts';
import type { Logger } from '../observe/logger.ts';
import type { AgentMessage, ContainerId, ContainerReport, ContainerStart, RunnerMessage } from '../runner/protocol.ts';
import { admit, type Holders, type NodePolicy } from './admission.ts';
import type { LogRun } from './logs/log-folder.ts';
import { parsePod } from './parse-pod.ts';
import { podLabel, type ContainerSpec, type Pod } from './pod.ts';
import type { PodStatus } from './pod-status.ts';
import { PodWorker, type PodEvent, type PodRecord, type PodServices, type PreparedModule } from './pod-worker.ts';

/** What is saved of a pod; `manifest` and `record` are JSON values. */
export interface SavedPod {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly source: Pod['source'];
  readonly manifest: unknown;
  readonly record: unknown;
}

/** The runner, as the pods see it; it may be another process after each crash. */
export interface RunnerPort {
  start(container: ContainerStart): void;
  stop(id: ContainerId, graceMs: number): void;
  forget(id: ContainerId): void;
}

export interface PodManagerOptions {
  readonly policy: NodePolicy;
  readonly maxPods: number;
  readonly defaultMemoryLimitBytes: number;
  readonly hostIP: () => string | undefined;
  readonly runner: RunnerPort;
  prepare(
    pod: Pod,
    container: ContainerSpec,
    grant: Grant,
    memoryLimitBytes: number,
    signal: AbortSignal,
  ): Promise<PreparedModule>;
  save(changed: readonly SavedPod[], removed: readonly string[]): void;
  event(pod: Pod, container: string | undefined, event: Omit<PodEvent, 'type'>): void;
  /** A pod of the API has a new status. */
  status(pod: Pod, status: PodStatus): void;
  /** A deleted pod has ended: its object may go, with this as its last status. */
  finalize(pod: Pod, status: PodStatus): void;
  /** The pod is gone from the node, logs and all. */
  forgotten(pod: Pod): void;
  readonly log: Logger;
}

/** News of one run, from the runner. */
export type RunNews = Extract<RunnerMessage, { type: 'started' | 'startFailed' | 'exited' | 'ready' }>;
export type { AgentMessage };

interface Entry {
  worker: PodWorker;
  manifest: unknown;
  /** The status last sent, as JSON, so that nothing is sent twice. */
  sent: string;
}

/** Every pod of the node: takes what sources and runner say to the right worker, and what workers change to disk and API. */
export class PodManager {
  readonly #options: PodManagerOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #health = new Map<string, { readonly healthy: boolean; readonly message: string }>();
  readonly #dirty = new Set<string>();
  readonly #removed = new Set<string>();
  /** Runs that the runner was told of and has not been told to forget. */
  readonly #runs = new Map<ContainerId, PodWorker>();
  readonly #services: PodServices;
  #flush: NodeJS.Immediate | undefined;

  constructor(options: PodManagerOptions) {
    this.#options = options;
    this.#services = this.#makeServices();
  }

  /** Takes over what was saved and what the runner still runs. Returns runs of the runner that no pod owns. */
  restore(saved: readonly SavedPod[], reports: readonly ContainerReport[]): ContainerId[] {
    const byId = new Map(reports.map((report) => [report.id, report]));
    for (const { manifest, record, source, uid } of saved) {
      try {
        this.#create(manifest, parsePod(manifest, source, this.#options.policy.nodeName), byId, record as PodRecord);
      } catch (error) {
        this.#options.log.error({ uid, error: errorLine(error) }, 'saved pod ignored');
        this.#removed.add(uid);
      }
    }
    return this.orphans(reports);
  }

  /** Runs that no pod owns. */
  orphans(reports: readonly ContainerReport[]): ContainerId[] {
    return reports.map((report) => report.id).filter((id) => !this.#runs.has(id));
  }

  /** The full set of one source: what is not in it is removed. */
  sync(source: Pod['source'], manifests: readonly unknown[]): void {
    const uids = new Set<string>();
    for (const manifest of manifests) {
      const uid = this.upsert(source, manifest);
      if (uid !== undefined) uids.add(uid);
    }
    for (const [uid, { worker }] of this.#entries) {
      if (worker.pod.source === source && !uids.has(uid)) this.#vanish(worker);
    }
  }

  /** A new pod, or a newer version of one. Returns its uid, or undefined when it has none to speak of. */
  upsert(source: Pod['source'], manifest: unknown): string | undefined {
    let pod: Pod;
    try {
      pod = parsePod(manifest, source, this.#options.policy.nodeName);
    } catch (error) {
      this.#options.log.error({ source, error: errorLine(error) }, 'pod manifest ignored');
      return undefined;
    }
    const entry = this.#entries.get(pod.uid);
    if (entry !== undefined) {
      entry.manifest = manifest;
      entry.worker.update(pod);
      return pod.uid;
    }
    if (pod.knownPhase === 'Succeeded' || pod.knownPhase === 'Failed') {
      // It ended before this node's memory begins. It never runs again.
      if (pod.deletion !== undefined) this.#options.finalize(pod, {} as PodStatus);
      return pod.uid;
    }
    if (this.#entries.size >= this.#options.maxPods) {
      this.#options.log.warn(
        { pod: podLabel(pod), maxPods: this.#options.maxPods },
        'pod not started: the node is full',
      );
      this.#options.event(pod, undefined, {
        eventType: 'Warning',
        reason: 'OutOfpods',
        message: `Node has room for ${this.#options.maxPods} pods`,
      });
      return pod.uid;
    }
    this.#options.log.info({ pod: podLabel(pod), source }, 'pod added');
    this.#create(manifest, pod, new Map(), undefined);
    return pod.uid;
  }

  /** The object is gone from the API. */
  deleted(uid: string): void {
    const entry = this.#entries.get(uid);
    if (entry !== undefined) this.#vanish(entry.worker);
  }

  news(message: RunNews): void {
    const event = message.type === 'exited' ? ({ type: 'exited', exit: message } as const) : message;
    const worker = this.#runs.get(message.id);
    if (worker?.deliver(message.id, event) === true) return;
    // A run of a pod that is gone: late news, and nobody else will say so.
    if (message.type === 'exited' || message.type === 'startFailed') this.#services.forget(message.id);
  }

  runnerLost(message: string): void {
    for (const { worker } of this.#entries.values()) worker.runnerLost(message);
  }

  /** A device answers again, or no longer. */
  deviceHealth(name: string, healthy: boolean, message: string): void {
    this.#health.set(name, { healthy, message });
    for (const { worker } of this.#entries.values()) {
      if (![...worker.heldDevices()].includes(name)) continue;
      this.#options.event(worker.pod, undefined, {
        eventType: healthy ? 'Normal' : 'Warning',
        reason: healthy ? 'DeviceHealthy' : 'DeviceUnhealthy',
        message: healthy ? `Device ${name} answers again` : `Device ${name}: ${message}`,
      });
      worker.refresh();
    }
  }

  healthOf(device: string): { readonly healthy: boolean; readonly message: string } {
    return this.#health.get(device) ?? { healthy: true, message: '' };
  }

  grantOf(id: ContainerId): { readonly pod: Pod; readonly grant: Grant } | undefined {
    const worker = this.#runs.get(id);
    const grant = worker?.grantOf(id);
    return worker === undefined || grant === undefined ? undefined : { pod: worker.pod, grant };
  }

  logRunOf(id: ContainerId): LogRun | undefined {
    return this.#runs.get(id)?.logRunOf(id);
  }

  find(namespace: string, name: string): PodWorker | undefined {
    for (const { worker } of this.#entries.values()) {
      if (worker.pod.name === name && worker.pod.namespace === namespace) return worker;
    }
    return undefined;
  }

  get workers(): Iterable<PodWorker> {
    return [...this.#entries.values()].map(({ worker }) => worker);
  }

  /** Sends every status of the API's pods again: after a reconnect the API server may have changed its own. */
  resend(): void {
    for (const [uid, entry] of this.#entries) {
      entry.sent = '';
      this.#dirty.add(uid);
    }
    this.#schedule();
  }

  /** The agent leaves; modules go on. */
  leave(): void {
    for (const { worker } of this.#entries.values()) worker.leave();
    if (this.#flush !== undefined) clearImmediate(this.#flush);
    this.#write();
  }

  #create(
    manifest: unknown,
    pod: Pod,
    reports: ReadonlyMap<ContainerId, ContainerReport>,
    record: PodRecord | undefined,
  ): void {
    const worker = new PodWorker(pod, this.#services, record);
    this.#entries.set(pod.uid, { worker, manifest, sent: '' });
    for (const id of worker.ids()) this.#runs.set(id, worker);
    worker.begin(reports);
  }

  #vanish(worker: PodWorker): void {
    worker.remove(worker.pod.terminationGraceSeconds * 1000);
  }

  #makeServices(): PodServices {
    const { policy, runner, hostIP, defaultMemoryLimitBytes } = this.#options;
    return {
      hostIP,
      defaultMemoryLimitBytes,
      nodeName: policy.nodeName,
      admit: (pod) => admit(pod, policy, this.#holders()),
      prepare: (...args) => this.#options.prepare(...args),
      start: (worker, container) => {
        this.#runs.set(container.id, worker);
        runner.start(container);
      },
      stop: (id, graceMs) => runner.stop(id, graceMs),
      forget: (id) => {
        this.#runs.delete(id);
        runner.forget(id);
      },
      deviceHealth: (name) => this.healthOf(name),
      event: (pod, container, event) => this.#options.event(pod, container, event),
      changed: (worker) => {
        this.#dirty.add(worker.pod.uid);
        this.#schedule();
      },
      gone: (worker) => this.#gone(worker),
      now: () => Date.now(),
    };
  }

  #holders(): Holders {
    const holders = new Map<string, { uid: string; label: string }>();
    for (const { worker } of this.#entries.values()) {
      for (const device of worker.heldDevices())
        holders.set(device, { uid: worker.pod.uid, label: `pod ${podLabel(worker.pod)}` });
    }
    return holders;
  }

  #gone(worker: PodWorker): void {
    const { pod } = worker;
    this.#entries.delete(pod.uid);
    this.#dirty.delete(pod.uid);
    this.#removed.add(pod.uid);
    this.#schedule();
    this.#options.log.info({ pod: podLabel(pod) }, 'pod removed');
    if (pod.source === 'api') this.#options.finalize(pod, worker.status());
    this.#options.forgotten(pod);
  }

  /** Saves and sends once a turn, however much has happened in it. */
  #schedule(): void {
    this.#flush ??= setImmediate(() => {
      this.#flush = undefined;
      this.#write();
    });
  }

  #write(): void {
    const changed: SavedPod[] = [];
    for (const uid of this.#dirty) {
      const entry = this.#entries.get(uid);
      if (entry === undefined) continue;
      const { pod } = entry.worker;
      const status = entry.worker.status();
      changed.push({
        uid,
        namespace: pod.namespace,
        name: pod.name,
        source: pod.source,
        manifest: entry.manifest,
        record: entry.worker.record,
      });
      const text = JSON.stringify(status);
      if (text === entry.sent) continue;
      entry.sent = text;
      this.#options.status(pod, status);
    }
    this.#dirty.clear();
    const removed = [...this.#removed];
    this.#removed.clear();
    if (changed.length > 0 || removed.length > 0) this.#options.save(changed, removed);
  }
}
