import { errorLine } from '../base/errors.ts';
import type { Logger } from '../observe/logger.ts';
import type { ApiClient } from './api-client.ts';
import { hasCode, isTransient } from './errors.ts';
import { Backoff } from './retry.ts';

/** What an Event is about. */
export interface ObjectRef {
  readonly kind: 'Pod' | 'Node';
  readonly namespace?: string;
  readonly name: string;
  readonly uid: string;
  /** `spec.containers{c}` for one container. */
  readonly fieldPath?: string;
}

interface Series {
  readonly key: string;
  readonly object: ObjectRef;
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
  readonly name: string;
  readonly firstTimestamp: string;
  lastTimestamp: string;
  count: number;
  /** The count that the API server has; 0: no Event yet. */
  sent: number;
}

interface Bucket {
  tokens: number;
  filledMs: number;
}

const maxSeries = 1000;
const maxQueue = 500;
/** As client-go's spam filter: 25 Events of one object at once, then one in 5 minutes. */
const burst = 25;
const refillMs = 300_000;
/** The API server truncates nothing: a message over 1 KiB would be refused. */
const maxMessage = 1000;

/**
 * Records Events: one object for the same words about the same thing, with a count. Never blocks and never fails.
 *
 * Bounds: 500 wait to be sent while the API server is away, 1,000 are remembered for counting, 25 at once and one in
 * 5 minutes for one object; what is beyond is dropped and counted in the log.
 */
export class EventRecorder {
  readonly #client: ApiClient;
  readonly #source: string;
  readonly #log: Logger;
  readonly #signal: AbortSignal;
  readonly #series = new Map<string, Series>();
  readonly #buckets = new Map<string, Bucket>();
  readonly #queue = new Set<Series>();
  #dropped = 0;
  #worker: Promise<void> | undefined;

  constructor(client: ApiClient, nodeName: string, log: Logger, signal: AbortSignal) {
    this.#client = client;
    this.#source = nodeName;
    this.#log = log;
    this.#signal = signal;
  }

  /** Events that were not sent for one of the bounds. */
  get dropped(): number {
    return this.#dropped;
  }

  record(object: ObjectRef, type: 'Normal' | 'Warning', reason: string, message: string): void {
    if (this.#signal.aborted) return;
    const text = message.slice(0, maxMessage);
    const key = JSON.stringify([object.uid, object.fieldPath, type, reason, text]);
    const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
    const known = this.#series.get(key);
    // Counted in any case, told as far as the bucket allows.
    if (known !== undefined) {
      known.count++;
      known.lastTimestamp = now;
    }
    if (!this.#take(object.uid)) return;
    if (this.#queue.size >= maxQueue && !(known !== undefined && this.#queue.has(known))) {
      if (this.#dropped++ === 0) this.#log.warn({}, 'too many Events wait: some are dropped');
      return;
    }
    const name = `${object.name.slice(0, 230)}.${uniqueHex()}`;
    const series = known ?? {
      key,
      object,
      type,
      reason,
      message: text,
      name,
      firstTimestamp: now,
      lastTimestamp: now,
      count: 1,
      sent: 0,
    };
    this.#remember(series);
    this.#queue.add(series);
    this.#start();
  }

  /** Resolves when nothing waits any more, or the recorder was ended. */
  async flush(): Promise<void> {
    while (this.#worker !== undefined) await this.#worker;
  }

  #start(): void {
    this.#worker ??= this.#work().finally(() => {
      this.#worker = undefined;
      // Recorded between the worker's last look and now.
      if (this.#queue.size > 0 && !this.#signal.aborted) this.#start();
    });
  }

  async #work(): Promise<void> {
    const backoff = new Backoff();
    for (const series of this.#queue) {
      try {
        await this.#send(series);
        this.#queue.delete(series);
        backoff.reset();
        // What was counted meanwhile.
        if (series.sent !== series.count) this.#queue.add(series);
      } catch (error) {
        if (this.#signal.aborted) return;
        if (!isTransient(error)) {
          this.#queue.delete(series);
          this.#log.debug({ reason: series.reason, error: errorLine(error) }, 'Event refused');
          continue;
        }
        // To the end of the queue, so that the loop comes to it again.
        this.#queue.delete(series);
        this.#queue.add(series);
        try {
          await backoff.wait(this.#signal);
        } catch {
          return;
        }
      }
    }
  }

  async #send(series: Series): Promise<void> {
    const namespace = series.object.namespace ?? 'default';
    const path = `/api/v1/namespaces/${namespace}/events`;
    const { count, lastTimestamp } = series;
    if (series.sent > 0) {
      try {
        await this.#client.patch(
          `${path}/${series.name}`,
          'strategic-merge',
          { count, lastTimestamp },
          { signal: this.#signal },
        );
        series.sent = count;
        return;
      } catch (error) {
        // Events live for an hour.
        if (!hasCode(error, 'ApiNotFound')) throw error;
      }
    }
    const { kind, name, uid, fieldPath } = series.object;
    const event = {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: series.name, namespace },
      involvedObject: { apiVersion: 'v1', kind, name, uid, namespace: series.object.namespace, fieldPath },
      type: series.type,
      reason: series.reason,
      message: series.message,
      source: { component: 'loamlet', host: this.#source },
      reportingComponent: 'loamlet',
      reportingInstance: this.#source,
      firstTimestamp: series.firstTimestamp,
      lastTimestamp,
      count,
    };
    try {
      await this.#client.post(path, event, { signal: this.#signal });
    } catch (error) {
      // It is there: an earlier try had arrived after all.
      if (!hasCode(error, 'ApiConflict')) throw error;
    }
    series.sent = count;
  }

  #remember(series: Series): void {
    this.#series.delete(series.key);
    this.#series.set(series.key, series);
    if (this.#series.size <= maxSeries) return;
    for (const oldest of this.#series.keys()) {
      this.#series.delete(oldest);
      break;
    }
  }

  /** Takes a token of this object's bucket. */
  #take(uid: string): boolean {
    const now = performance.now();
    const bucket = this.#buckets.get(uid) ?? { tokens: burst, filledMs: now };
    const refilled = Math.floor((now - bucket.filledMs) / refillMs);
    bucket.tokens = Math.min(burst, bucket.tokens + refilled);
    bucket.filledMs += refilled * refillMs;
    this.#buckets.delete(uid);
    this.#buckets.set(uid, bucket);
    if (this.#buckets.size > maxSeries) this.#buckets.delete(this.#buckets.keys().next().value ?? uid);
    if (bucket.tokens < 1) {
      this.#dropped++;
      return false;
    }
    bucket.tokens--;
    return true;
  }
}

let counter = 0;

/** As client-go names Events: by time, made unique within a moment. */
function uniqueHex(): string {
  return (BigInt(Date.now()) * 1_000_000n + BigInt(counter++ % 1_000_000)).toString(16);
}
