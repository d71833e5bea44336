/**
 * From what a pod asks for and what the node allows to what its containers are granted. Pure: who holds which device
 * now comes in, grants or reasons go out.
 */
import type { DeviceConfig } from '../../devices/contract.ts';
import type { Grant } from '../../hostcalls/grant.ts';
import type { PolicyRule } from '../config/schema.ts';
import { assignDevices } from './device-assignment.ts';
import type { Pod } from './pod.ts';
import { messagingGrant } from './topic-grants.ts';

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

/** The rules that are for a pod, or 'all' where the node has none and the pod is of its default kind. */
export type Rules = 'all' | readonly PolicyRule[];

/**
 * The grants of a pod's containers, in order.
 * @param current what the containers are granted now: each keeps its devices as long as it asks for them, and takes none
 *   of another's, so that admitting a pod again while one of its containers runs gives no device twice
 * @throws AdmissionError for the first thing that can't be given
 */
export function admit(
  pod: Pod,
  policy: NodePolicy,
  holders: Holders,
  current: readonly (Grant | undefined)[] = [],
): readonly Grant[] {
  const rules = rulesFor(pod, policy);
  const messaging = messagingGrant(pod, policy, rules);
  const devices = assignDevices(pod, policy.devices, rules, holders, current);
  return devices.map((granted) => ({ devices: granted, ...(messaging === undefined ? {} : { messaging }) }));
}

function rulesFor(pod: Pod, policy: NodePolicy): Rules {
  if (policy.rules === undefined) return pod.source === 'static' || pod.namespace === 'default' ? 'all' : [];
  return policy.rules.filter((rule) => rule.namespaces.includes('*') || rule.namespaces.includes(pod.namespace));
}
