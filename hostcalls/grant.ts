/**
 * What one container may touch: the meet of what its pod asks for, what the node allows to its namespace and what its
 * module imports. Plain data: made in `src/pods`, carried to the runner, checked at each host call, and checked again
 * by the agent for what leaves the runner. Whatever is not in a grant does not exist for the module.
 */
import type { DeviceConfig } from '../devices/contract.ts';

export interface DeviceGrant {
  /** The name the module opens: a DNS label. */
  readonly logicalName: string;
  readonly device: DeviceConfig;
  /** Longest age in milliseconds at which an earlier physical read may be served to this module; 0 reads anew. */
  readonly freshnessMs: number;
}

export interface PublishGrant {
  /** An MQTT topic filter; absolute. */
  readonly filter: string;
  readonly qos: 0 | 1;
  readonly retain: boolean;
}

export interface MessagingGrant {
  readonly publish: readonly PublishGrant[];
  /**
   * Set when the pod asked for no topics of its own: its topics are then relative to this, which ends in `/`.
   * Without it topics are absolute and must match a filter of `publish`.
   */
  readonly prefix?: string;
}

export interface Grant {
  readonly devices: readonly DeviceGrant[];
  /** Absent: the module may not import `loamlet:host/messaging`. */
  readonly messaging?: MessagingGrant;
}

export const emptyGrant: Grant = { devices: [] };
