/** What the tests of a node in a cluster share: a control plane, a registry with the guests, a broker, and nodes. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, vi } from 'vitest';
import { loadIdentity } from '../../../src/cluster/node-identity.ts';
import { useControlPlane, type ControlPlane } from '../../support/control-plane.ts';
import { guest } from '../../support/guests.ts';
import { hostAddress } from '../../support/member.ts';
import { Mosquitto } from '../../support/mosquitto.ts';
import { NodeProcess, loamlet } from '../../support/node-process.ts';
import { Registry } from '../../support/registry.ts';
import { until } from '../../support/until.ts';

const root = new URL('../../../', import.meta.url).pathname;

/** Guests of test/fixtures/guests/c, and the module of the demo. */
export type GuestName = 'plain' | 'counter' | 'stubborn' | 'topics' | 'soil-sensor';

async function build(name: GuestName): Promise<string> {
  if (name !== 'soil-sensor') return guest('c', name);
  const path = `${root}.tools/modules/${name}.wasm`;
  if (!existsSync(path)) await promisify(execFile)(`${root}examples/build`, [`${root}.tools/modules`, name]);
  return path;
}

/** A node config's soil sensor, simulated. */
export function soilSensor(name = 'bed-3'): object {
  return { name, resource: 'soil-moisture', driver: 'simulated', profile: 'constant', value: 41.5 };
}

export interface Terminated {
  exitCode: number;
  reason: string;
  startedAt: string;
  finishedAt: string;
  containerID: string;
}

export interface ContainerStatus {
  name: string;
  image: string;
  imageID: string;
  containerID?: string;
  ready: boolean;
  started: boolean;
  restartCount: number;
  state: {
    waiting?: { reason: string; message?: string };
    running?: { startedAt: string };
    terminated?: Terminated;
  };
  lastState: { terminated?: Terminated };
  allocatedResourcesStatus?: unknown[];
}

export interface PodObject {
  metadata: { name: string; namespace: string; uid: string; generation: number; deletionTimestamp?: string };
  spec: { nodeName?: string };
  status: {
    phase: string;
    reason?: string;
    hostIP?: string;
    startTime?: string;
    observedGeneration?: number;
    conditions?: { type: string; status: string; reason?: string; message?: string }[];
    containerStatuses?: ContainerStatus[];
  };
}

export interface EventObject {
  type: string;
  reason: string;
  message: string;
  count: number;
  involvedObject: { uid: string; fieldPath?: string };
}

export interface PodOptions {
  readonly namespace?: string;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string | number>>;
  /** Resource without its prefix, to count. */
  readonly devices?: Readonly<Record<string, number>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly finalizers?: readonly string[];
  readonly restartPolicy?: 'Always' | 'OnFailure' | 'Never';
  readonly graceSeconds?: number;
  /** Over what is made of the above. */
  readonly container?: object;
  readonly spec?: object;
}

interface Template {
  metadata: { name: string; namespace: string };
  spec: object;
}

/** Before all tests of a file: starts what they share. */
export function useWorld(guests: readonly GuestName[]): () => World {
  // Each step has its own limit ("until"), which says what did not come.
  vi.setConfig({ testTimeout: 240_000 });
  const cluster = useControlPlane();
  let world: World | undefined;
  beforeAll(async () => {
    const registry = await Registry.start();
    world = new World(cluster(), registry, await Mosquitto.start());
    await cluster().kubectl('apply', '-f', `${root}deploy/runtimeclass.yaml`);
    for (const name of guests) await world.push(name);
  });
  afterAll(() => world?.[Symbol.asyncDispose]());
  return () => {
    if (world === undefined) throw new Error('the world has not begun');
    return world;
  };
}

export class World implements AsyncDisposable {
  readonly cluster: ControlPlane;
  readonly registry: Registry;
  readonly broker: Mosquitto;
  #nodes = 0;
  /** For its log, when a test fails. */
  #agent: NodeProcess | undefined;

  constructor(cluster: ControlPlane, registry: Registry, broker: Mosquitto) {
    this.cluster = cluster;
    this.registry = registry;
    this.broker = broker;
  }

  reference(image: string): string {
    return `${this.registry.host}/${image}`;
  }

  /** Pushes a guest with the shipped command line; the digest of its manifest. */
  async push(name: GuestName, image = `${name}:1`): Promise<string> {
    const { code, stdout, stderr } = await loamlet(['push', await build(name), this.reference(image)]);
    if (code !== 0) throw new Error(stderr);
    return stdout.trim().split('@')[1] ?? '';
  }

  /** The API server is gone from one moment to the next. */
  pause(): Promise<void> {
    return this.cluster.pause();
  }

  /** It is back. Controllers and scheduler begin anew with it: their own back-off could be longer than a test. */
  async resume(): Promise<void> {
    const { directory } = this.cluster;
    await this.cluster.resume();
    for (const program of ['kube-controller-manager', 'kube-scheduler'])
      process.kill(Number(readFileSync(join(directory, 'run', `${program}.pid`), 'utf8')), 'SIGKILL');
    await promisify(execFile)(`${root}scripts/control-plane`, ['start', directory]);
  }

  /** A node that has not been started. */
  prepare(config: Readonly<Record<string, unknown>> = {}, bootstrapKubeconfig?: string): ClusterNode {
    const name = `loam-${++this.#nodes}`;
    const node = NodeProcess.prepare({
      nodeName: name,
      cluster: {
        bootstrapKubeconfig: bootstrapKubeconfig ?? this.cluster.bootstrapKubeconfig,
        address: hostAddress,
        kubeletPort: 0,
      },
      log: { level: 'debug' },
      mqtt: { url: this.broker.url },
      devices: [soilSensor()],
      ...config,
    });
    this.#agent = node;
    return new ClusterNode(this, name, node);
  }

  /** A node that has joined, the only one that pods can go to; it ends with the scope, and all pods with it. */
  async node(config: Readonly<Record<string, unknown>> = {}): Promise<ClusterNode> {
    const node = this.prepare(config);
    try {
      await node.agent.start();
      await node.ready();
      return node;
    } catch (error) {
      await node[Symbol.asyncDispose]();
      throw error;
    }
  }

  template(name: string, image: string, options: PodOptions = {}): Template {
    const { args, env = {}, devices = {}, annotations = {}, finalizers = [], graceSeconds, restartPolicy } = options;
    const limits = Object.fromEntries(
      Object.entries(devices).map(([resource, count]) => [`loamlet.dev/${resource}`, count]),
    );
    return {
      metadata: {
        name,
        namespace: options.namespace ?? 'default',
        labels: { 'app.kubernetes.io/name': name },
        annotations,
        finalizers,
      } as Template['metadata'],
      spec: {
        runtimeClassName: 'loamlet',
        automountServiceAccountToken: false,
        ...(restartPolicy !== undefined && { restartPolicy }),
        ...(graceSeconds !== undefined && { terminationGracePeriodSeconds: graceSeconds }),
        containers: [
          {
            name: 'c',
            image: this.reference(image),
            ...(args !== undefined && { args }),
            env: Object.entries(env).map(([key, value]) => ({ name: key, value: String(value) })),
            resources: { limits },
            ...options.container,
          },
        ],
        ...options.spec,
      },
    };
  }

  /** Creates a pod; its uid. */
  async pod(name: string, image: string, options: PodOptions = {}): Promise<string> {
    const template = this.template(name, image, options);
    const { namespace } = template.metadata;
    // As kubectl: a namespace is usable once its service account is there, which a fresh cluster takes a moment for.
    let created: PodObject | undefined;
    await until(`pod ${name} is created`, async () => {
      created = await this.cluster.admin.post<PodObject>(`/api/v1/namespaces/${namespace}/pods`, {
        apiVersion: 'v1',
        kind: 'Pod',
        ...template,
      });
      return true;
    });
    return created?.metadata.uid ?? '';
  }

  /** A Deployment of one pod at a time: a device has one owner. */
  async deployment(name: string, image: string, options: PodOptions = {}): Promise<void> {
    const { metadata, spec } = this.template(name, image, options);
    const matchLabels = { 'app.kubernetes.io/name': name };
    await this.cluster.apply({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name, namespace: metadata.namespace },
      spec: {
        replicas: 1,
        selector: { matchLabels },
        strategy: { type: 'Recreate' },
        template: { metadata: { labels: matchLabels }, spec },
      },
    });
  }

  get(name: string, namespace = 'default'): Promise<PodObject> {
    return this.cluster.admin.get<PodObject>(`/api/v1/namespaces/${namespace}/pods/${name}`);
  }

  async pods(label?: string, namespace = 'default'): Promise<PodObject[]> {
    const query = label === undefined ? {} : { labelSelector: `app.kubernetes.io/name=${label}` };
    const { items } = await this.cluster.admin.get<{ items: PodObject[] }>(`/api/v1/namespaces/${namespace}/pods`, {
      query,
    });
    return items;
  }

  /** Resolves with the pod when it is as wanted. */
  async until(
    what: string,
    name: string,
    wanted: (pod: PodObject) => boolean,
    namespace = 'default',
  ): Promise<PodObject> {
    let found: PodObject | undefined;
    await until(
      `pod ${name} ${what}`,
      async () => wanted((found = await this.get(name, namespace))),
      () => `${JSON.stringify(found?.status, undefined, 1)}\n${this.#agent?.log}`,
    );
    return found as PodObject;
  }

  running(name: string, namespace = 'default'): Promise<PodObject> {
    return this.until('runs', name, isReady, namespace);
  }

  /** Resolves with its status when the only container of the pod waits for the reason. */
  async waiting(name: string, reason: string, namespace = 'default'): Promise<ContainerStatus> {
    const waits = (pod: PodObject): boolean => container(pod).state.waiting?.reason === reason;
    return container(await this.until(`waits with ${reason}`, name, waits, namespace));
  }

  async gone(name: string, namespace = 'default'): Promise<void> {
    await until(`pod ${name} is gone`, async () => {
      const pods = await this.pods(undefined, namespace);
      return pods.every(({ metadata }) => metadata.name !== name);
    });
  }

  /** Events about a pod that come from the node. */
  async events({ metadata }: PodObject): Promise<EventObject[]> {
    const query = { fieldSelector: `involvedObject.uid=${metadata.uid},source=loamlet` };
    const path = `/api/v1/namespaces/${metadata.namespace}/events`;
    return (await this.cluster.admin.get<{ items: EventObject[] }>(path, { query })).items;
  }

  /** Resolves when the Events about a pod are as wanted. */
  async eventsUntil(what: string, pod: PodObject, wanted: (events: EventObject[]) => boolean): Promise<EventObject[]> {
    let found: EventObject[] = [];
    await until(
      `there is ${what}`,
      async () => wanted((found = await this.events(pod))),
      () => `${JSON.stringify(found, undefined, 1)}\n${this.#agent?.log}`,
    );
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.broker[Symbol.asyncDispose]();
    await this.registry[Symbol.asyncDispose]();
  }
}

/** A `loamlet node` of its own process in the cluster. */
export class ClusterNode implements AsyncDisposable {
  readonly agent: NodeProcess;
  readonly name: string;
  readonly #world: World;

  constructor(world: World, name: string, agent: NodeProcess) {
    this.#world = world;
    this.name = name;
    this.agent = agent;
  }

  /** Resolves when pods can be scheduled to it: Ready, and without the taints of a node that is not. */
  async ready(): Promise<void> {
    await until(
      `${this.name} is Ready`,
      async () => {
        const { status, spec } = await this.object();
        const isTrue = status.conditions.some((condition) => condition.type === 'Ready' && condition.status === 'True');
        return isTrue && !spec.taints.some(({ key }) => key.startsWith('node.kubernetes.io/'));
      },
      () => this.agent.log,
    );
  }

  object(): Promise<NodeObject> {
    return this.#world.cluster.admin.get<NodeObject>(`/api/v1/nodes/${this.name}`);
  }

  /** Approves its serving certificate, as an operator would; then `kubectl logs` works. */
  async approve(): Promise<void> {
    await until(`${this.name} asks for a certificate`, () => this.#world.cluster.approveServing(this.name));
    await until(`${this.name} has its certificate`, () => this.agent.log.includes('"serving certificate approved"'));
  }

  identity(): ReturnType<typeof loadIdentity> {
    return loadIdentity(this.agent.stateDirectory, this.name);
  }

  /** The node, its object, and whatever ran or waited in the cluster. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { cluster } = this.#world;
    const all = ['--all', '--all-namespaces', '--ignore-not-found'];
    try {
      await cluster.kubectl('delete', 'deployments,daemonsets,jobs', ...all, '--cascade=foreground', '--wait=false');
      await cluster.kubectl('delete', 'pods', ...all, '--grace-period=0', '--force', '--wait=false');
    } finally {
      await this.agent[Symbol.asyncDispose]();
    }
    await cluster.kubectl('delete', 'node', this.name, '--ignore-not-found', '--wait=false');
    await cluster.kubectl('delete', 'pods', ...all, '--grace-period=0', '--force', '--wait=false');
  }
}

export interface NodeObject {
  metadata: { uid: string; labels: Record<string, string> };
  spec: { taints: { key: string; value?: string; effect: string }[] };
  status: {
    capacity: Record<string, string>;
    allocatable: Record<string, string>;
    conditions: { type: string; status: string; reason: string }[];
    daemonEndpoints: { kubeletEndpoint: { Port: number } };
  };
}

/** The status of the pod's only container. */
export function container({ status }: PodObject): ContainerStatus {
  const [only] = status.containerStatuses ?? [];
  if (only === undefined) throw new Error('the pod has no container status yet');
  return only;
}

/** Conditions by type: `True`, or `False ContainersNotReady`. */
export function conditions({ status }: PodObject): Record<string, string> {
  return Object.fromEntries(
    (status.conditions ?? []).map(({ type, status: value, reason }) => [
      type,
      reason === undefined ? value : `${value} ${reason}`,
    ]),
  );
}

export function isReady(pod: PodObject): boolean {
  return conditions(pod)['Ready'] === 'True';
}
