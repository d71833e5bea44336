import type { Guest } from '../../hostcalls/guest.ts';
import type { Publication, Publisher, PublishOutcome } from '../../hostcalls/messaging.ts';
import { encodeFrame } from './frames.ts';
import type { Instance } from './instance.ts';
import type { PublishItem, PublishResult } from './protocol.ts';

const maxWaiting = 16_384;
const maxWaitingBytes = 64 << 20;
/** Of payloads in one frame. */
const frameBytes = 1 << 20;
const frameItems = 1024;

interface Waiting {
  readonly item: PublishItem;
  readonly payload: Uint8Array;
  readonly settle: (outcome: PublishOutcome) => void;
}

/**
 * Publishes on their way to the agent's outbox. Each waits until the agent answers that it is on disk; what has no answer when
 * an agent goes away is sent again to the next, under the same number. At most 16,384 publishes and 64 MiB wait;
 * past that a module is told `full`. A publish goes on when its module ends: it was made.
 */
export class PublishQueue implements Publisher {
  readonly #waiting = new Map<number, Waiting>();
  #unsent: Waiting[] = [];
  #bytes = 0;
  #lastNo = 0;
  #scheduled = false;
  #send: ((frame: Buffer) => void) | undefined;

  get size(): number {
    return this.#waiting.size;
  }

  publish(guest: Guest, publication: Publication): Promise<PublishOutcome> {
    const { topic, payload, takenAtMs = Date.now(), expiryMs } = publication;
    if (this.#waiting.size >= maxWaiting || this.#bytes + payload.length > maxWaitingBytes) {
      return Promise.resolve({ case: 'full' });
    }
    return new Promise((settle) => {
      const publishNo = ++this.#lastNo;
      const { id } = guest as Guest & Instance;
      const item = { publishNo, id, topic, length: payload.length, atMs: takenAtMs };
      const waiting: Waiting = { item: expiryMs === undefined ? item : { ...item, expiryMs }, payload, settle };
      this.#waiting.set(publishNo, waiting);
      this.#bytes += payload.length;
      this.#unsent.push(waiting);
      this.#schedule();
    });
  }

  attach(send: (frame: Buffer) => void): void {
    this.#send = send;
    this.#unsent = [...this.#waiting.values()];
    this.#schedule();
  }

  detach(): void {
    this.#send = undefined;
    this.#unsent = [];
  }

  published(results: readonly PublishResult[]): void {
    for (const { publishNo, error } of results) {
      const waiting = this.#waiting.get(publishNo);
      if (!waiting) continue;
      this.#waiting.delete(publishNo);
      this.#bytes -= waiting.payload.length;
      waiting.settle(error);
    }
  }

  #schedule(): void {
    if (this.#scheduled || !this.#send || this.#unsent.length === 0) return;
    this.#scheduled = true;
    setImmediate(this.#flush);
  }

  /** Sends what a turn of the event loop has gathered, so that the agent commits it in one transaction. */
  #flush = (): void => {
    this.#scheduled = false;
    while (this.#send && this.#unsent.length > 0) {
      let count = 0;
      let bytes = 0;
      for (const { payload, item } of this.#unsent) {
        if (count > 0 && (count >= frameItems || bytes + payload.length + item.topic.length > frameBytes)) break;
        bytes += payload.length + item.topic.length;
        count++;
      }
      const batch = this.#unsent.splice(0, count);
      const items = batch.map(({ item }) => item);
      this.#send(
        encodeFrame(
          { type: 'publish', items },
          batch.map(({ payload }) => payload),
        ),
      );
    }
  };
}
