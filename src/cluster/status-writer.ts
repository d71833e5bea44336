import { errorLine } from '../base/errors.ts';
import type { Logger } from '../observe/logger.ts';
import type { ApiClient } from './api-client.ts';
import { hasCode, isTransient } from './errors.ts';
import { asRawPod, isObject, type PodRef, type RawPod } from './raw-pod.ts';
import { Backoff, sleep } from './retry.ts';

/** A `PodStatus` in full, as a strategic merge takes it: every container, and `null` for a reason that is no more. */
export type PodStatusPatch = object;

interface Entry {
  readonly pod: PodRef;
  status: PodStatusPatch;
  /** Raised with each status or wish to send again. */
  wanted: number;
  /** The value of `wanted` that the API server has. */
  sent: number;
  worker: Promise<void> | undefined;
  /** The pod's resourceVersion after our last write; what a watch still tells of older ones is history. */
  version: bigint;
  /** What the watch told while a write was under way. */
  seen: RawPod | undefined;
  /** By `performance.now`. */
  sentMs: number;
  notBeforeMs: number;
}

const maxPods = 10_000;

/**
 * Brings each pod's latest status to the API server; what is overtaken before it could be sent is not sent.
 *
 * Bounds: one status each for 10,000 pods, beyond which the oldest one that has arrived is let go, else the new one;
 * 4 requests at a time; retries for ever, 0.25 s to 10 s apart, while the API server is away.
 */
export class StatusWriter {
  readonly #client: ApiClient;
  readonly #nodeName: string;
  readonly #log: Logger;
  readonly #signal: AbortSignal;
  readonly #entries = new Map<string, Entry>();
  #free = 4;
  readonly #waiting: Array<() => void> = [];

  constructor(client: ApiClient, nodeName: string, log: Logger, signal: AbortSignal) {
    this.#client = client;
    this.#nodeName = nodeName;
    this.#log = log;
    this.#signal = signal;
  }

  /** The pod's status from now on; returns at once. */
  set(pod: PodRef, status: PodStatusPatch): void {
    let entry = this.#entries.get(pod.uid);
    if (entry === undefined) {
      if (!this.#makeRoom()) {
        this.#log.error(
          { pod: `${pod.namespace}/${pod.name}` },
          'too many pod statuses wait: this one is not reported',
        );
        return;
      }
      entry = {
        pod,
        status,
        wanted: 0,
        sent: 0,
        worker: undefined,
        version: 0n,
        seen: undefined,
        sentMs: 0,
        notBeforeMs: 0,
      };
      this.#entries.set(pod.uid, entry);
    }
    entry.status = status;
    entry.notBeforeMs = 0;
    entry.wanted++;
    this.#start(entry);
  }

  /**
   * The pod as the API server has it. When its phase or a condition is not what we last said (the node controller sets
   * Ready=False on the pods of a silent node), our status is sent again, at most once a second.
   */
  observe(pod: RawPod): void {
    const entry = this.#entries.get(pod.metadata.uid);
    if (entry === undefined) return;
    if (entry.sent !== entry.wanted) {
      entry.seen = pod;
      return;
    }
    const version = versionOf(pod);
    if ((version !== undefined && version <= entry.version) || agrees(pod.status, entry.status)) return;
    entry.notBeforeMs = entry.sentMs + 1_000;
    entry.wanted++;
    this.#start(entry);
  }

  /** Sends every status again, in full; after the API server or the network was away. */
  resendAll(): void {
    for (const entry of this.#entries.values()) {
      entry.wanted++;
      this.#start(entry);
    }
  }

  /** Says no more about this pod. */
  forget(uid: string): void {
    this.#entries.delete(uid);
  }

  /** Resolves when the pod's latest status has arrived, or there is nobody to take it. @throws the signal's reason */
  async flush(uid: string): Promise<void> {
    for (let entry = this.#entries.get(uid); entry !== undefined && this.#isDirty(entry);) {
      await entry.worker;
      this.#signal.throwIfAborted();
    }
  }

  /**
   * Ends a deleted pod whose containers have ended: its last status first, then the DELETE without which the object
   * stays Terminating for ever. Resolves when it is gone; until then it tries again.
   * @throws the signal's reason
   */
  async finalize(pod: PodRef): Promise<void> {
    await this.flush(pod.uid);
    this.#entries.delete(pod.uid);
    const options = { apiVersion: 'v1', kind: 'DeleteOptions', gracePeriodSeconds: 0, preconditions: { uid: pod.uid } };
    const backoff = new Backoff(250, 10_000);
    for (;;) {
      try {
        await this.#client.delete(path(pod), options, { signal: this.#signal });
        return;
      } catch (error) {
        this.#signal.throwIfAborted();
        // Gone, or another uid has the name (409).
        if (hasCode(error, 'ApiNotFound', 'ApiConflict')) return;
        if (hasCode(error, 'ApiForbidden') && (await this.#isGone(pod))) return;
        this.#log.debug({ pod: `${pod.namespace}/${pod.name}`, error: errorLine(error) }, 'pod not deleted yet');
        await backoff.wait(this.#signal);
      }
    }
  }

  #start(entry: Entry): void {
    entry.worker ??= this.#work(entry)
      .catch((error: unknown) => {
        if (!this.#signal.aborted) this.#log.error({ error: errorLine(error) }, 'status writer failed');
      })
      .finally(() => {
        entry.worker = undefined;
        // Set between the worker's last look and now.
        if (this.#isDirty(entry) && !this.#signal.aborted) this.#start(entry);
      });
  }

  #isDirty(entry: Entry): boolean {
    return entry.sent !== entry.wanted && this.#entries.get(entry.pod.uid) === entry;
  }

  async #work(entry: Entry): Promise<void> {
    const { pod } = entry;
    const backoff = new Backoff(250, 10_000);
    while (this.#isDirty(entry)) {
      const early = entry.notBeforeMs - performance.now();
      if (early > 0) await sleep(early, this.#signal);
      await this.#acquire();
      const sending = entry.wanted;
      try {
        const body = { metadata: { uid: pod.uid }, status: entry.status };
        const written = await this.#client.patch<RawPod>(`${path(pod)}/status`, 'strategic-merge', body, {
          signal: this.#signal,
        });
        entry.version = versionOf(written) ?? 0n;
        entry.sentMs = performance.now();
        entry.sent = sending;
        backoff.reset();
        const { seen } = entry;
        entry.seen = undefined;
        if (seen !== undefined) this.observe(seen);
        continue;
      } catch (error) {
        this.#signal.throwIfAborted();
        if (await this.#isRefused(entry, error, sending)) continue;
        this.#log.debug({ pod: `${pod.namespace}/${pod.name}`, error: errorLine(error) }, 'pod status not sent yet');
      } finally {
        this.#release();
      }
      await backoff.wait(this.#signal);
    }
  }

  /** Whether sending it again makes no sense. */
  async #isRefused(entry: Entry, error: unknown, sending: number): Promise<boolean> {
    const { pod } = entry;
    const otherUid = hasCode(error, 'ApiInvalid', 'ApiConflict') && /\buid\b/i.test(error.message);
    if (hasCode(error, 'ApiNotFound') || otherUid || (hasCode(error, 'ApiForbidden') && (await this.#isGone(pod)))) {
      this.#entries.delete(pod.uid);
      return true;
    }
    if (isTransient(error) || !hasCode(error, 'ApiInvalid', 'ApiFailed')) return false;
    // The same bytes would be refused again; the next status may not be.
    this.#log.error({ pod: `${pod.namespace}/${pod.name}`, error: errorLine(error) }, 'pod status refused');
    entry.sent = sending;
    return true;
  }

  /** A 403 says that the pod is not (or, just after it was bound, not yet) one of this node's: a list decides. */
  async #isGone({ namespace, name, uid }: PodRef): Promise<boolean> {
    try {
      const query = { fieldSelector: `spec.nodeName=${this.#nodeName},metadata.name=${name}` };
      const list = await this.#client.get<{ items?: unknown[] }>(`/api/v1/namespaces/${namespace}/pods`, {
        query,
        signal: this.#signal,
      });
      return !(list.items ?? []).some((item) => asRawPod(item)?.metadata.uid === uid);
    } catch {
      this.#signal.throwIfAborted();
      return false;
    }
  }

  #makeRoom(): boolean {
    if (this.#entries.size < maxPods) return true;
    for (const [uid, { sent, wanted }] of this.#entries) if (sent === wanted) return this.#entries.delete(uid);
    return false;
  }

  async #acquire(): Promise<void> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #release(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next();
  }
}

function path({ namespace, name }: PodRef): string {
  return `/api/v1/namespaces/${namespace}/pods/${name}`;
}

/** API servers promise since 1.35 that these are numbers that grow. */
function versionOf({ metadata }: RawPod): bigint | undefined {
  const { resourceVersion = '' } = metadata;
  return /^\d{1,20}$/.test(resourceVersion) ? BigInt(resourceVersion) : undefined;
}

function agrees(theirs: unknown, ours: PodStatusPatch): boolean {
  if (!isObject(theirs) || !isObject(ours) || theirs.phase !== ours.phase) return false;
  const conditions = new Map(conditionsOf(theirs).map(({ type, status }) => [type, status]));
  return conditionsOf(ours).every(({ type, status }) => conditions.get(type) === status);
}

function conditionsOf(status: Readonly<Record<string, unknown>>): Array<Record<string, unknown>> {
  return Array.isArray(status.conditions) ? status.conditions.filter(isObject) : [];
}
