import { setTimeout as delay } from 'node:timers/promises';
import { errorLine } from '../base/errors.ts';
import type { Logger } from '../observe/logger.ts';
import { Abortion } from './abortion.ts';
import { Backoff } from './backoff.ts';
import { parseBrokerUrl, type BrokerOptions } from './broker-address.ts';
import { systemClock, type Clock } from './clock.ts';
import { Connection, type ProtocolVersion } from './connection.ts';
import { Delivery } from './delivery.ts';
import { MqttError } from './errors.ts';
import { Refusals } from './refusals.ts';
import type { MessageSource, WaitingMessage } from './source.ts';
import { Suspicion } from './suspicion.ts';

export interface LinkOptions extends BrokerOptions {
  readonly source: MessageSource;
  /** Unique at the broker: `loamlet-<node>`. */
  readonly clientId: string;
  /** Holds `online` or `offline`, retained, `offline` also when we vanish; undefined for none. */
  readonly statusTopic?: string;
  /** Unacknowledged messages at a time. @default 64 */
  readonly windowSize?: number;
  /** @default 60 */
  readonly keepaliveSeconds?: number;
  /** How long closing may take to send what waits. @default 3,000 */
  readonly closeDeadlineMs?: number;
  /** How often messages the broker refused are tried again. @default 900,000 (15 minutes) */
  readonly retryRefusedMs?: number;
  readonly backoff?: Backoff;
  readonly clock?: Clock;
}

/**
 * connecting: no answer yet. connected: messages go out. refused: the broker or the configuration says no; a person has
 * to act. unreachable: no broker there. closed: for ever. All but the last try again.
 */
export type LinkState = 'connecting' | 'connected' | 'refused' | 'unreachable' | 'closed';

export interface LinkStatus {
  readonly state: LinkState;
  /** Without user and password. */
  readonly url: string;
  /** One line with the remedy, when refused or unreachable. */
  readonly message?: string;
  /** Milliseconds since the epoch. */
  readonly sinceMs: number;
  /** When connected. */
  readonly protocol?: '5.0' | '3.1.1';
  readonly inFlight: number;
}

/** A connection that lasted so long ends a series of failures, whatever it has moved. */
const stableMs = 10_000;

/**
 * Keeps a connection to the broker and moves the source's messages over it, in order, each until the broker has
 * acknowledged it. After a disconnect it begins again with the oldest unacknowledged one, so nothing is lost, and
 * nothing comes twice but what was in flight when a connection or this process ended.
 *
 * Attempts are 1 to 60 s apart. MQTT 5, or 3.1.1 where the broker asks for it. Idle it costs the keepalive.
 */
export class MqttLink implements AsyncDisposable {
  readonly #options: LinkOptions;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #backoff: Backoff;
  readonly #stopped = new AbortController();
  readonly #refusals: Refusals;
  readonly #suspicion = new Suspicion();
  readonly #firstOutcome = Promise.withResolvers<LinkStatus>();
  readonly #listeners = new Set<(status: LinkStatus) => void>();
  readonly #loop: Promise<void>;
  #status: Omit<LinkStatus, 'inFlight'>;
  #delivery: Delivery | undefined;
  #protocolVersion: ProtocolVersion = 5;
  #retryTimer: NodeJS.Timeout | undefined;
  #lastError: unknown;
  #loggedFailure: string | undefined;

  private constructor(options: LinkOptions, log: Logger) {
    this.#options = options;
    this.#log = log;
    this.#clock = options.clock ?? systemClock();
    this.#backoff = options.backoff ?? new Backoff();
    this.#refusals = new Refusals(options.retryRefusedMs ?? 900_000);
    this.#status = { state: 'connecting', url: parseBrokerUrl(options.url).shown, sinceMs: Date.now() };
    this.#loop = this.#run(this.#stopped.signal);
  }

  /** Starts connecting; does not wait for it. @throws MqttError `BadUrl` */
  static async open(options: LinkOptions, log: Logger): Promise<MqttLink> {
    return new MqttLink(options, log);
  }

  status(): LinkStatus {
    return { ...this.#status, inFlight: this.#delivery?.inFlight ?? 0 };
  }

  /** How the first attempt to connect went. */
  get firstOutcome(): Promise<LinkStatus> {
    return this.#firstOutcome.promise;
  }

  /** Why there is or was no connection: what `status().message` says. */
  get lastError(): unknown {
    return this.#lastError;
  }

  /** Calls `listener` at each change of state or message; returns what ends it. */
  onStatus(listener: (status: LinkStatus) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Sends what waits within the deadline, says `offline` and goes. What is unacknowledged stays with the source. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped.abort(new MqttError('Closed', 'the link is closed'));
    await this.#loop;
    this.#set({ state: 'closed' });
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await using connection = await this.#connect(signal);
        await this.#deliver(connection, signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#failed(error);
      }
      await delay(this.#backoff.next(), undefined, { signal }).catch(() => {});
    }
  }

  async #connect(signal: AbortSignal): Promise<Connection> {
    const { statusTopic } = this.#options;
    const will = statusTopic === undefined ? {} : { will: { topic: statusTopic, payload: 'offline' } };
    const attempt = (protocolVersion: ProtocolVersion): Promise<Connection> =>
      Connection.open({ ...this.#options, ...will, protocolVersion }, signal);
    const preferred = this.#protocolVersion;
    try {
      return await attempt(preferred);
    } catch (error) {
      this.#protocolVersion = 5;
      if (preferred !== 5 || !(error instanceof MqttError) || error.code !== 'VersionRefused') throw error;
      const connection = await attempt(4);
      this.#protocolVersion = 4;
      return connection;
    }
  }

  /** Until the connection ends, or we do. @throws MqttError why it ended. */
  async #deliver(connection: Connection, signal: AbortSignal): Promise<void> {
    const { source, statusTopic, windowSize = 64 } = this.#options;
    const connectedAt = performance.now();
    const protocol = connection.protocolVersion === 5 ? '5.0' : '3.1.1';
    this.#loggedFailure = undefined;
    this.#set({ state: 'connected', protocol });
    this.#log.info({ broker: this.#status.url, protocol, waiting: source.waiting }, 'connected to the broker');
    const delivery = new Delivery(source, connection, {
      windowSize: this.#suspicion.alone ? 1 : windowSize,
      clock: this.#clock,
      refusals: this.#refusals,
      onError: (error) => this.#log.error({ err: error }, 'delivery stopped'),
      onRefused: (message, reason) => this.#refused(message, reason),
    });
    this.#delivery = delivery;
    this.#armRetry();
    try {
      if (statusTopic !== undefined) void delivery.announce(statusTopic, 'online');
      using stop = new Abortion(signal);
      const ended = await Promise.race([connection.closed, stop.happened]);
      if (ended === undefined) return await this.#finish(delivery, connection);
      this.#account(delivery, performance.now() - connectedAt, ended);
      throw ended;
    } finally {
      delivery.end();
      this.#delivery = undefined;
      clearTimeout(this.#retryTimer);
      this.#retryTimer = undefined;
    }
  }

  #account(delivery: Delivery, lastedMs: number, ended: MqttError): void {
    const unanswered = delivery.end();
    if (delivery.acknowledgedTotal > 0) this.#suspicion.clear();
    // Two nodes of one name throw each other out for ever: they slow down.
    if (ended.code !== 'TakenOver' && (delivery.acknowledgedTotal > 0 || lastedMs >= stableMs)) this.#backoff.reset();
    if (delivery.acknowledgedTotal > 0) return;
    const guilty = lastedMs >= stableMs ? undefined : this.#suspicion.ended(unanswered);
    if (guilty === undefined) return;
    this.#options.source.refused(guilty, 'the broker ends the connection over it');
    this.#refused(guilty, 'the broker ends the connection over it');
  }

  async #finish(delivery: Delivery, connection: Connection): Promise<void> {
    const { statusTopic, closeDeadlineMs = 3_000 } = this.#options;
    using deadline = new Abortion(AbortSignal.timeout(closeDeadlineMs));
    const over = Promise.race([connection.closed, deadline.happened]);
    await Promise.race([delivery.idle(), over]);
    if (statusTopic !== undefined) await Promise.race([delivery.announce(statusTopic, 'offline'), over]);
  }

  /** A timer runs only while the broker's refusals are kept and a connection is there. */
  #armRetry(): void {
    if (this.#retryTimer !== undefined || this.#options.source.refusedCount === 0) return;
    const retry = (): void => {
      this.#retryTimer = undefined;
      this.#delivery?.retryRefused();
    };
    const waitMs = this.#refusals.waitMs(performance.now());
    if (waitMs === 0) retry();
    else this.#retryTimer = setTimeout(retry, waitMs).unref();
  }

  #refused(message: WaitingMessage, reason: string): void {
    this.#refusals.postpone(performance.now());
    this.#armRetry();
    this.#log.error(
      { topic: message.topic, bytes: message.payload.length, reason },
      'the broker refused a message; it is kept',
    );
  }

  #failed(error: unknown): void {
    const code = error instanceof MqttError ? error.code : undefined;
    const wasConnected = this.#status.state === 'connected';
    const state = code === 'Refused' || code === 'BadCredentials' || code === 'TakenOver' ? 'refused' : 'unreachable';
    const message = errorLine(error);
    this.#lastError = error;
    this.#set({ state, message });
    if (this.#loggedFailure === message) return;
    this.#loggedFailure = message;
    const { waiting } = this.#options.source;
    this.#log.warn(
      { err: error, waiting },
      wasConnected ? 'connection to the broker lost; readings wait' : 'no connection to the broker; readings wait',
    );
  }

  #set(change: { state: LinkState; message?: string; protocol?: '5.0' | '3.1.1' }): void {
    const { url, state, message } = this.#status;
    if (change.state === state && change.message === message) return;
    this.#status = { url, sinceMs: Date.now(), ...change };
    if (change.state !== 'connecting') this.#firstOutcome.resolve(this.status());
    for (const listener of this.#listeners) listener(this.status());
  }
}
