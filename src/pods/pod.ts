/** A pod as the node works with it: what was checked and resolved of a manifest, and nothing else of it. */

export interface ContainerSpec {
  readonly name: string;
  readonly image: string;
  readonly imagePullPolicy: 'Always' | 'IfNotPresent' | 'Never';
  /** argv, the program's name first. */
  readonly args: readonly string[];
  readonly env: readonly EnvVariable[];
  /** Bytes; undefined for the node's default. */
  readonly memoryLimitBytes: number | undefined;
  /** Devices by resource, without the `loamlet.dev/` before it. */
  readonly devices: ReadonlyMap<string, number>;
}

/** A literal value, or a field of the pod that is known on the node. */
export type EnvVariable =
  { readonly name: string; readonly value: string } | { readonly name: string; readonly field: 'nodeName' | 'hostIP' };

export type RestartPolicy = 'Always' | 'OnFailure' | 'Never';

export interface Deletion {
  /** When it has to be over, in milliseconds since the epoch: the API's deletionTimestamp. */
  readonly deadlineMs: number;
  readonly graceSeconds: number;
}

export interface Pod {
  readonly source: 'api' | 'static';
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly generation: number | undefined;
  readonly annotations: Readonly<Record<string, string>>;
  /** What the pod's own topics are named after: its label app.kubernetes.io/name, else its owner, else itself. */
  readonly topicName: string;
  readonly restartPolicy: RestartPolicy;
  readonly terminationGraceSeconds: number;
  readonly activeDeadlineSeconds: number | undefined;
  readonly containers: readonly ContainerSpec[];
  readonly deletion: Deletion | undefined;
  /** What in the manifest this node can't do, one sentence each; such a pod is not started. */
  readonly problems: readonly string[];
  /** The phase the API server has, for pods that have ended already. */
  readonly knownPhase: string | undefined;
}

/** For messages: `namespace/name`. */
export function podLabel(pod: Pick<Pod, 'namespace' | 'name'>): string {
  return `${pod.namespace}/${pod.name}`;
}
