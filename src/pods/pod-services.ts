import type { Grant } from '../../hostcalls/grant.ts';
import type { ContainerId, ContainerStart } from '../runner/protocol.ts';
import type { Container, ContainerEffect, RunningImage } from './container-machine.ts';
import type { ContainerSpec, Pod } from './pod.ts';
import type { PodCondition, PodView } from './pod-status.ts';
import type { PodWorker } from './pod-worker.ts';

/** A module ready to run, with the image it came from. */
export interface PreparedModule {
  readonly image: RunningImage;
  readonly modulePath: string;
  readonly moduleDigest: string;
}

export type PodEvent = Extract<ContainerEffect, { type: 'event' }>;

/** What a worker needs of the node. Every call is idempotent for the same container id. */
export interface PodServices {
  readonly hostIP: () => string | undefined;
  readonly nodeName: string;
  readonly defaultMemoryLimitBytes: number;
  /**
   * @param current what the pod's containers have now
   * @throws AdmissionError while the pod can't have what it asks for
   */
  admit(pod: Pod, current: readonly (Grant | undefined)[]): readonly Grant[];
  /** Fetches, checks and precompiles. @throws LoamletError whose code is the waiting reason */
  prepare(
    pod: Pod,
    container: ContainerSpec,
    grant: Grant,
    memoryLimitBytes: number,
    signal: AbortSignal,
  ): Promise<PreparedModule>;
  /** Told to the runner once the pod is saved. */
  start(worker: PodWorker, container: ContainerStart): void;
  stop(id: ContainerId, graceMs: number): void;
  /** The run has ended; the runner is told once that is saved. */
  forget(id: ContainerId): void;
  deviceHealth(name: string): { readonly healthy: boolean; readonly message: string };
  event(pod: Pod, container: string | undefined, event: Omit<PodEvent, 'type'>): void;
  /** The pod's state has changed: to be saved, and its status sent. */
  changed(worker: PodWorker): void;
  /** The pod is over and what it held is free. */
  freed(): void;
  /** Every container has ended and the pod is to go: nothing of it runs any more. */
  gone(worker: PodWorker): void;
  now(): number;
}

/** What is kept of a pod over a restart of the agent; JSON. */
export interface PodRecord {
  readonly startTimeMs: number;
  readonly containers: readonly Container[];
  readonly conditions: readonly PodCondition[];
  /** By container: what its run was started with, and so what the runner lets it touch. */
  readonly grants: readonly (Grant | null)[];
  readonly failure?: NonNullable<PodView['failure']>;
}
