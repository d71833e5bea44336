import type { Logger } from '../observe/logger.ts';
import { Abortion } from './abortion.ts';
import type { BrokerOptions } from './broker-address.ts';
import { systemClock } from './clock.ts';
import { MqttError } from './errors.ts';
import { MqttLink, type LinkStatus } from './link.ts';
import { MemorySource } from './memory-source.ts';
import type { Qos } from './source.ts';
import { topicFault } from '../../hostcalls/topics.ts';

export interface DirectPublisherOptions extends BrokerOptions {
  /** @default `loamlet-run-` and the process id */
  readonly clientId?: string;
  /** How long closing waits for acknowledgements. @default 5,000 */
  readonly closeDeadlineMs?: number;
}

/**
 * The outbox of `loamlet run`: in memory, flushed before exit. A publish resolves at the broker's acknowledgement; after a lost
 * connection it is sent again.
 */
export class DirectPublisher implements AsyncDisposable {
  readonly #source: MemorySource;
  readonly #link: MqttLink;
  readonly #closeDeadlineMs: number;

  private constructor(source: MemorySource, link: MqttLink, closeDeadlineMs: number) {
    this.#source = source;
    this.#link = link;
    this.#closeDeadlineMs = closeDeadlineMs;
  }

  /** @throws MqttError `BadUrl`, `Refused`, `Unreachable`: for a person at a terminal the first attempt has to work. */
  static async open(options: DirectPublisherOptions, log: Logger): Promise<DirectPublisher> {
    const source = new MemorySource(systemClock());
    const { clientId = `loamlet-run-${process.pid}`, closeDeadlineMs = 5_000 } = options;
    const quiet = log.child({}, { level: 'silent' });
    const link = await MqttLink.open({ ...options, source, clientId, closeDeadlineMs: 500 }, quiet);
    const first = await link.firstOutcome;
    if (first.state === 'connected') return new DirectPublisher(source, link, closeDeadlineMs);
    await link[Symbol.asyncDispose]();
    throw link.lastError ?? new MqttError('Unreachable', first.message ?? `the broker ${first.url} cannot be reached`);
  }

  /** Resolves at PUBACK, for QoS 0 when written. The payload must not change until then. @throws MqttError `MessageRefused`, `Full`, `Closed` */
  async publish(topic: string, payload: Uint8Array, qos: Qos, retain: boolean): Promise<void> {
    const fault = topicFault(topic);
    if (fault !== undefined) throw new MqttError('MessageRefused', fault);
    return await this.#source.add(topic, payload, qos, retain);
  }

  status(): LinkStatus {
    return this.#link.status();
  }

  /** Waits for what is unacknowledged, within the deadline; the rest is rejected with `Closed`. */
  async [Symbol.asyncDispose](): Promise<void> {
    using deadline = new Abortion(AbortSignal.timeout(this.#closeDeadlineMs));
    await Promise.race([this.#source.drained(), deadline.happened]);
    await this.#link[Symbol.asyncDispose]();
    this.#source.fail(new MqttError('Closed', 'the broker did not acknowledge it before the end'));
  }
}
