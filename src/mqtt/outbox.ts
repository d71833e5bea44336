import { errorLine, systemCode } from '../base/errors.ts';
import type { Logger } from '../observe/logger.ts';
import type { Database } from '../store/database.ts';
import { elapsedMs, systemClock, type Clock, type Moment } from './clock.ts';
import { itemFault, type AppendResult, type OutboxItem } from './outbox-item.ts';
import { OutboxTable, rowBytes } from './outbox-table.ts';
import type { PublishedRanges } from './published-ranges.ts';
import type { MessageSource, WaitingMessage } from './source.ts';

export type { AppendResult, OutboxItem } from './outbox-item.ts';

export interface OutboxOptions {
  /** @default 1,000,000 */
  readonly maxRows?: number;
  /** Topic and payload bytes and 128 a row. @default 256 MiB */
  readonly maxBytes?: number;
  /** Of one payload. @default 1 MiB */
  readonly maxPayloadBytes?: number;
  /** Messages the broker refused, kept for another try; past it the oldest is dropped. @default 10,000 */
  readonly maxRefused?: number;
  /** @default the system's */
  readonly clock?: Clock;
}

export interface OutboxStats {
  /** Rows on disk that wait for the broker. */
  readonly waiting: number;
  /** Rows on disk that the broker refused. */
  readonly refused: number;
  readonly bytes: number;
  /** Age of the oldest row; undefined when there is none, or the clock was not set then. */
  readonly oldestAgeMs: number | undefined;
  /** Since this process started. */
  readonly committedTotal: number;
  readonly repeatedTotal: number;
  readonly deliveredTotal: number;
  readonly expiredTotal: number;
  /** Refused by the broker and dropped at the bound. */
  readonly droppedTotal: number;
  /** Answered with `full`. */
  readonly fullTotal: number;
  readonly commits: number;
  /** The thread stood still for this long in commits. */
  readonly commitMsTotal: number;
  readonly commitMsMax: number;
}

/** A commit that keeps the lease and everybody else waiting; worth a word. */
const slowCommitMs = 300;

interface Pending {
  readonly items: readonly OutboxItem[];
  readonly resolve: (results: AppendResult[]) => void;
}

const committed: AppendResult = { state: 'committed' };

/**
 * The messages modules were told are published and the broker does not have yet, on disk in the order of publishing.
 *
 * `append` answers when its rows are committed. The commit starts once the event loop has read what was there to read
 * (no timer), so publishes that arrive together share one wait for the disk. Rows leave by `delivered` and `expired`;
 * those the broker `refused` step aside and are tried again after the next connect.
 */
export class Outbox implements MessageSource, Disposable {
  readonly #database: Database;
  readonly #table: OutboxTable;
  readonly #log: Logger;
  readonly #options: Required<OutboxOptions>;
  /** Loaded when a runner first publishes; dropped, to be read again, when a commit fails. */
  readonly #published = new Map<string, PublishedRanges>();
  #pending: Pending[] = [];
  #undeleted: WaitingMessage[] = [];
  #listener: (() => void) | undefined;
  #closed = false;
  /** The last commit failed. */
  #failing = false;

  #lastSeq: number;
  #rows: number;
  #refused: number;
  #bytes: number;
  readonly #counts = {
    committed: 0,
    repeated: 0,
    delivered: 0,
    expired: 0,
    dropped: 0,
    full: 0,
    commits: 0,
    commitMs: 0,
    commitMsMax: 0,
  };

  constructor(database: Database, log: Logger, options: OutboxOptions = {}) {
    this.#database = database;
    this.#log = log;
    this.#options = {
      maxRows: 1_000_000,
      maxBytes: 256 << 20,
      maxPayloadBytes: 1 << 20,
      maxRefused: 10_000,
      ...options,
      clock: options.clock ?? systemClock(),
    };
    this.#table = new OutboxTable(database);
    const totals = this.#table.totals();
    this.#lastSeq = totals.lastSeq;
    this.#rows = totals.rows;
    this.#refused = totals.refused;
    this.#bytes = totals.bytes;
  }

  get waiting(): number {
    return this.#rows - this.#refused - this.#undeleted.length;
  }

  /** Answers in the order of `items`, when they are committed or known not to be. Never rejects. */
  append(items: readonly OutboxItem[]): Promise<AppendResult[]> {
    return new Promise((resolve) => {
      if (this.#closed) return resolve(items.map(() => ({ state: 'failed', message: 'the agent is stopping' })));
      this.#pending.push({ items, resolve });
      if (this.#pending.length === 1) setImmediate(() => this.#commit());
    });
  }

  #commit(): void {
    const batch = this.#pending;
    this.#pending = [];
    if (batch.length === 0) return;
    const started = performance.now();
    const before = { lastSeq: this.#lastSeq, rows: this.#rows, bytes: this.#bytes, counts: { ...this.#counts } };
    const touched = new Set<string>();
    let answers: AppendResult[][];
    try {
      answers = this.#database.transaction(() => {
        const now = this.#options.clock.now();
        const results = batch.map(({ items }) => items.map((item) => this.#store(item, now, touched)));
        for (const runnerId of touched) this.#table.saveRanges(runnerId, this.#rangesOf(runnerId));
        return results;
      });
    } catch (error) {
      this.#lastSeq = before.lastSeq;
      this.#rows = before.rows;
      this.#bytes = before.bytes;
      Object.assign(this.#counts, before.counts);
      for (const runnerId of touched) this.#published.delete(runnerId);
      // Once: a full disk fails every commit, and modules try again each second.
      if (!this.#failing)
        this.#log.error({ err: error }, 'messages of modules are refused: the outbox cannot be written');
      this.#failing = true;
      const answer = failure(error);
      answers = batch.map(({ items }) => items.map(() => answer));
    }
    if (this.#failing && answers.some((answer) => answer.some(({ state }) => state === 'committed'))) {
      this.#failing = false;
      this.#log.info({}, 'the outbox can be written again');
    }
    this.#measure(performance.now() - started);
    for (const [index, { resolve }] of batch.entries()) resolve(answers[index] ?? []);
    if (this.#rows > before.rows) this.#listener?.();
  }

  #store(item: OutboxItem, now: Moment, touched: Set<string>): AppendResult {
    const { runnerId, publishNo, topic, payload, qos, retain } = item;
    const fault = itemFault(item, this.#options.maxPayloadBytes);
    if (fault !== undefined) return { state: 'refused', message: fault };
    const ranges = this.#rangesOf(runnerId);
    if (ranges.has(publishNo)) {
      this.#counts.repeated += 1;
      return committed;
    }
    const bytes = rowBytes(topic, payload);
    const bound = this.#bound(bytes);
    if (bound !== undefined) {
      this.#counts.full += 1;
      return { state: 'full', message: bound };
    }
    const expiryMs = item.expiryMs ?? null;
    const wallMs = Number.isFinite(item.atMs) ? Math.round(item.atMs) : now.wallMs;
    touched.add(runnerId);
    ranges.add(publishNo);
    const row = { seq: this.#lastSeq + 1, runnerId, publishNo, topic, payload, qos, retain, expiryMs };
    if (!this.#table.insert(row, { ...now, wallMs })) {
      this.#counts.repeated += 1;
      return committed;
    }
    this.#lastSeq += 1;
    this.#rows += 1;
    this.#bytes += bytes;
    this.#counts.committed += 1;
    return committed;
  }

  #bound(bytes: number): string | undefined {
    if (this.#rows >= this.#options.maxRows) return `the outbox holds ${this.#rows} messages, its bound`;
    if (this.#bytes + bytes > this.#options.maxBytes)
      return `the outbox holds ${this.#bytes} bytes, its bound is ${this.#options.maxBytes}`;
    return undefined;
  }

  #rangesOf(runnerId: string): PublishedRanges {
    let ranges = this.#published.get(runnerId);
    if (ranges === undefined) {
      ranges = this.#table.ranges(runnerId);
      this.#published.set(runnerId, ranges);
    }
    return ranges;
  }

  #measure(ms: number): void {
    this.#counts.commits += 1;
    this.#counts.commitMs += ms;
    if (ms >= slowCommitMs && ms > this.#counts.commitMsMax)
      this.#log.warn({ ms: Math.round(ms) }, 'the disk is slow: the agent stood still for a commit');
    this.#counts.commitMsMax = Math.max(this.#counts.commitMsMax, ms);
  }

  page(afterSeq: number, maxRows: number, maxBytes: number): WaitingMessage[] {
    return this.#table.page(afterSeq, maxRows, maxBytes);
  }

  delivered(messages: readonly WaitingMessage[]): void {
    this.#counts.delivered += messages.length;
    this.#delete(messages);
  }

  expired(messages: readonly WaitingMessage[]): void {
    this.#counts.expired += messages.length;
    this.#delete(messages);
  }

  /** Rows that could not be deleted are tried again with the next ones; after a restart they would be sent again. */
  #delete(messages: readonly WaitingMessage[]): void {
    const all = this.#undeleted.length === 0 ? messages : [...this.#undeleted, ...messages];
    try {
      this.#database.lazyTransaction(() => this.#table.delete(all));
      this.#undeleted = [];
      this.#rows -= all.length;
      for (const { topic, payload } of all) this.#bytes -= rowBytes(topic, payload);
    } catch (error) {
      this.#undeleted = [...all];
      this.#log.error({ err: error, messages: all.length }, 'delivered messages could not be deleted');
    }
  }

  refused(message: WaitingMessage, reason: string): void {
    const dropped = this.#database.lazyTransaction(() => {
      this.#table.refuse(message.seq);
      return this.#refused >= this.#options.maxRefused ? this.#table.deleteOldestRefused() : undefined;
    });
    this.#refused += 1;
    if (dropped === undefined) return;
    this.#refused -= 1;
    this.#rows -= 1;
    this.#bytes -= rowBytes(dropped.topic, dropped.payload);
    this.#counts.dropped += 1;
    this.#log.error(
      { topic: dropped.topic, reason, bound: this.#options.maxRefused },
      'message dropped: too many are refused by the broker',
    );
  }

  get refusedCount(): number {
    return this.#refused;
  }

  retryRefused(): void {
    if (this.#refused === 0) return;
    this.#database.lazyTransaction(() => this.#table.retryRefused());
    this.#refused = 0;
  }

  onWaiting(listener: () => void): () => void {
    this.#listener = listener;
    return () => {
      if (this.#listener === listener) this.#listener = undefined;
    };
  }

  /** A runner that ended will repeat nothing: its publish numbers need not be remembered. Its messages stay. */
  forget(runnerId: string): void {
    this.#published.delete(runnerId);
    this.#database.lazyTransaction(() => this.#table.forgetRanges(runnerId));
  }

  stats(): OutboxStats {
    const oldest = this.#rows === 0 ? undefined : this.#table.oldest();
    const {
      committed: committedTotal,
      repeated,
      delivered,
      expired,
      dropped,
      full,
      commits,
      commitMs,
      commitMsMax,
    } = this.#counts;
    return {
      waiting: this.waiting,
      refused: this.#refused,
      bytes: this.#bytes,
      oldestAgeMs: oldest && elapsedMs(oldest, this.#options.clock.now()),
      committedTotal,
      repeatedTotal: repeated,
      deliveredTotal: delivered,
      expiredTotal: expired,
      droppedTotal: dropped,
      fullTotal: full,
      commits,
      commitMsTotal: commitMs,
      commitMsMax,
    };
  }

  /** Commits what was appended and takes no more. The database is its owner's to close. */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.#commit();
  }
}

function failure(error: unknown): AppendResult {
  if (systemCode(error) === 'SQLITE_FULL') return { state: 'full', message: 'the disk is full' };
  return { state: 'failed', message: errorLine(error) };
}
