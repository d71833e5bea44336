import type { Grant } from '../../hostcalls/grant.ts';
import { errorLine } from '../base/errors.ts';
import type { Logger } from '../observe/logger.ts';
import type { ContainerId, ContainerReport, ContainerStart, RunnerMessage } from '../runner/protocol.ts';
import { admit, type Holders, type NodePolicy } from './admission.ts';
import { DepartedPods } from './departed-pods.ts';
import type { LogRun } from './logs/log-folder.ts';
import { exitOf } from './container-exit.ts';
import { parsePod } from './parse-pod.ts';
import { podLabel, type ContainerSpec, type Pod } from './pod.ts';
import { PodJournal, type SavedPod } from './pod-journal.ts';
import type { PodStatus } from './pod-status.ts';
import type { PodEvent, PodRecord, PodServices, PreparedModule } from './pod-services.ts';
import { PodWorker } from './pod-worker.ts';
import { WaitingRoom } from './waiting-room.ts';

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
export type { SavedPod };

interface Entry {
  worker: PodWorker;
  manifest: unknown;
  /** The status last sent, as JSON, so that nothing is sent twice. */
  sent: string;
  /** The manifest of a static pod that came back while it was being removed: it begins anew when it is gone. */
  again?: unknown;
}

/** Every pod of the node: takes what sources and runner say to the right worker, and what workers change to disk and API. */
export class PodManager {
  readonly #options: PodManagerOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #health = new Map<string, { readonly healthy: boolean; readonly message: string }>();
  /** Runs that the runner was told of and has not been told to forget. */
  readonly #runs = new Map<ContainerId, PodWorker>();
  readonly #turnedAway = new WaitingRoom();
  readonly #departed = new DepartedPods();
  readonly #services: PodServices;
  readonly #journal: PodJournal;

  constructor(options: PodManagerOptions) {
    this.#options = options;
    this.#journal = new PodJournal({
      read: (uid) => this.#read(uid),
      save: (changed, removed) => options.save(changed, removed),
      log: options.log,
    });
    this.#services = this.#makeServices();
  }

  /** Takes over what was saved and what the runner still runs. Returns runs of the runner that no pod owns. */
  restore(saved: readonly SavedPod[], reports: readonly ContainerReport[]): ContainerId[] {
    const byId = new Map(reports.map((report) => [report.id, report]));
    const workers: PodWorker[] = [];
    for (const { manifest, record, source, uid } of saved) {
      try {
        const pod = parsePod(manifest, source, this.#options.policy.nodeName);
        if (pod.uid !== uid) this.#journal.removed(uid);
        workers.push(this.#add(manifest, pod, record as PodRecord));
      } catch (error) {
        this.#options.log.error({ uid, error: errorLine(error) }, 'saved pod ignored');
        this.#journal.removed(uid);
      }
    }
    // Only when it is known what all of them hold.
    for (const worker of workers) worker.begin(byId);
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
    for (const [uid, entry] of this.#entries) {
      if (entry.worker.pod.source === source && !uids.has(uid)) this.#vanish(entry);
    }
    this.#turnedAway.keep(source, uids);
    if (source === 'api') this.#departed.keep(uids);
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
      if (source === 'static' && entry.worker.removing) entry.again = manifest;
      else entry.worker.update(pod);
      return pod.uid;
    }
    if (this.#departed.has(pod.uid)) return pod.uid;
    if (pod.knownPhase === 'Succeeded' || pod.knownPhase === 'Failed') {
      // It ended before this node's memory begins. It never runs again.
      if (pod.deletion !== undefined) this.#options.finalize(pod, {} as PodStatus);
      return pod.uid;
    }
    // One that is to go finds room always: without us its object would stay for ever.
    if (pod.deletion === undefined && this.#entries.size >= this.#options.maxPods) {
      this.#turnAway(pod, manifest);
      return pod.uid;
    }
    this.#turnedAway.remove(pod.uid);
    this.#options.log.info({ pod: podLabel(pod), source }, 'pod added');
    this.#add(manifest, pod, undefined).begin(new Map());
    return pod.uid;
  }

  /** The object is gone from the API. */
  deleted(uid: string): void {
    this.#turnedAway.remove(uid);
    this.#departed.remove(uid);
    const entry = this.#entries.get(uid);
    if (entry !== undefined) this.#vanish(entry);
  }

  news(message: RunNews): void {
    const event = message.type === 'exited' ? ({ type: 'exited', exit: exitOf(message) } as const) : message;
    const worker = this.#runs.get(message.id);
    if (worker?.deliver(message.id, event) === true) return;
    // A run that no pod owns: late news, or one begun too late; nobody else will say so.
    if (message.type === 'exited' || message.type === 'startFailed') this.#services.forget(message.id);
    else if (message.type === 'started') this.#services.stop(message.id, 0);
  }

  runnerLost(message: string): void {
    for (const { worker } of this.#entries.values()) worker.runnerLost(message);
  }

  /** A device answers again, or no longer. */
  deviceHealth(name: string, healthy: boolean, message: string): void {
    // The name is the runner's word: no more are kept than there are devices.
    if (!this.#options.policy.devices.some((device) => device.name === name)) return;
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
    const grant = worker?.state.grantOf(id);
    return worker === undefined || grant === undefined ? undefined : { pod: worker.pod, grant };
  }

  logRunOf(id: ContainerId): LogRun | undefined {
    return this.#runs.get(id)?.state.logRunOf(id);
  }

  /** The newest pod of the name: an older one may still be on its way out. */
  find(namespace: string, name: string): PodWorker | undefined {
    return [...this.workers].findLast(({ pod }) => pod.name === name && pod.namespace === namespace);
  }

  get workers(): Iterable<PodWorker> {
    return [...this.#entries.values()].map(({ worker }) => worker);
  }

  /** Every pod as an object with its present status: what a kubelet serves as `/pods`. */
  objects(): object[] {
    return [...this.#entries.values()].map(({ manifest, worker }) => ({
      ...(manifest as object),
      status: worker.state.status(),
    }));
  }

  /** Sends every status of the API's pods again: after a reconnect the API server may have changed its own. */
  resend(): void {
    for (const [uid, entry] of this.#entries) {
      entry.sent = '';
      this.#journal.changed(uid);
    }
  }

  /** The agent leaves; modules go on. */
  leave(): void {
    for (const { worker } of this.#entries.values()) worker.leave();
    this.#journal.flush();
  }

  #add(manifest: unknown, pod: Pod, record: PodRecord | undefined): PodWorker {
    const worker = new PodWorker(pod, this.#services, record);
    this.#entries.set(pod.uid, { worker, manifest, sent: '' });
    for (const id of worker.state.ids()) this.#runs.set(id, worker);
    return worker;
  }

  #turnAway(pod: Pod, manifest: unknown): void {
    const { maxPods, log } = this.#options;
    if (!this.#turnedAway.add(pod, manifest)) return;
    log.warn({ pod: podLabel(pod), maxPods }, 'pod not started: the node is full');
    this.#options.event(pod, undefined, {
      eventType: 'Warning',
      reason: 'OutOfpods',
      message: `Node has room for ${maxPods} pods`,
    });
  }

  #vanish(entry: Entry): void {
    delete entry.again;
    if (!entry.worker.removing) entry.worker.remove(entry.worker.pod.terminationGraceSeconds * 1000);
  }

  #makeServices(): PodServices {
    const { policy, runner, hostIP, defaultMemoryLimitBytes } = this.#options;
    return {
      hostIP,
      defaultMemoryLimitBytes,
      nodeName: policy.nodeName,
      admit: (pod, current) => admit(pod, policy, this.#holders(), current),
      prepare: (...args) => this.#options.prepare(...args),
      start: (worker, container) => {
        this.#runs.set(container.id, worker);
        // A runner that was lost meanwhile has taken this run with it: the next one must not begin it.
        this.#journal.next(() => {
          if (this.#runs.has(container.id)) runner.start(container);
        });
      },
      stop: (id, graceMs) => this.#journal.next(() => runner.stop(id, graceMs)),
      forget: (id) => {
        this.#runs.delete(id);
        this.#journal.onceSaved(() => runner.forget(id));
      },
      deviceHealth: (name) => this.healthOf(name),
      event: (pod, container, event) => this.#options.event(pod, container, event),
      changed: (worker) => {
        if (this.#entries.get(worker.pod.uid)?.worker === worker) this.#journal.changed(worker.pod.uid);
      },
      freed: () => this.#journal.next(() => this.#recheck()),
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

  #recheck(): void {
    for (const worker of this.workers) worker.recheck();
  }

  #gone(worker: PodWorker): void {
    const { pod } = worker;
    const again = this.#entries.get(pod.uid)?.again;
    this.#entries.delete(pod.uid);
    this.#journal.removed(pod.uid);
    this.#options.log.info({ pod: podLabel(pod) }, 'pod removed');
    if (pod.source === 'api') {
      this.#departed.add(pod.uid);
      this.#options.finalize(pod, worker.state.status());
    }
    this.#options.forgotten(pod);
    if (again !== undefined) this.upsert(pod.source, again);
    while (this.#entries.size < this.#options.maxPods) {
      const next = this.#turnedAway.next();
      if (next === undefined) break;
      this.upsert(next.source, next.manifest);
    }
  }

  /** What to save of a pod; its status is sent after that, unless it is the one sent last. */
  #read(uid: string): SavedPod | undefined {
    const entry = this.#entries.get(uid);
    if (entry === undefined) return undefined;
    const { worker, manifest } = entry;
    const { pod } = worker;
    const status = worker.state.status();
    const text = JSON.stringify(status);
    if (text !== entry.sent) {
      entry.sent = text;
      this.#journal.next(() => this.#options.status(pod, status));
    }
    return { uid, namespace: pod.namespace, name: pod.name, source: pod.source, manifest, record: worker.state.record };
  }
}
