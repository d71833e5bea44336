import type { ApiClient } from './api-client.ts';
import { hasCode } from './errors.ts';

const leases = '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases';

/** Renewed more often than the node's status and much smaller: without it for 40 s (50 s by default) the node is lost. */
export class NodeLease {
  static readonly durationSeconds = 40;
  static readonly renewMs = 10_000;
  readonly #client: ApiClient;
  readonly #nodeName: string;

  constructor(client: ApiClient, nodeName: string) {
    this.#client = client;
    this.#nodeName = nodeName;
  }

  /**
   * @returns false when there was no lease any more: it is owned by the Node object and goes with it
   * @throws ClusterError
   */
  async renew(signal: AbortSignal): Promise<boolean> {
    try {
      await this.#client.patch(
        `${leases}/${this.#nodeName}`,
        'merge',
        { spec: { renewTime: microTime(new Date()) } },
        { signal, timeoutMs: NodeLease.renewMs },
      );
      return true;
    } catch (error) {
      if (hasCode(error, 'ApiNotFound')) return false;
      throw error;
    }
  }

  /** Creates the lease, or takes over the one an earlier Node object of this name left behind. @throws ClusterError */
  async create(nodeUid: string, signal: AbortSignal): Promise<void> {
    const name = this.#nodeName;
    const metadata = { name, ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name, uid: nodeUid }] };
    const spec = {
      holderIdentity: name,
      leaseDurationSeconds: NodeLease.durationSeconds,
      renewTime: microTime(new Date()),
    };
    try {
      await this.#client.post(
        leases,
        { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata, spec },
        { signal },
      );
    } catch (error) {
      if (!hasCode(error, 'ApiConflict')) throw error;
      await this.#client.patch(
        `${leases}/${name}`,
        'merge',
        { metadata: { ownerReferences: metadata.ownerReferences }, spec },
        { signal },
      );
    }
  }
}

/** RFC 3339 with exactly six digits, which is all that a Lease takes. */
function microTime(date: Date): string {
  return date.toISOString().replace('Z', '000Z');
}
