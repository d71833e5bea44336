import type { Database } from '../store/database.ts';
import type { Moment } from './clock.ts';
import { PublishedRanges, type Range } from './published-ranges.ts';
import type { Qos, WaitingMessage } from './source.ts';

/** What a row takes beside topic and payload, in its page and in the index. */
const rowOverheadBytes = 128;

export function rowBytes(topic: string, payload: Uint8Array): number {
  return rowOverheadBytes + Buffer.byteLength(topic) + payload.length;
}

export interface NewRow {
  readonly seq: number;
  readonly runnerId: string;
  readonly publishNo: number;
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly expiryMs: number | null;
}

interface Row {
  seq: number;
  topic: string;
  payload: Buffer;
  qos: Qos;
  retain: 0 | 1;
  expiry_ms: number | null;
  boot_id: string;
  monotonic_ms: number;
  wall_ms: number;
  clock_set: 0 | 1;
}

export interface Totals {
  readonly rows: number;
  readonly refused: number;
  readonly bytes: number;
  readonly lastSeq: number;
}

/** The prepared statements of the tables `outbox` and `published`. Knows no rules. */
export class OutboxTable {
  readonly #insert;
  readonly #page;
  readonly #oldest;
  readonly #deleteRange;
  readonly #refuse;
  readonly #retry;
  readonly #deleteOldestRefused;
  readonly #totals;
  readonly #ranges;
  readonly #saveRange;
  readonly #removeRange;
  readonly #forget;

  constructor({ sqlite }: Database) {
    this.#insert = sqlite.prepare<
      [number, string, number, string, Uint8Array, number, number, number | null, string, number, number, number]
    >(
      `INSERT INTO outbox (seq, runner_id, publish_no, topic, payload, qos, retain, expiry_ms, boot_id, monotonic_ms, wall_ms, clock_set)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (runner_id, publish_no) DO NOTHING`,
    );
    const columns = 'seq, topic, payload, qos, retain, expiry_ms, boot_id, monotonic_ms, wall_ms, clock_set';
    this.#page = sqlite.prepare<[number, number], Row>(
      `SELECT ${columns} FROM outbox WHERE seq > ? AND state = 0 ORDER BY seq LIMIT ?`,
    );
    this.#oldest = sqlite.prepare<[], Row>(`SELECT ${columns} FROM outbox ORDER BY seq LIMIT 1`);
    this.#deleteRange = sqlite.prepare<[number, number]>('DELETE FROM outbox WHERE seq BETWEEN ? AND ?');
    this.#refuse = sqlite.prepare<[number]>('UPDATE outbox SET state = 1 WHERE seq = ? AND state = 0');
    this.#retry = sqlite.prepare<[]>('UPDATE outbox SET state = 0 WHERE state = 1');
    this.#deleteOldestRefused = sqlite.prepare<[], Row>(
      `DELETE FROM outbox WHERE seq = (SELECT min(seq) FROM outbox WHERE state = 1) RETURNING ${columns}`,
    );
    this.#totals = sqlite.prepare<[number], Totals>(
      `SELECT count(*) AS rows, coalesce(sum(state), 0) AS refused, coalesce(max(seq), 0) AS lastSeq,
         coalesce(sum(? + octet_length(topic) + octet_length(payload)), 0) AS bytes FROM outbox`,
    );
    this.#ranges = sqlite.prepare<[string], Range>(
      'SELECT first, last FROM published WHERE runner_id = ? ORDER BY first',
    );
    this.#saveRange = sqlite.prepare<[string, number, number]>(
      'INSERT INTO published (runner_id, first, last) VALUES (?, ?, ?) ON CONFLICT (runner_id, first) DO UPDATE SET last = excluded.last',
    );
    this.#removeRange = sqlite.prepare<[string, number]>('DELETE FROM published WHERE runner_id = ? AND first = ?');
    this.#forget = sqlite.prepare<[string]>('DELETE FROM published WHERE runner_id = ?');
  }

  /** @returns false when this publish is there already. */
  insert(row: NewRow, at: Moment): boolean {
    const { seq, runnerId, publishNo, topic, payload, qos, expiryMs } = row;
    const retain = row.retain ? 1 : 0;
    const clockSet = at.clockSet ? 1 : 0;
    const { changes } = this.#insert.run(
      seq,
      runnerId,
      publishNo,
      topic,
      payload,
      qos,
      retain,
      expiryMs,
      at.bootId,
      at.monotonicMs,
      at.wallMs,
      clockSet,
    );
    return changes === 1;
  }

  /** Stops early at `maxBytes`, after one row at least. */
  page(afterSeq: number, maxRows: number, maxBytes: number): WaitingMessage[] {
    const messages: WaitingMessage[] = [];
    let bytes = 0;
    for (const row of this.#page.iterate(afterSeq, maxRows)) {
      messages.push(message(row));
      bytes += rowBytes(row.topic, row.payload);
      if (bytes >= maxBytes) break;
    }
    return messages;
  }

  oldest(): WaitingMessage | undefined {
    const row = this.#oldest.get();
    return row && message(row);
  }

  delete(messages: readonly WaitingMessage[]): void {
    for (const { first, last } of seqRanges(messages)) this.#deleteRange.run(first, last);
  }

  refuse(seq: number): void {
    this.#refuse.run(seq);
  }

  /** @returns how many. */
  retryRefused(): number {
    return this.#retry.run().changes;
  }

  deleteOldestRefused(): WaitingMessage | undefined {
    const row = this.#deleteOldestRefused.get();
    return row && message(row);
  }

  /** Reads the whole table: once, at the start. */
  totals(): Totals {
    return this.#totals.get(rowOverheadBytes) as Totals;
  }

  ranges(runnerId: string): PublishedRanges {
    return new PublishedRanges(this.#ranges.all(runnerId));
  }

  saveRanges(runnerId: string, ranges: PublishedRanges): void {
    const { saved, removed } = ranges.takeChanges();
    for (const first of removed) this.#removeRange.run(runnerId, first);
    for (const { first, last } of saved) this.#saveRange.run(runnerId, first, last);
  }

  forgetRanges(runnerId: string): void {
    this.#forget.run(runnerId);
  }
}

function message(row: Row): WaitingMessage {
  return {
    seq: row.seq,
    topic: row.topic,
    payload: row.payload,
    qos: row.qos,
    retain: row.retain === 1,
    expiryMs: row.expiry_ms,
    bootId: row.boot_id,
    monotonicMs: row.monotonic_ms,
    wallMs: row.wall_ms,
    clockSet: row.clock_set === 1,
  };
}

/** Adjacent seqs as one range: a window of acknowledged rows is one statement, not sixty-four. */
function seqRanges(messages: readonly WaitingMessage[]): Range[] {
  const ranges: Range[] = [];
  for (const seq of messages.map((each) => each.seq).toSorted((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last !== undefined && seq <= last.last + 1) last.last = seq;
    else ranges.push({ first: seq, last: seq });
  }
  return ranges;
}
