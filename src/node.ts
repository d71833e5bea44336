/** Composition root of `loamlet node`: builds every part of the agent, owns them and stops them in reverse. */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { maxPayloadBytes } from '../hostcalls/messaging.ts';
import { errorLine, LoamletError, systemCode } from './base/errors.ts';
import { lesserUser } from './base/user.ts';
import { version } from './base/version.ts';
import type { ClusterMembership } from './cluster/membership.ts';
import type { Readiness } from './cluster/node-object.ts';
import type { NodeConfig } from './config/load.ts';
import { ModuleStore } from './images/module-store.ts';
import { EmbeddedBroker } from './mqtt/embedded-broker.ts';
import { MqttLink } from './mqtt/link.ts';
import { Outbox } from './mqtt/outbox.ts';
import { AdminSocket } from './observe/admin-socket.ts';
import type { Logger } from './observe/logger.ts';
import type { NodeStatus } from './observe/node-status.ts';
import { LogReader } from './pods/logs/log-reader.ts';
import { LogWriter } from './pods/logs/log-writer.ts';
import { ModuleSource } from './pods/module-source.ts';
import { podLabel, type Pod } from './pods/pod.ts';
import { PodManager } from './pods/pod-manager.ts';
import type { PodEvent } from './pods/pod-worker.ts';
import { RunnerDesk } from './pods/runner-desk.ts';
import { StaticSource } from './pods/static-source.ts';
import { Precompiler } from './precompile/precompiler.ts';
import { RunnerSupervisor, type RunnerMemory } from './runner/supervisor.ts';
import { asStoreError, Database } from './store/database.ts';
import { PodRecords } from './store/pod-records.ts';
import { RunnerRecords } from './store/runner-records.ts';
import { StateLock } from './store/state-lock.ts';

/** How long modules have when everything stops. */
const shutdownGraceMs = 10_000;

/**
 * The agent. It can leave and come back while modules go on: `leave` ends the agent alone, `stop` ends everything.
 * Parts are opened in the order in which they need each other and closed in reverse, also when opening fails halfway.
 */
export class Node {
  readonly #config: NodeConfig;
  readonly #log: Logger;
  readonly #parts = new AsyncDisposableStack();
  readonly #ending = new AbortController();
  readonly #startedAtMs = Date.now();
  readonly #stopAsked = Promise.withResolvers<void>();
  /** Who modules are run and read by; undefined: the agent's own user. */
  readonly #user: string | undefined;
  // Absent until it is opened: statuses are asked for, and an end may come, before.
  #manager!: PodManager;
  #runner!: RunnerSupervisor;
  #link: MqttLink | undefined;
  #outbox: Outbox | undefined;
  #cluster: ClusterMembership | undefined;

  private constructor(config: NodeConfig, log: Logger) {
    this.#config = config;
    this.#log = log;
    this.#user = lesserUser(config.runner.user);
  }

  static async open(config: NodeConfig, log: Logger): Promise<Node> {
    const node = new Node(config, log);
    try {
      await node.#open();
      return node;
    } catch (error) {
      // A runner that was started for nothing; an adopted one has its modules and goes on.
      if (node.#runner?.adopted === false) await node.#endModules();
      await node.#parts.disposeAsync();
      throw asStoreError(databasePath(config), error);
    }
  }

  /** Resolves when `loamlet stop` asks for the end. */
  get stopAsked(): Promise<void> {
    return this.#stopAsked.promise;
  }

  /** The agent goes, modules go on: the next agent adopts them. */
  async leave(): Promise<void> {
    this.#manager?.leave();
    this.#ending.abort(new Error('the agent is leaving'));
    await this.#parts.disposeAsync();
  }

  /** Everything ends: modules first, within their grace, so that what they publish at the end still goes out. */
  async stop(): Promise<void> {
    try {
      await this.#endModules();
    } finally {
      await this.leave();
    }
  }

  async #endModules(): Promise<void> {
    this.#manager?.leave();
    await this.#runner?.shutdown(shutdownGraceMs);
  }

  async #open(): Promise<void> {
    const { stateDirectory, runDirectory, runner } = this.#config;
    await makeDirectory('stateDirectory', stateDirectory);
    await makeDirectory('runDirectory', runDirectory);
    // Nothing of the state is touched before it is ours.
    this.#parts.use(StateLock.take(stateDirectory));
    this.#parts.use(
      await AdminSocket.open(runDirectory, { status: () => this.status(), stop: () => this.#stopAsked.resolve() }),
    );
    const database = this.#parts.use(Database.open(databasePath(this.#config), this.#log));
    const outbox = await this.#openBroker(database);
    const logs = this.#parts.use(await this.#openLogs());
    const desk = new RunnerDesk({ logs, outbox, log: this.#log });
    this.#runner = this.#parts.use(
      await RunnerSupervisor.open({
        directory: runDirectory,
        user: this.#user,
        unresponsiveMs: this.#config.runner.unresponsiveSeconds * 1000,
        records: this.#runnerMemory(database),
        receiver: desk,
        log: this.#log.child({ part: 'runner' }),
      }),
    );
    this.#manager = await this.#openPods(database, logs, desk);
    await this.#joinCluster(logs);
    await this.#openStaticPods();
    if (this.#user === undefined && process.getuid?.() === 0) {
      const command = `useradd --system --no-create-home ${runner.user}`;
      this.#log.warn({ command }, 'modules run as root: this machine has no user for them');
    }
  }

  /** A runner that is forgotten will repeat no publish. */
  #runnerMemory(database: Database): RunnerMemory {
    const records = new RunnerRecords(database);
    return {
      all: () => records.all(),
      save: (record) => records.save(record),
      remove: (id) => {
        records.remove(id);
        this.#outbox?.forget(id);
      },
    };
  }

  async #openBroker(database: Database): Promise<Outbox | undefined> {
    const { mqtt, nodeName } = this.#config;
    if (mqtt === undefined || (mqtt.url === undefined && mqtt.embedded === undefined)) return undefined;
    let { url } = mqtt;
    if (mqtt.embedded !== undefined) {
      const { address: host, port } = mqtt.embedded;
      const broker = this.#parts.use(await EmbeddedBroker.open({ host, port }, this.#log.child({ part: 'broker' })));
      ({ url } = broker);
    }
    const log = this.#log.child({ part: 'mqtt' });
    this.#outbox = this.#parts.use(
      new Outbox(database, log, { maxPayloadBytes, maxRows: mqtt.outbox.maxMessages, maxBytes: mqtt.outbox.maxBytes }),
    );
    const { username, passwordFile, caFile } = mqtt;
    this.#link = this.#parts.use(
      await MqttLink.open(
        {
          url: url ?? '',
          source: this.#outbox,
          clientId: `loamlet-${nodeName}`,
          statusTopic: `loamlet/${nodeName}/status`,
          ...(username === undefined ? {} : { username }),
          ...(passwordFile === undefined ? {} : { passwordFile }),
          ...(caFile === undefined ? {} : { caFile }),
        },
        log,
      ),
    );
    return this.#outbox;
  }

  #openLogs(): Promise<LogWriter> {
    const { logDirectory, containerLogs } = this.#config;
    return LogWriter.open({
      directory: logDirectory,
      maxBytes: containerLogs.maxSize,
      maxFiles: containerLogs.maxFiles,
      log: this.#log,
    });
  }

  async #openPods(database: Database, logs: LogWriter, desk: RunnerDesk): Promise<PodManager> {
    const { stateDirectory, images, nodeName, devices, policy, pods } = this.#config;
    const store = await ModuleStore.open({
      directory: join(stateDirectory, 'images'),
      maxModuleBytes: images.maxModuleBytes,
      insecureRegistries: images.insecureRegistries,
      ...(images.caFile === undefined ? {} : { ca: await readAuthorities(images.caFile) }),
      ...(images.dockerConfig === undefined ? {} : { dockerConfig: images.dockerConfig }),
      log: this.#log,
    });
    const precompiler = await Precompiler.open({
      directory: join(stateDirectory, 'modules'),
      maxModuleBytes: images.maxModuleBytes,
      user: this.#user,
    });
    const modules = new ModuleSource(store, precompiler);
    const records = new PodRecords(database, this.#log);
    const manager = new PodManager({
      policy: {
        nodeName,
        devices,
        messaging: this.#outbox !== undefined,
        ...(policy === undefined ? {} : { rules: policy }),
      },
      maxPods: pods.maxPods,
      defaultMemoryLimitBytes: pods.defaultMemoryLimit,
      hostIP: () => this.#cluster?.address,
      runner: this.#runner,
      prepare: (...args) => modules.prepare(...args),
      save: (changed, removed) => records.apply(changed, removed),
      event: (pod, container, event) => this.#event(pod, container, event),
      status: (pod, status) => this.#cluster?.statuses.set(pod, { ...status }),
      finalize: (pod, status) => this.#finalize(pod, { ...status }),
      forgotten: (pod) => void logs.remove({ namespace: pod.namespace, pod: pod.name, uid: pod.uid }),
      log: this.#log.child({ part: 'pods' }),
    });
    desk.serve(manager);
    for (const orphan of manager.restore(records.all(), this.#runner.reports)) {
      this.#log.warn({ container: orphan }, 'stopping a module that belongs to no pod');
      this.#runner.stop(orphan, 0);
    }
    // Only now: what the runner says is about pods that are known again.
    this.#runner.listen();
    return manager;
  }

  async #joinCluster(logs: LogWriter): Promise<void> {
    const { cluster, nodeName, stateDirectory, devices, pods } = this.#config;
    if (cluster === undefined) return;
    // Loaded for a cluster only: a node of its own does without all of it.
    const { ClusterMembership } = await import('./cluster/membership.ts');
    const resources = new Map<string, number>();
    for (const { resource } of devices) resources.set(resource, (resources.get(resource) ?? 0) + 1);
    const reader = new LogReader({
      writer: logs,
      locate: (ref) => this.#manager.find(ref.namespace, ref.pod)?.logLocation(ref.container),
    });
    const membership = await ClusterMembership.join(
      {
        nodeName,
        stateDirectory,
        resources,
        version,
        labels: cluster.labels,
        bootstrapKubeconfig: cluster.bootstrapKubeconfig,
        kubeconfig: cluster.kubeconfig,
        clientCaFile: cluster.clientCAFile,
        address: cluster.address,
        kubeletHost: cluster.kubeletAddress,
        kubeletPort: cluster.kubeletPort,
        capacity: { pods: pods.maxPods },
        readiness: () => this.#readiness(),
        logs: reader,
        runningPods: () => this.#manager.objects(),
        log: this.#log.child({ part: 'cluster' }),
      },
      this.#ending.signal,
    );
    this.#cluster = this.#parts.use(membership);
    void this.#followPods(membership);
    this.#manager.resend();
  }

  /** Without a runner the node takes no pods; the next one is on its way. */
  #readiness(): Readiness {
    return this.#runner.pid === undefined
      ? { ready: false, reason: 'RunnerNotRunning', message: 'the process that runs modules is being started again' }
      : { ready: true, reason: 'LoamletReady', message: 'loamlet runs modules' };
  }

  async #followPods(membership: ClusterMembership): Promise<void> {
    try {
      for await (const event of membership.pods(this.#ending.signal)) {
        if (event.type === 'sync') this.#manager.sync('api', event.pods);
        else if (event.type === 'upsert') this.#manager.upsert('api', event.pod);
        else this.#manager.deleted(event.uid);
      }
    } catch (error) {
      if (!this.#ending.signal.aborted) this.#log.error({ err: error }, 'lost sight of the pods of the cluster');
    }
  }

  async #openStaticPods(): Promise<void> {
    const { staticPodDirectory } = this.#config;
    if (staticPodDirectory === undefined) return this.#manager.sync('static', []);
    const sync = (manifests: readonly { readonly manifest: unknown }[]): void =>
      this.#manager.sync(
        'static',
        manifests.map(({ manifest }) => manifest),
      );
    this.#parts.use(await StaticSource.open(staticPodDirectory, sync, this.#log.child({ part: 'static pods' })));
  }

  #event(pod: Pod, container: string | undefined, { eventType, reason, message }: Omit<PodEvent, 'type'>): void {
    const fields = { pod: podLabel(pod), ...(container === undefined ? {} : { container }), reason };
    if (eventType === 'Warning') this.#log.warn(fields, message);
    else this.#log.info(fields, message);
    if (pod.source !== 'api') return;
    const { namespace, name, uid } = pod;
    const fieldPath = container === undefined ? {} : { fieldPath: `spec.containers{${container}}` };
    this.#cluster?.events.record({ kind: 'Pod', namespace, name, uid, ...fieldPath }, eventType, reason, message);
  }

  #finalize(pod: Pod, status: Readonly<Record<string, unknown>>): void {
    const cluster = this.#cluster;
    if (cluster === undefined) return;
    if (Object.keys(status).length > 0) cluster.statuses.set(pod, status);
    cluster.statuses.finalize(pod).catch((error: unknown) => {
      if (!this.#ending.signal.aborted)
        this.#log.error({ pod: podLabel(pod), error: errorLine(error) }, 'pod object not deleted');
    });
  }

  /** For `loamlet status`. */
  status(): NodeStatus {
    const { nodeName, devices } = this.#config;
    const workers = [...(this.#manager?.workers ?? [])];
    const link = this.#link?.status();
    const outbox = this.#outbox?.stats();
    const problem = this.#cluster?.problem;
    return {
      nodeName,
      version,
      startedAtMs: this.#startedAtMs,
      cluster:
        this.#cluster === undefined
          ? undefined
          : problem === undefined
            ? { state: 'in touch' }
            : { state: 'not in touch', message: errorLine(problem) },
      runner: { state: this.#runner?.pid === undefined ? 'restarting' : 'running', pid: this.#runner?.pid },
      pods: workers.map((worker) => worker.summary()),
      devices: devices.map(({ name, resource, driver }) => {
        const holder = workers.find((worker) => [...worker.heldDevices()].includes(name));
        const { healthy, message } = this.#manager?.healthOf(name) ?? { healthy: true, message: '' };
        return { name, resource, driver, heldBy: holder === undefined ? '' : podLabel(holder.pod), healthy, message };
      }),
      outbox:
        outbox === undefined
          ? undefined
          : {
              waiting: outbox.waiting,
              refused: outbox.refused,
              bytes: outbox.bytes,
              ...(outbox.oldestAgeMs === undefined ? {} : { oldestAgeMs: outbox.oldestAgeMs }),
            },
      broker:
        link === undefined
          ? undefined
          : { url: link.url, state: link.state, ...(link.message === undefined ? {} : { message: link.message }) },
    };
  }
}

function databasePath({ stateDirectory }: NodeConfig): string {
  return join(stateDirectory, 'loamlet.db');
}

/** DirectoryUnusable, FileUnusable: the config names one that the agent can't work with. */
type PathError = 'DirectoryUnusable' | 'FileUnusable';

async function makeDirectory(key: string, path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o711 });
  } catch (cause) {
    const message = `${key} ${path} can't be made (${systemCode(cause) ?? errorLine(cause)})`;
    const remedy = `make it a folder of the user that runs loamlet, or set another ${key}`;
    throw new LoamletError<PathError>('DirectoryUnusable', 'operator', message, { cause, remedy });
  }
}

async function readAuthorities(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    const message = `images.caFile: ${path} can't be read (${systemCode(cause) ?? errorLine(cause)})`;
    throw new LoamletError<PathError>('FileUnusable', 'operator', message, { cause, remedy: 'check the path' });
  }
}
