import type { Clock, Moment } from '../../src/mqtt/clock.ts';
import { Outbox, type OutboxItem, type OutboxOptions } from '../../src/mqtt/outbox.ts';
import { Database } from '../../src/store/database.ts';
import { StateFolder } from './state-folder.ts';
import { TestLog } from './test-log.ts';

/** An outbox on a real SQLite file. `reopen` is the next start of the agent. */
export class OutboxWorld implements Disposable {
  readonly #folder = new StateFolder();
  readonly #options: OutboxOptions;
  readonly testLog = new TestLog();
  database: Database;
  outbox: Outbox;

  constructor(options: OutboxOptions = {}) {
    this.#options = options;
    this.database = Database.open(this.path, this.testLog.log);
    this.outbox = new Outbox(this.database, this.testLog.log, options);
  }

  get path(): string {
    return this.#folder.file('state.db');
  }

  get log() {
    return this.testLog.log;
  }

  reopen(options: OutboxOptions = this.#options): Outbox {
    this.outbox[Symbol.dispose]();
    this.database[Symbol.dispose]();
    this.database = Database.open(this.path, this.log);
    this.outbox = new Outbox(this.database, this.log, options);
    return this.outbox;
  }

  /** Payloads that wait, oldest first. */
  waiting(): string[] {
    return this.outbox.page(0, 100_000, Infinity).map(({ payload }) => Buffer.from(payload).toString());
  }

  [Symbol.dispose](): void {
    this.outbox[Symbol.dispose]();
    this.database[Symbol.dispose]();
    this.#folder[Symbol.dispose]();
  }
}

/** Publish number `publishNo` of one runner; the payload is the number. */
export function item(publishNo: number, changes: Partial<OutboxItem> = {}): OutboxItem {
  return {
    runnerId: 'runner-a',
    publishNo,
    topic: 'garden/bed-3/moisture',
    payload: Buffer.from(String(publishNo)),
    qos: 1,
    retain: false,
    atMs: Date.UTC(2026, 5, 1),
    ...changes,
  };
}

/** Publish numbers `first` to `last`. */
export function items(first: number, last: number, changes: Partial<OutboxItem> = {}): OutboxItem[] {
  return Array.from({ length: last - first + 1 }, (_, index) => item(first + index, changes));
}

export function numbers(first: number, last: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, index) => String(first + index));
}

/** A clock that stands still until it is told. */
export class ManualClock implements Clock {
  moment: Moment = { bootId: 'boot-1', monotonicMs: 1_000, wallMs: Date.UTC(2026, 5, 1), clockSet: true };

  now(): Moment {
    return this.moment;
  }

  pass(ms: number): void {
    const { monotonicMs, wallMs } = this.moment;
    this.moment = { ...this.moment, monotonicMs: monotonicMs + ms, wallMs: wallMs + ms };
  }
}
