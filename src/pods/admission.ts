/**
 * From what a pod asks for and what the node allows to what its containers are granted. Pure: who holds which device
 * now comes in, grants or reasons go out.
 */
import type { DeviceConfig } from '../../devices/contract.ts';
import type { DeviceGrant, Grant, MessagingGrant, PublishGrant } from '../../hostcalls/grant.ts';
import { LoamletError } from '../base/errors.ts';
import { nearest } from '../base/nearest.ts';
import type { PolicyRule } from '../config/schema.ts';
import { covers } from './filter-cover.ts';
import { podLabel, type ContainerSpec, type Pod } from './pod.ts';

/** GrantDenied: the node has no such device, it is held, or its policy does not give it to this pod. */
export class AdmissionError extends LoamletError<'GrantDenied'> {
  constructor(message: string, remedy?: string) {
    super('GrantDenied', 'operator', message, remedy === undefined ? {} : { remedy });
  }
}

export interface NodePolicy {
  readonly nodeName: string;
  readonly devices: readonly DeviceConfig[];
  /** Absent: namespace default and static pods may use every device and publish below their own prefix. */
  readonly rules?: readonly PolicyRule[];
  /** False when the node has no broker: nobody is granted messaging. */
  readonly messaging: boolean;
}

/** Which pod holds a device: device name to pod uid. */
export type Holders = ReadonlyMap<string, { readonly uid: string; readonly label: string }>;

const deviceAnnotation = 'devices.loamlet.dev/';
const publishAnnotation = 'mqtt.loamlet.dev/publish';
const subscribeAnnotation = 'mqtt.loamlet.dev/subscribe';
const ownTopics = { qos: 1, retain: true } as const;

/**
 * The grants of a pod's containers, in order.
 * @throws AdmissionError for the first thing that can't be given
 */
export function admit(pod: Pod, policy: NodePolicy, holders: Holders): readonly Grant[] {
  const rules = rulesFor(pod, policy);
  const messaging = messagingGrant(pod, policy, rules);
  const taken = new Set([...holders].filter(([, holder]) => holder.uid !== pod.uid).map(([device]) => device));
  const wishes = namedDevices(pod);
  return pod.containers.map((container) => {
    const devices = deviceGrants(pod, container, wishes, policy, rules, taken, holders);
    return messaging === undefined ? { devices } : { devices, messaging };
  });
}

/** The rules that are for this pod, or 'all' where the node has none and the pod is of its default kind. */
function rulesFor(pod: Pod, policy: NodePolicy): 'all' | readonly PolicyRule[] {
  if (policy.rules === undefined) return pod.source === 'static' || pod.namespace === 'default' ? 'all' : [];
  return policy.rules.filter((rule) => rule.namespaces.includes('*') || rule.namespaces.includes(pod.namespace));
}

interface Wish {
  readonly logicalName: string;
  readonly resource: string;
  readonly device: string | undefined;
}

/** `devices.loamlet.dev/<logical name>: <resource>[/<device>]` */
function namedDevices(pod: Pod): Wish[] {
  return Object.entries(pod.annotations)
    .filter(([key]) => key.startsWith(deviceAnnotation))
    .map(([key, value]) => {
      const logicalName = key.slice(deviceAnnotation.length);
      const [resource = '', device] = value.split('/', 2);
      if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(logicalName) || resource === '') {
        throw new AdmissionError(`annotation ${key}: ${value} is not RESOURCE or RESOURCE/DEVICE`);
      }
      return { logicalName, resource, device };
    });
}

function deviceGrants(
  pod: Pod,
  container: ContainerSpec,
  wishes: readonly Wish[],
  policy: NodePolicy,
  rules: 'all' | readonly PolicyRule[],
  taken: Set<string>,
  holders: Holders,
): DeviceGrant[] {
  const grants: DeviceGrant[] = [];
  for (const [resource, count] of container.devices) {
    const allowed =
      rules === 'all' || rules.some((rule) => rule.devices.includes(resource) || rule.devices.includes('*'));
    if (!allowed) {
      throw new AdmissionError(
        `this node's policy gives ${resource} to no pod of namespace ${pod.namespace}`,
        'add a policy rule to the node config',
      );
    }
    const named = wishes.filter((wish) => wish.resource === resource).slice(0, count);
    const names = Array.from(
      { length: count },
      (_, index) => named[index]?.logicalName ?? (count === 1 ? resource : `${resource}-${index}`),
    );
    names.forEach((logicalName, index) => {
      const device = pick(resource, named[index]?.device, policy.devices, taken, holders);
      taken.add(device.name);
      grants.push({ logicalName, device, freshnessMs: 0 });
    });
  }
  const twice = grants.find(
    (grant, index) => grants.findIndex((other) => other.logicalName === grant.logicalName) < index,
  );
  if (twice !== undefined)
    throw new AdmissionError(`two devices of container ${container.name} have the name ${twice.logicalName}`);
  return grants;
}

function pick(
  resource: string,
  wanted: string | undefined,
  devices: readonly DeviceConfig[],
  taken: ReadonlySet<string>,
  holders: Holders,
): DeviceConfig {
  const ofKind = devices.filter((device) => device.resource === resource);
  if (ofKind.length === 0) {
    const known = nearest(resource, new Set(devices.map((device) => device.resource)));
    throw new AdmissionError(
      `this node has no ${resource}`,
      known === undefined ? 'declare one under devices in the node config' : `did you mean ${known}?`,
    );
  }
  const candidates = wanted === undefined ? ofKind : ofKind.filter((device) => device.name === wanted);
  if (candidates.length === 0) throw new AdmissionError(`this node has no ${resource} of the name ${wanted ?? ''}`);
  const free = candidates.find((device) => !taken.has(device.name));
  if (free !== undefined) return free;
  const holder = candidates.map((device) => holders.get(device.name)).find((candidate) => candidate !== undefined);
  throw new AdmissionError(
    `${wanted ?? `every ${resource} of this node`} is held${holder === undefined ? ' by this pod already' : ` by ${holder.label}`}`,
  );
}

function messagingGrant(
  pod: Pod,
  policy: NodePolicy,
  rules: 'all' | readonly PolicyRule[],
): MessagingGrant | undefined {
  if (pod.annotations[subscribeAnnotation] !== undefined) {
    throw new AdmissionError(
      `annotation ${subscribeAnnotation}: this version does not deliver messages to modules`,
      'remove it',
    );
  }
  const asked = pod.annotations[publishAnnotation];
  if (!policy.messaging) {
    if (asked !== undefined) throw new AdmissionError('this node has no broker', 'set mqtt in the node config');
    return undefined;
  }
  if (asked === undefined) {
    if (rules !== 'all' && rules.length === 0) return undefined;
    const prefix = `loamlet/${policy.nodeName}/${pod.namespace}/${pod.topicName}/`;
    return { prefix, publish: [{ filter: `${prefix}#`, ...ownTopics }] };
  }
  const filters = asked.split(',').map((filter) => filter.trim());
  return { publish: filters.map((filter) => publishGrant(filter, pod, rules)) };
}

function publishGrant(filter: string, pod: Pod, rules: 'all' | readonly PolicyRule[]): PublishGrant {
  const offers = rules === 'all' ? [] : rules.flatMap((rule) => rule.publish);
  const offer = offers.find((candidate) => covers(candidate.filter, filter));
  if (offer === undefined) {
    throw new AdmissionError(
      `this node's policy lets ${podLabel(pod)} publish to no topics of ${filter}`,
      'add a publish filter for it to the policy in the node config, or remove the annotation to use the own prefix',
    );
  }
  return { filter, qos: offer.qos, retain: offer.retain };
}
