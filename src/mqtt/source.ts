import type { Moment } from './clock.ts';

/** 2 is not supported: exactly once needs a session and packet ids that outlive the connection on both sides. */
export type Qos = 0 | 1;

/** A message on its way to the broker. */
export interface WaitingMessage extends Moment {
  /** Order of publishing; greater than that of every message before it. */
  readonly seq: number;
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: Qos;
  readonly retain: boolean;
  /** Not worth delivering later than this after it was published; null: always. */
  readonly expiryMs: number | null;
}

/** Where the link takes messages from, in order: the outbox on disk, or memory in `loamlet run`. */
export interface MessageSource {
  /** Waiting messages after `seq`, oldest first, up to `maxRows` and about `maxBytes`, at least one when there is any. */
  page(afterSeq: number, maxRows: number, maxBytes: number): WaitingMessage[];
  /** The broker has them. */
  delivered(messages: readonly WaitingMessage[]): void;
  /** Too old to deliver. */
  expired(messages: readonly WaitingMessage[]): void;
  /** The broker does not want this one; it is out of the way of the others. */
  refused(message: WaitingMessage, reason: string): void;
  /** Refused messages wait again, in their old places: the broker's rules may have changed. */
  retryRefused(): void;
  /** Messages that were refused and not yet retried. */
  readonly refusedCount: number;
  /** Calls `listener` whenever messages were added; returns what ends it. One listener at a time. */
  onWaiting(listener: () => void): () => void;
  /** Messages that wait, refused ones left out. */
  readonly waiting: number;
}
