import { isDnsLabel } from '../base/names.ts';
import type { DeviceConfig } from '../../devices/contract.ts';
import type { DeviceGrant, Grant } from '../../hostcalls/grant.ts';
import { nearest } from '../base/nearest.ts';
import type { Holders, Rules } from './admission.ts';
import { AdmissionError } from './admission-error.ts';
import type { ContainerSpec, Pod } from './pod.ts';

const annotation = 'devices.loamlet.dev/';

/** `devices.loamlet.dev/<logical name>: <resource>[/<device>]`: names one device of the pod, and may pick it. */
interface Wish {
  readonly logicalName: string;
  readonly resource: string;
  readonly device: string | undefined;
}

/**
 * The devices of each container of a pod. Annotations name the pod's devices in their order, each one device.
 * @throws AdmissionError
 */
export function assignDevices(
  pod: Pod,
  devices: readonly DeviceConfig[],
  rules: Rules,
  holders: Holders,
  current: readonly (Grant | undefined)[],
): readonly DeviceGrant[][] {
  const wishes = readWishes(pod);
  const pool = new Pool(pod, devices, holders);
  for (const { device } of wishes) if (device !== undefined) pool.reserve(device, device);
  current.forEach((grant, index) => grant?.devices.forEach(({ device }) => pool.reserve(device.name, `#${index}`)));
  const assigned = pod.containers.map((container, index) => {
    const grants = [...container.devices].flatMap(([resource, count]) => {
      if (!isAllowed(resource, rules)) {
        throw new AdmissionError(
          `this node's policy gives ${resource} to no pod of namespace ${pod.namespace}`,
          'add a policy rule to the node config',
        );
      }
      return takeNames(resource, count, wishes).map(({ logicalName, device: wanted }): DeviceGrant => {
        const kept = current[index]?.devices.find((grant) => grant.logicalName === logicalName)?.device.name;
        return { logicalName, device: pool.take(resource, wanted, kept, `#${index}`), freshnessMs: 0 };
      });
    });
    checkNames(container, grants);
    return grants;
  });
  const [left] = wishes;
  if (left !== undefined) {
    throw new AdmissionError(
      `annotation ${annotation}${left.logicalName} names a ${left.resource} that no container asks for`,
      `add ${left.resource} to resources.limits, or remove the annotation`,
    );
  }
  return assigned;
}

function readWishes(pod: Pod): Wish[] {
  return Object.entries(pod.annotations)
    .filter(([key]) => key.startsWith(annotation))
    .map(([key, value]) => {
      const logicalName = key.slice(annotation.length);
      const match = /^([^/]+)(?:\/([^/]+))?$/.exec(value);
      if (match?.[1] === undefined || !isDnsLabel(logicalName)) {
        throw new AdmissionError(`annotation ${key}: ${value.slice(0, 100)} is not RESOURCE or RESOURCE/DEVICE`);
      }
      return { logicalName, resource: match[1], device: match[2] };
    });
}

function isAllowed(resource: string, rules: Rules): boolean {
  return rules === 'all' || rules.some((rule) => rule.devices.includes(resource) || rule.devices.includes('*'));
}

/** Takes the next wishes for a resource out of `wishes`; what no wish names is named after the resource. */
function takeNames(
  resource: string,
  count: number,
  wishes: Wish[],
): { readonly logicalName: string; readonly device: string | undefined }[] {
  return Array.from({ length: count }, (_, number) => {
    const at = wishes.findIndex((wish) => wish.resource === resource);
    const [wish] = at < 0 ? [] : wishes.splice(at, 1);
    return wish ?? { logicalName: count === 1 ? resource : `${resource}-${number}`, device: undefined };
  });
}

function checkNames(container: ContainerSpec, grants: readonly DeviceGrant[]): void {
  const names = new Set<string>();
  for (const { logicalName } of grants) {
    if (names.has(logicalName))
      throw new AdmissionError(`two devices of container ${container.name} have the name ${logicalName}`);
    names.add(logicalName);
  }
}

/** The node's devices while they are shared out to one pod. */
class Pool {
  readonly #devices: readonly DeviceConfig[];
  readonly #holders: Holders;
  /** Held by another pod, or given out to this one. */
  readonly #taken: Set<string>;
  /** Devices kept back for one use: an annotation that picks them, or the container that has them now. */
  readonly #reserved = new Map<string, string>();

  constructor(pod: Pod, devices: readonly DeviceConfig[], holders: Holders) {
    this.#devices = devices;
    this.#holders = new Map([...holders].filter(([, holder]) => holder.uid !== pod.uid));
    this.#taken = new Set(this.#holders.keys());
  }

  reserve(device: string, owner: string): void {
    this.#reserved.set(device, owner);
  }

  /** The picked one, else the one kept, else the first free one. */
  take(resource: string, wanted: string | undefined, kept: string | undefined, owner: string): DeviceConfig {
    const ofKind = this.#devices.filter((device) => device.resource === resource);
    if (ofKind.length === 0) {
      const known = nearest(resource, new Set(this.#devices.map((device) => device.resource)));
      throw new AdmissionError(
        `this node has no ${resource}`,
        known === undefined ? 'declare one under devices in the node config' : `did you mean ${known}?`,
      );
    }
    const candidates = wanted === undefined ? ofKind : ofKind.filter(({ name }) => name === wanted);
    if (candidates.length === 0) throw new AdmissionError(`this node has no ${resource} of the name ${wanted ?? ''}`);
    const free = candidates.filter(({ name }) => !this.#taken.has(name) && this.#isFor(name, wanted, owner));
    const device = free.find(({ name }) => name === kept) ?? free[0];
    if (device === undefined) {
      const holder = candidates.map(({ name }) => this.#holders.get(name)).find((candidate) => candidate !== undefined);
      throw new AdmissionError(
        `${wanted ?? `every ${resource} of this node`} is held by ${holder?.label ?? 'this pod already'}`,
      );
    }
    this.#taken.add(device.name);
    return device;
  }

  #isFor(device: string, wanted: string | undefined, owner: string): boolean {
    const reserved = this.#reserved.get(device);
    return reserved === undefined || reserved === owner || reserved === wanted;
  }
}
