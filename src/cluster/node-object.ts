import { isDnsLabel, resourcePrefix } from '../base/names.ts';
import { ClusterError } from './errors.ts';
import type { NodeFacts, NodePressure } from './node-facts.ts';

export interface Taint {
  readonly key: string;
  readonly value: string;
  readonly effect: 'NoSchedule' | 'PreferNoSchedule' | 'NoExecute';
}

/** What this node offers where it is not to be what the machine has; sizes in bytes. */
export interface CapacityOverrides {
  readonly cpus?: number | undefined;
  readonly memoryBytes?: number | undefined;
  readonly storageBytes?: number | undefined;
  readonly pods?: number | undefined;
}

/** What the configuration says the node is. */
export interface NodeDescription {
  readonly nodeName: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly taints: readonly Taint[];
  /** Devices: resource name without its prefix (`soil-moisture`), and how many there are. */
  readonly resources: ReadonlyMap<string, number>;
  readonly capacity: CapacityOverrides;
  /** Loamlet's own version, `0.1.0`. */
  readonly version: string;
}

/** Whether the node can run pods; with Ready=False the scheduler sends none. */
export interface Readiness {
  readonly ready: boolean;
  /** A CamelCase word, `LoamletReady`. */
  readonly reason: string;
  readonly message: string;
}

export interface NodeCondition {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: string;
  readonly message: string;
  /** RFC 3339. */
  readonly lastHeartbeatTime: string;
  readonly lastTransitionTime: string;
}

export interface NodeStatus {
  readonly capacity: Readonly<Record<string, string>>;
  readonly allocatable: Readonly<Record<string, string>>;
  readonly addresses: ReadonlyArray<{ readonly type: string; readonly address: string }>;
  readonly conditions: readonly NodeCondition[];
  readonly nodeInfo: Readonly<Record<string, string>>;
  readonly daemonEndpoints: { readonly kubeletEndpoint: { readonly Port: number } };
  readonly declaredFeatures: readonly string[];
  readonly runtimeHandlers: ReadonlyArray<{ readonly name: string; readonly features: object }>;
}

/** Krustlet's, so that its manifests keep working. They keep ordinary pods and DaemonSets off the node. */
export const defaultTaints: readonly Taint[] = [
  { key: 'kubernetes.io/arch', value: 'wasm32-wasi', effect: 'NoSchedule' },
  { key: 'kubernetes.io/arch', value: 'wasm32-wasi', effect: 'NoExecute' },
];

/** The API this agent speaks; a kubelet may be three minor versions behind its API server. */
const kubernetesVersion = 'v1.37.2';
const defaultPods = 1000;
const mebibyte = 1024 * 1024;

export function nodeLabels({ nodeName, labels }: NodeDescription): Record<string, string> {
  return {
    'kubernetes.io/arch': 'wasm32-wasi',
    'kubernetes.io/os': 'wasm32-wasi',
    'kubernetes.io/hostname': nodeName,
    ...labels,
  };
}

/** The Node object to create; taints can be set only now, never later by the node itself. */
export function nodeObject(description: NodeDescription, status: NodeStatus): object {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: description.nodeName, labels: nodeLabels(description) },
    spec: { taints: description.taints },
    status,
  };
}

export function nodeStatus(
  description: NodeDescription,
  facts: NodeFacts,
  kubeletPort: number,
  conditions: readonly NodeCondition[],
): NodeStatus {
  const capacity = capacityOf(description, facts);
  return {
    capacity: quantities(capacity, description.resources),
    allocatable: quantities(allocatableOf(capacity), description.resources),
    addresses: [
      { type: 'InternalIP', address: facts.address },
      { type: 'Hostname', address: description.nodeName },
    ],
    conditions,
    nodeInfo: {
      machineID: facts.machineId,
      systemUUID: facts.systemUuid,
      bootID: facts.bootId,
      kernelVersion: facts.kernelVersion,
      osImage: facts.osImage,
      containerRuntimeVersion: `loamlet://${description.version}`,
      kubeletVersion: `${kubernetesVersion}-loamlet.${description.version}`,
      kubeProxyVersion: '',
      operatingSystem: 'linux',
      architecture: facts.architecture,
    },
    daemonEndpoints: { kubeletEndpoint: { Port: kubeletPort } },
    declaredFeatures: ['ExtendWebSocketsToKubelet'],
    runtimeHandlers: [{ name: 'loamlet', features: {} }],
  };
}

/** The conditions as of `now`; those whose status is as before keep their time of transition. */
export function nodeConditions(
  pressure: NodePressure,
  readiness: Readiness,
  before: readonly NodeCondition[],
  now: Date,
): NodeCondition[] {
  const time = now.toISOString().replace(/\.\d+Z$/, 'Z');
  const pressureOf = (
    type: string,
    under: boolean,
    what: string,
  ): Omit<NodeCondition, 'lastHeartbeatTime' | 'lastTransitionTime'> => ({
    type,
    status: under ? 'True' : 'False',
    reason: under ? `LoamletHas${type}` : `LoamletHasNo${type}`,
    message: under ? `this node is short of ${what}` : `this node has enough ${what}`,
  });
  return [
    pressureOf('MemoryPressure', pressure.memoryAvailableBytes < 100 * mebibyte, 'memory'),
    pressureOf('DiskPressure', pressure.storageAvailableBytes < 0.1 * pressure.storageBytes, 'disk space'),
    pressureOf('PIDPressure', pressure.tasks > 0.9 * pressure.maxTasks, 'process numbers'),
    {
      type: 'Ready',
      status: readiness.ready ? ('True' as const) : ('False' as const),
      reason: readiness.reason,
      message: readiness.message,
    },
  ].map((condition) => {
    const old = before.find(({ type }) => type === condition.type);
    const transition = old?.status === condition.status ? old.lastTransitionTime : time;
    return { ...condition, lastHeartbeatTime: time, lastTransitionTime: transition };
  });
}

/** What of a status matters enough to tell the API server at once; the rest goes with the next heartbeat. */
export function statusDigest({ conditions, ...rest }: NodeStatus): string {
  return JSON.stringify([rest, conditions.map(({ type, status, reason, message }) => [type, status, reason, message])]);
}

interface Capacity {
  readonly milliCpu: number;
  readonly memory: number;
  readonly storage: number;
  readonly pods: number;
}

function capacityOf({ capacity }: NodeDescription, facts: NodeFacts): Capacity {
  return {
    milliCpu: Math.round((capacity.cpus ?? facts.cpus) * 1000),
    memory: capacity.memoryBytes ?? facts.memoryBytes,
    storage: capacity.storageBytes ?? facts.storageBytes,
    pods: capacity.pods ?? defaultPods,
  };
}

/**
 * Left for pods: memory without 256 MiB for the system and this agent (at most half), storage without the tenth below
 * which the node reports DiskPressure.
 */
function allocatableOf(capacity: Capacity): Capacity {
  return {
    ...capacity,
    memory: capacity.memory - Math.min(256 * mebibyte, capacity.memory / 2),
    storage: capacity.storage * 0.9,
  };
}

function quantities(
  { milliCpu, memory, storage, pods }: Capacity,
  resources: ReadonlyMap<string, number>,
): Record<string, string> {
  const all: Record<string, string> = {
    cpu: milliCpu % 1000 === 0 ? String(milliCpu / 1000) : `${milliCpu}m`,
    memory: `${Math.floor(memory / 1024)}Ki`,
    'ephemeral-storage': `${Math.floor(storage / 1024)}Ki`,
    pods: String(pods),
  };
  for (const [name, count] of resources) all[resourcePrefix + name] = String(count);
  return all;
}

/**
 * What the API server would refuse, or worse, take: a resource name with a space in it, for one.
 * @throws ClusterError NodeInvalid
 */
export function checkDescription({ nodeName, labels, resources }: NodeDescription): void {
  if (nodeName.length > 253 || !nodeName.split('.').every(isDnsLabel)) {
    throw new ClusterError('NodeInvalid', `'${nodeName}' can't be a node's name`, {
      remedy: 'set nodeName to lower case letters, digits, hyphens and dots',
    });
  }
  for (const [name, count] of resources) {
    if (isDnsLabel(name) && Number.isSafeInteger(count) && count >= 0) continue;
    throw new ClusterError('NodeInvalid', `the node can't offer ${count} of the resource '${name}'`, {
      remedy: 'a resource is named in lower case letters, digits and hyphens, and counted in whole numbers',
    });
  }
  for (const [key, value] of Object.entries(labels)) {
    const [name = '', prefix] = key.split('/').toReversed();
    const isKey =
      key.split('/').length <= 2 &&
      isLabelValue(name) &&
      name !== '' &&
      (prefix === undefined || prefix.split('.').every(isDnsLabel));
    if (isKey && isLabelValue(value)) continue;
    throw new ClusterError('NodeInvalid', `'${key}: ${value}' can't be a label of the node`, {
      remedy: 'see cluster.labels in the configuration',
    });
  }
}

const isLabelValue = (text: string): boolean => /^([A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?)?$/.test(text);
