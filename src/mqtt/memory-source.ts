import type { Clock } from './clock.ts';
import { MqttError } from './errors.ts';
import type { MessageSource, Qos, WaitingMessage } from './source.ts';

interface Waiting {
  readonly message: WaitingMessage;
  readonly resolve: () => void;
  readonly reject: (error: MqttError) => void;
}

/** Messages in memory, each with somebody who waits for its acknowledgement. Bound: 1,024 messages, 16 MiB of payload. */
export class MemorySource implements MessageSource {
  static readonly maxMessages = 1_024;
  static readonly maxBytes = 16 << 20;
  readonly #clock: Clock;
  readonly #waiting = new Map<number, Waiting>();
  #bytes = 0;
  #lastSeq = 0;
  #listener: (() => void) | undefined;
  #onDrained: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** Resolves when the broker has it. The payload must not change until then. @throws MqttError `Full`, `MessageRefused`, `Closed` */
  add(topic: string, payload: Uint8Array, qos: Qos, retain: boolean): Promise<void> {
    if (this.#waiting.size >= MemorySource.maxMessages || this.#bytes + payload.length > MemorySource.maxBytes) {
      return Promise.reject(new MqttError('Full', `${this.#waiting.size} messages wait for the broker already`));
    }
    return new Promise((resolve, reject) => {
      this.#lastSeq += 1;
      const message = { ...this.#clock.now(), seq: this.#lastSeq, topic, payload, qos, retain, expiryMs: null };
      this.#waiting.set(message.seq, { message, resolve, reject });
      this.#bytes += payload.length;
      this.#listener?.();
    });
  }

  page(afterSeq: number, maxRows: number): WaitingMessage[] {
    const messages: WaitingMessage[] = [];
    for (const { message } of this.#waiting.values()) {
      if (messages.length === maxRows) break;
      if (message.seq > afterSeq) messages.push(message);
    }
    return messages;
  }

  delivered(messages: readonly WaitingMessage[]): void {
    for (const message of messages) this.#take(message)?.resolve();
  }

  expired(): void {}

  refused(message: WaitingMessage, reason: string): void {
    this.#take(message)?.reject(
      new MqttError('MessageRefused', `the broker refused the message to ${message.topic} (${reason})`),
    );
  }

  retryRefused(): void {}

  get refusedCount(): number {
    return 0;
  }

  /** Resolves when nothing waits any more. */
  drained(): Promise<void> {
    if (this.#waiting.size === 0) return Promise.resolve();
    return new Promise((resolve) => (this.#onDrained = resolve));
  }

  onWaiting(listener: () => void): () => void {
    this.#listener = listener;
    return () => {
      if (this.#listener === listener) this.#listener = undefined;
    };
  }

  /** Nobody will send what still waits. */
  fail(error: MqttError): void {
    for (const { message } of this.#waiting.values()) this.#take(message)?.reject(error);
  }

  #take(message: WaitingMessage): Waiting | undefined {
    const waiting = this.#waiting.get(message.seq);
    if (waiting !== undefined) this.#bytes -= message.payload.length;
    this.#waiting.delete(message.seq);
    if (this.#waiting.size === 0) this.#onDrained?.();
    return waiting;
  }
}
