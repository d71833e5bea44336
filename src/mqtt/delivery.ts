import { elapsedMs, type Clock } from './clock.ts';
import type { Connection, PublishOutcome } from './connection.ts';
import { rowBytes } from './outbox-table.ts';
import type { Refusals } from './refusals.ts';
import type { MessageSource, WaitingMessage } from './source.ts';

export interface DeliveryOptions {
  /** Unacknowledged messages at a time; the broker may allow fewer. */
  readonly windowSize: number;
  readonly clock: Clock;
  readonly refusals: Refusals;
  /** Something went wrong on our side: the connection is dropped. */
  onError(error: unknown): void;
  onRefused(message: WaitingMessage, reason: string): void;
}

const pageRows = 256;
const pageBytes = 1 << 20;
/** Of all unacknowledged messages; one message may be larger. */
const windowBytes = 1 << 20;
/** MQTT's fixed header, lengths, packet id and properties beside topic and payload. */
const packetOverheadBytes = 32;

/**
 * Moves a source's messages over one connection, in order, a window at a time, from the oldest on. Moved by events
 * only: messages added, acknowledgements, the connection's end. Acknowledgements that arrive together are told to the
 * source together, so that the rows leave in ranges.
 */
export class Delivery {
  readonly #source: MessageSource;
  readonly #connection: Connection;
  readonly #options: DeliveryOptions;
  readonly #window: number;
  readonly #inFlight = new Map<number, WaitingMessage>();
  readonly #stopListening: () => void;
  #inFlightBytes = 0;
  #reserved = 0;
  #page: WaitingMessage[] = [];
  #pageIndex = 0;
  #cursor = 0;
  /** False: the source had nothing after the cursor when last asked. */
  #maybeMore = true;
  #acknowledged: WaitingMessage[] = [];
  #turnScheduled = false;
  #rewind = false;
  #over = false;
  #acknowledgedTotal = 0;
  #idleWaiters: (() => void)[] = [];

  constructor(source: MessageSource, connection: Connection, options: DeliveryOptions) {
    this.#source = source;
    this.#connection = connection;
    this.#options = options;
    this.#window = Math.max(1, Math.min(options.windowSize, connection.receiveMaximum));
    this.#stopListening = source.onWaiting(() => {
      this.#maybeMore = true;
      this.#turn();
    });
    this.#scheduleTurn();
  }

  get inFlight(): number {
    return this.#inFlight.size;
  }

  get acknowledgedTotal(): number {
    return this.#acknowledgedTotal;
  }

  /** One message of our own, in order with the others and within the window. Resolves when it is answered. */
  announce(topic: string, payload: string): Promise<void> {
    return new Promise((resolve) => {
      this.#reserved += 1;
      this.#connection.publish({ topic, payload: Buffer.from(payload), qos: 1, retain: true }, () => {
        this.#reserved -= 1;
        resolve();
        this.#scheduleTurn();
      });
    });
  }

  /** Resolves when everything that waits is acknowledged, or the delivery is over. */
  idle(): Promise<void> {
    if (this.#over || this.#isIdle()) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  /** Tries refused messages again, in their old places before the others, once what is in flight is answered. */
  retryRefused(): void {
    this.#rewind = true;
    this.#scheduleTurn();
  }

  /** Takes nothing more; tells the source what was acknowledged. @returns the unanswered messages, oldest first. */
  end(): WaitingMessage[] {
    if (this.#over) return [];
    this.#stopListening();
    this.#tellSource();
    this.#over = true;
    this.#wakeIdle();
    return [...this.#inFlight.values()];
  }

  #isIdle(): boolean {
    return (
      !this.#maybeMore &&
      this.#pageIndex >= this.#page.length &&
      this.#inFlight.size === 0 &&
      this.#acknowledged.length === 0
    );
  }

  /** Once per turn of the event loop, after all that has arrived was handled. */
  #scheduleTurn(): void {
    if (this.#turnScheduled || this.#over) return;
    this.#turnScheduled = true;
    setImmediate(() => {
      this.#turnScheduled = false;
      this.#turn();
    });
  }

  #turn(): void {
    if (this.#over) return;
    try {
      this.#tellSource();
      this.#fill();
      if (this.#isIdle()) this.#wakeIdle();
    } catch (error) {
      this.#options.onError(error);
      this.#connection.drop();
    }
  }

  #tellSource(): void {
    if (this.#acknowledged.length === 0) return;
    const messages = this.#acknowledged;
    this.#acknowledged = [];
    this.#source.delivered(messages);
  }

  #fill(): void {
    if (this.#rewind) {
      if (this.#inFlight.size > 0) return;
      this.#rewind = false;
      this.#options.refusals.retried(performance.now());
      this.#source.retryRefused();
      this.#cursor = 0;
      this.#page = [];
      this.#pageIndex = 0;
      this.#maybeMore = true;
    }
    const now = this.#options.clock.now();
    const expired: WaitingMessage[] = [];
    while (this.#hasRoom()) {
      const message = this.#next();
      if (message === undefined) break;
      const age = message.expiryMs === null ? undefined : elapsedMs(message, now);
      if (message.expiryMs !== null && age !== undefined && age > message.expiryMs) {
        expired.push(message);
        if (expired.length < pageRows) continue;
        // A long list of old messages must not hold up everybody else.
        this.#scheduleTurn();
        break;
      }
      this.#send(
        message,
        message.expiryMs === null || age === undefined ? undefined : Math.ceil((message.expiryMs - age) / 1_000),
      );
    }
    if (expired.length > 0) this.#source.expired(expired);
  }

  #hasRoom(): boolean {
    const used = this.#inFlight.size + this.#reserved;
    return used < this.#window && (this.#inFlight.size === 0 || this.#inFlightBytes < windowBytes);
  }

  #next(): WaitingMessage | undefined {
    if (this.#pageIndex >= this.#page.length) {
      if (!this.#maybeMore) return undefined;
      this.#page = this.#source.page(this.#cursor, pageRows, pageBytes);
      this.#pageIndex = 0;
      this.#cursor = this.#page.at(-1)?.seq ?? this.#cursor;
      this.#maybeMore = this.#page.length > 0;
    }
    const message = this.#page[this.#pageIndex];
    this.#pageIndex += 1;
    return message;
  }

  #send(message: WaitingMessage, expirySeconds: number | undefined): void {
    const { seq, topic, payload, qos, retain } = message;
    if (this.#options.refusals.has(topic)) return this.#source.refused(message, 'the broker refused its topic before');
    const size = Buffer.byteLength(topic) + payload.length + packetOverheadBytes;
    if (size > this.#connection.maximumPacketSize)
      return this.#refuse(message, `larger than the broker's bound of ${this.#connection.maximumPacketSize} bytes`);
    this.#inFlight.set(seq, message);
    this.#inFlightBytes += rowBytes(topic, payload);
    const expiry = expirySeconds === undefined ? {} : { expirySeconds };
    this.#connection.publish({ topic, payload, qos, retain, ...expiry }, (outcome) => this.#answered(message, outcome));
  }

  #answered(message: WaitingMessage, outcome: PublishOutcome): void {
    // Unanswered when the connection ended: it stays with the source and is sent again by the next delivery.
    if (this.#over) return;
    switch (outcome.state) {
      case 'failed':
        return this.#connection.drop();
      case 'acknowledged':
        this.#landed(message);
        this.#acknowledged.push(message);
        this.#acknowledgedTotal += 1;
        break;
      case 'refused':
        this.#landed(message);
        this.#acknowledgedTotal += 1;
        this.#options.refusals.add(message.topic);
        this.#refuse(message, outcome.reason);
        break;
      default:
        outcome satisfies never;
    }
    this.#scheduleTurn();
  }

  #landed(message: WaitingMessage): void {
    this.#inFlight.delete(message.seq);
    this.#inFlightBytes -= rowBytes(message.topic, message.payload);
  }

  #refuse(message: WaitingMessage, reason: string): void {
    try {
      this.#source.refused(message, reason);
      this.#options.onRefused(message, reason);
    } catch (error) {
      this.#options.onError(error);
      this.#connection.drop();
    }
  }

  #wakeIdle(): void {
    for (const wake of this.#idleWaiters.splice(0)) wake();
  }
}
