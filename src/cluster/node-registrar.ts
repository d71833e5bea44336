import { resourcePrefix } from '../base/names.ts';
import type { Logger } from '../observe/logger.ts';
import type { ApiClient } from './api-client.ts';
import { ClusterError, hasCode } from './errors.ts';
import { readFacts, readPressure, type NodeFacts } from './node-facts.ts';
import {
  nodeConditions,
  nodeLabels,
  nodeObject,
  nodeStatus,
  statusDigest,
  type NodeCondition,
  type NodeDescription,
  type NodeStatus,
  type Readiness,
} from './node-object.ts';

export interface RegistrarOptions {
  readonly stateDirectory: string;
  /** The configured address; default: that of the default route, read again at each update. */
  readonly address: string | undefined;
  readonly kubeletPort: number;
  readonly readiness: () => Readiness;
  readonly log: Logger;
}

interface StoredNode {
  readonly metadata: { readonly uid: string; readonly labels?: Readonly<Record<string, string>> };
  readonly status?: {
    readonly nodeInfo?: { readonly machineID?: string };
    readonly conditions?: readonly NodeCondition[];
    readonly capacity?: Readonly<Record<string, string>>;
  };
}

/** A full status this often even when nothing changed; the lease is what keeps the node alive. */
const heartbeatMs = 300_000;

/** Keeps the Node object true: creates it, tells what changed, creates it again when somebody deleted it. */
export class NodeRegistrar {
  readonly #client: ApiClient;
  readonly #options: RegistrarOptions;
  #description: NodeDescription;
  #uid: string | undefined;
  #address: string | undefined;
  #conditions: readonly NodeCondition[] = [];
  /** Device resources the API server has from us, to be taken back when we have them no more. */
  #offered: readonly string[] = [];
  #sentDigest = '';
  #sentAt = -Infinity;

  constructor(client: ApiClient, description: NodeDescription, options: RegistrarOptions) {
    this.#client = client;
    this.#description = description;
    this.#options = options;
  }

  /** Undefined until registered. */
  get uid(): string | undefined {
    return this.#uid;
  }

  /** Devices came or went; told with the next update. */
  setResources(resources: ReadonlyMap<string, number>): void {
    this.#description = { ...this.#description, resources };
  }

  /** The address last read; undefined before the first update. */
  get address(): string | undefined {
    return this.#address;
  }

  /** The object may be gone: the next update creates it, or adopts the one that is there. */
  forget(): void {
    this.#uid = undefined;
  }

  /** The cluster may think otherwise (Ready=Unknown after silence): the next update sends everything. */
  refresh(): void {
    this.#sentDigest = '';
  }

  /**
   * Brings the Node object up to date: at once when something changed, else every 5 minutes. Called every 10 s.
   * @returns whether the node was created or adopted by this call
   * @throws ClusterError NodeNameTaken, NodeInvalid, and those of the API
   */
  async update(signal: AbortSignal): Promise<boolean> {
    const facts = await readFacts(this.#options.stateDirectory, this.#options.address);
    this.#address = facts.address;
    if (this.#uid === undefined) {
      await this.#register(facts, signal);
      return true;
    }
    const status = await this.#status(facts);
    const digest = statusDigest(status);
    if (digest === this.#sentDigest && performance.now() - this.#sentAt < heartbeatMs) return false;
    try {
      await this.#send(status, digest, signal);
      return false;
    } catch (error) {
      if (!hasCode(error, 'ApiNotFound')) throw error;
      this.#options.log.warn({}, 'the Node object was deleted: creating it again');
      await this.#register(facts, signal);
      return true;
    }
  }

  async #register(facts: NodeFacts, signal: AbortSignal): Promise<void> {
    const status = await this.#status(facts);
    const digest = statusDigest(status);
    try {
      const created = await this.#client.post<StoredNode>('/api/v1/nodes', nodeObject(this.#description, status), {
        signal,
      });
      this.#uid = created.metadata.uid;
      this.#sent(status, digest);
      this.#options.log.info({ address: facts.address }, 'node created');
    } catch (error) {
      if (!hasCode(error, 'ApiConflict')) throw error;
      await this.#adopt(facts, signal);
    }
  }

  /** The object of an earlier start. Nothing but the machine's id tells it from another machine with our name. */
  async #adopt(facts: NodeFacts, signal: AbortSignal): Promise<void> {
    const { nodeName } = this.#description;
    const stored = await this.#client.get<StoredNode>(this.#path, { signal });
    const theirs = stored.status?.nodeInfo?.machineID;
    if (theirs && facts.machineId && theirs !== facts.machineId) {
      throw new ClusterError(
        'NodeNameTaken',
        `the node ${nodeName} is another machine (its machine id is ${theirs}, ours ${facts.machineId})`,
        {
          remedy: `set another nodeName, or, if that machine is gone: kubectl delete node ${nodeName}`,
        },
      );
    }
    const labels = nodeLabels(this.#description);
    if (Object.entries(labels).some(([key, value]) => stored.metadata.labels?.[key] !== value)) {
      await this.#client.patch(this.#path, 'strategic-merge', { metadata: { labels } }, { signal });
    }
    this.#conditions = stored.status?.conditions ?? [];
    this.#offered = Object.keys(stored.status?.capacity ?? {}).filter((name) => name.startsWith(resourcePrefix));
    const status = await this.#status(facts);
    await this.#send(status, statusDigest(status), signal);
    this.#uid = stored.metadata.uid;
    this.#options.log.info({ address: facts.address }, 'node found and brought up to date');
  }

  async #send(status: NodeStatus, digest: string, signal: AbortSignal): Promise<void> {
    // A merge keeps keys that are not sent.
    const withdrawn = Object.fromEntries(
      this.#offered.filter((name) => !(name in status.capacity)).map((name) => [name, null]),
    );
    const body = {
      status: {
        ...status,
        capacity: { ...status.capacity, ...withdrawn },
        allocatable: { ...status.allocatable, ...withdrawn },
        addresses: [...status.addresses, { $patch: 'replace' }],
      },
    };
    await this.#client.patch(`${this.#path}/status`, 'strategic-merge', body, { signal });
    this.#sent(status, digest);
  }

  #sent(status: NodeStatus, digest: string): void {
    this.#conditions = status.conditions;
    this.#offered = Object.keys(status.capacity).filter((name) => name.startsWith(resourcePrefix));
    this.#sentDigest = digest;
    this.#sentAt = performance.now();
  }

  async #status(facts: NodeFacts): Promise<NodeStatus> {
    const pressure = await readPressure(this.#options.stateDirectory);
    const conditions = nodeConditions(pressure, this.#options.readiness(), this.#conditions, new Date());
    return nodeStatus(this.#description, facts, this.#options.kubeletPort, conditions);
  }

  get #path(): string {
    return `/api/v1/nodes/${this.#description.nodeName}`;
  }
}
