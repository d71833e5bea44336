/** A pod as the API server sent it: its identity is checked, the rest is for the pods domain to read. */
export interface RawPod {
  readonly metadata: {
    readonly namespace: string;
    readonly name: string;
    readonly uid: string;
    readonly resourceVersion?: string;
    readonly generation?: number;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly deletionTimestamp?: string;
    readonly deletionGracePeriodSeconds?: number;
    readonly ownerReferences?: readonly unknown[];
  };
  readonly spec: unknown;
  readonly status?: unknown;
}

/** What says which pod is meant; the uid tells it from a later one of the same name. */
export interface PodRef {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

export type PodEvent =
  /** All pods of this node; whatever else runs here from the cluster was deleted. */
  | { readonly type: 'sync'; readonly pods: readonly RawPod[] }
  | { readonly type: 'upsert'; readonly pod: RawPod }
  | { readonly type: 'deleted'; readonly uid: string };

/** The value as a pod, without `managedFields` (as large as the rest and of no use here); undefined when it is none. */
export function asRawPod(value: unknown): RawPod | undefined {
  if (!isObject(value) || !isObject(value.metadata) || !isObject(value.spec)) return undefined;
  const { namespace, name, uid } = value.metadata;
  if (typeof namespace !== 'string' || typeof name !== 'string' || typeof uid !== 'string') return undefined;
  delete value.metadata.managedFields;
  return value as unknown as RawPod;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
