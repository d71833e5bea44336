import type { DeviceGrant, Grant } from '../../hostcalls/grant.ts';
import type { PodLine } from '../observe/node-status.ts';
import type { ContainerId } from '../runner/protocol.ts';
import { newContainer, type Container } from './container-machine.ts';
import type { LogRun } from './logs/log-folder.ts';
import { logLocation, type LogLocation } from './logs/log-location.ts';
import type { Pod } from './pod.ts';
import { PodGrants } from './pod-grants.ts';
import { podLine } from './pod-line.ts';
import type { PodRecord, PodServices } from './pod-services.ts';
import { podStatus, type HeldDevice, type PodCondition, type PodStatus, type PodView } from './pod-status.ts';

/** What is known of one pod, and everything that follows from it. Its worker changes it. */
export class PodState {
  pod: Pod;
  readonly containers: Container[];
  readonly grants: PodGrants;
  readonly startTimeMs: number;
  failure: PodView['failure'];
  #conditions: readonly PodCondition[];
  readonly #node: Pick<PodServices, 'now' | 'hostIP' | 'deviceHealth'>;

  constructor(pod: Pod, node: Pick<PodServices, 'now' | 'hostIP' | 'deviceHealth'>, record?: PodRecord) {
    this.pod = pod;
    this.#node = node;
    this.startTimeMs = record?.startTimeMs ?? node.now();
    this.containers = pod.containers.map((_, index) => record?.containers[index] ?? newContainer);
    this.grants = new PodGrants(pod.containers.length, record?.grants);
    this.#conditions = record?.conditions ?? [];
    this.failure = record?.failure;
  }

  get record(): PodRecord {
    return {
      startTimeMs: this.startTimeMs,
      containers: this.containers,
      conditions: this.#conditions,
      grants: this.grants.saved,
      ...(this.failure === undefined ? {} : { failure: this.failure }),
    };
  }

  /** True once every container has ended for good. */
  get over(): boolean {
    return this.containers.every((container) => container.state.type === 'ended');
  }

  /** Names of the devices the pod holds now. A pod that is over holds none. */
  *heldDevices(): Iterable<string> {
    if (this.over) return;
    for (const { device } of this.grants.devices.flat()) yield device.name;
  }

  /** The container that a run is of. */
  indexOf(id: ContainerId): number | undefined {
    const index = this.containers.findIndex(({ state }) => 'id' in state && state.id === id);
    return index < 0 ? undefined : index;
  }

  /** The grant of a run of one of its containers. */
  grantOf(id: ContainerId): Grant | undefined {
    const index = this.indexOf(id);
    return index === undefined ? undefined : this.grants.of(index);
  }

  /** Containers that have a run which the runner should know. */
  get running(): number[] {
    return [...this.containers.keys()].filter((index) => 'id' in (this.containers[index]?.state ?? {}));
  }

  /** Runs that the runner should know. */
  *ids(): Iterable<ContainerId> {
    for (const { state } of this.containers) if ('id' in state) yield state.id;
  }

  /** Where the log of a run belongs; undefined when the run is not this pod's. */
  logRunOf(id: ContainerId): LogRun | undefined {
    const index = this.indexOf(id);
    const container = index === undefined ? undefined : this.pod.containers[index];
    const restart = index === undefined ? undefined : this.containers[index]?.restartCount;
    if (container === undefined || restart === undefined) return undefined;
    const { namespace, name: pod, uid } = this.pod;
    return { namespace, pod, uid, container: container.name, restart };
  }

  /** Which logs a container has; undefined when the pod has no such container. */
  logLocation(name: string): LogLocation | undefined {
    const container = this.containers[this.pod.containers.findIndex((spec) => spec.name === name)];
    return container === undefined ? undefined : logLocation(this.pod.uid, container);
  }

  /** For `loamlet status`. */
  get line(): PodLine {
    return podLine(this.#view());
  }

  /** The status to publish now. */
  status(): PodStatus {
    const status = podStatus(this.#view(), this.#conditions, this.#node.hostIP(), this.#node.now());
    this.#conditions = status.conditions;
    return status;
  }

  #view(): PodView {
    const held = ({ device }: DeviceGrant): HeldDevice => ({ ...device, ...this.#node.deviceHealth(device.name) });
    return {
      pod: this.pod,
      startTimeMs: this.startTimeMs,
      containers: this.containers,
      ...(this.failure === undefined ? {} : { failure: this.failure }),
      devices: this.grants.devices.map((devices) => devices.map(held)),
    };
  }
}
