import { connect as connectTcp, isIP, type Socket } from 'node:net';
import type { ConnectionOptions as TlsOptions } from 'node:tls';
import type { IClientOptions, MqttClient } from 'mqtt';
import {
  parseBrokerUrl,
  readCredentials,
  type BrokerAddress,
  type BrokerOptions,
  type Credentials,
} from './broker-address.ts';
import { MqttError } from './errors.ts';
import { connackError, isAboutTheMessage, networkError, type Attempt } from './reason.ts';
import type { WaitingMessage } from './source.ts';

export type ProtocolVersion = 4 | 5;

export interface ConnectionOptions extends BrokerOptions {
  readonly clientId: string;
  /** 5, or 4 for MQTT 3.1.1. */
  readonly protocolVersion: ProtocolVersion;
  /** Published retained by the broker when we vanish. */
  readonly will?: { readonly topic: string; readonly payload: string };
  /** The one timer of an idle connection. @default 60 */
  readonly keepaliveSeconds?: number;
  /** For TCP, TLS and CONNACK together. @default 15,000 */
  readonly connectTimeoutMs?: number;
}

/**
 * acknowledged: PUBACK, or written for QoS 0. refused: the broker's word on this very message. failed: no answer; the connection is or will be closed.
 */
export type PublishOutcome =
  { readonly state: 'acknowledged' | 'failed' } | { readonly state: 'refused'; readonly reason: string };

/** Of one packet the broker may send us. */
const maxIncomingBytes = 1 << 20;

type Outgoing = Pick<WaitingMessage, 'topic' | 'payload' | 'qos' | 'retain'> & { readonly expirySeconds?: number };

/**
 * One connection to a broker with a clean session, from CONNACK to its end; a new one is made after it. The client's own
 * reconnecting and resending is off: what is unacknowledged is on our disk, and is sent again in order from there.
 */
export class Connection implements AsyncDisposable {
  readonly #client: MqttClient;
  readonly #attempt: Attempt;
  readonly protocolVersion: ProtocolVersion;
  /** Settles when the connection is over, with why; never rejects. */
  readonly closed: Promise<MqttError>;
  /** The broker's bounds: unacknowledged messages at a time, and bytes of one packet. */
  readonly receiveMaximum: number;
  readonly maximumPacketSize: number;
  #unanswered = 0;

  private constructor(client: MqttClient, attempt: Attempt, protocolVersion: ProtocolVersion) {
    this.#client = client;
    this.#attempt = attempt;
    this.protocolVersion = protocolVersion;
    const properties = client.serverProperties;
    this.receiveMaximum = properties?.receiveMaximum ?? 65_535;
    this.maximumPacketSize = properties?.maximumPacketSize ?? 256 << 20;
    this.closed = this.#untilClosed();
  }

  /** @throws MqttError `Refused`, `VersionRefused`, `Unreachable`, `BadUrl`, `BadCredentials`; the signal's reason. */
  static async open(options: ConnectionOptions, signal: AbortSignal): Promise<Connection> {
    const address = parseBrokerUrl(options.url);
    const [credentials, { MqttClient }] = await Promise.all([
      readCredentials(options, address),
      import('./mqtt-client.ts'),
    ]);
    const dial = await dialer(address, credentials);
    signal.throwIfAborted();
    const attempt: Attempt = { address, username: credentials.username, clientId: options.clientId };
    const client = new MqttClient(dial, clientOptions(options, credentials));
    // It lives as long as the client: an error without a listener would end the process.
    client.on('error', () => {});
    try {
      await connected(client, attempt, signal);
    } catch (error) {
      client.end(true);
      throw error;
    }
    return new Connection(client, attempt, options.protocolVersion);
  }

  /** Hands one message to the connection; messages go out in the order of the calls. `done` is called once, never before this returns. */
  publish(message: Outgoing, done: (outcome: PublishOutcome) => void): void {
    const { qos, retain, expirySeconds } = message;
    const properties =
      this.protocolVersion === 5 && expirySeconds !== undefined ? { messageExpiryInterval: expirySeconds } : undefined;
    const payload = Buffer.from(message.payload.buffer, message.payload.byteOffset, message.payload.byteLength);
    let returned = false;
    this.#unanswered += 1;
    const answer = (error?: Error | null): void => {
      const outcome = publishOutcome(error);
      this.#unanswered -= 1;
      if (returned) done(outcome);
      else queueMicrotask(() => done(outcome));
    };
    this.#client.publish(message.topic, payload, { qos, retain, ...(properties && { properties }) }, answer);
    returned = true;
  }

  /** Ends it at once, without DISCONNECT: the broker publishes the will. */
  drop(): void {
    this.#client.stream.destroy();
  }

  /** Says DISCONNECT, so that the broker forgets the will; with messages unanswered it drops the connection instead. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#unanswered > 0 || !this.#client.connected) this.drop();
    else this.#client.end(false);
    const timer = setTimeout(() => this.drop(), 1_000);
    await this.closed;
    clearTimeout(timer);
  }

  #untilClosed(): Promise<MqttError> {
    const { promise, resolve } = Promise.withResolvers<MqttError>();
    let last: unknown;
    this.#client.on('error', (error) => (last = error));
    this.#client.stream.on('error', (error) => (last = error));
    this.#client.on('disconnect', ({ reasonCode }) => {
      if (reasonCode === 0x8e) last = this.#takenOver();
      // The broker has said goodbye; some leave the closing to us.
      this.drop();
    });
    const onClose = (): void => {
      this.#client.end(true);
      resolve(last instanceof MqttError ? last : networkError(last ?? new Error('connection closed'), this.#attempt));
    };
    if (this.#client.connected) this.#client.once('close', onClose);
    else onClose();
    return promise;
  }

  #takenOver(): MqttError {
    const { clientId, address } = this.#attempt;
    return new MqttError('TakenOver', `another client logged in at ${address.shown} as ${clientId}`, {
      remedy: 'give each node its own name',
    });
  }
}

function clientOptions(options: ConnectionOptions, credentials: Credentials): IClientOptions {
  const { clientId, protocolVersion, will, keepaliveSeconds = 60, connectTimeoutMs = 15_000 } = options;
  const { username, password } = credentials;
  return {
    clientId,
    protocolId: 'MQTT',
    protocolVersion,
    clean: true,
    keepalive: keepaliveSeconds,
    connectTimeout: connectTimeoutMs,
    reconnectPeriod: 0,
    queueQoSZero: false,
    resubscribe: false,
    timerVariant: 'native',
    // A buffer for each of 65,536 numbers: 13 MB to save a few nanoseconds.
    writeCache: false,
    ...(protocolVersion === 5 ? { properties: { maximumPacketSize: maxIncomingBytes } } : {}),
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(will === undefined
      ? {}
      : { will: { topic: will.topic, payload: Buffer.from(will.payload), qos: 1, retain: true } }),
  };
}

/** What makes the socket. TLS is loaded only where it is used: it costs 3 MB. */
async function dialer({ host, port, tls }: BrokerAddress, { ca, cert, key }: Credentials): Promise<() => Socket> {
  if (!tls) return () => connectTcp({ host, port, noDelay: true });
  const { connect: connectTls } = await import('node:tls');
  const options: TlsOptions = {
    host,
    port,
    ALPNProtocols: ['mqtt'],
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
  return () => connectTls(options).setNoDelay(true);
}

/** Until CONNACK says yes. */
function connected(client: MqttClient, attempt: Attempt, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onConnect = (): void => resolve();
  const onError = (error: Error & { code?: unknown }): void => {
    reject(
      typeof error.code === 'number'
        ? connackError(error.code, connackReason(error), attempt)
        : networkError(error, attempt),
    );
  };
  // The client passes on only errors of the system.
  let streamError: unknown;
  client.stream.on('error', (error) => (streamError = error));
  // A broker of 3.1.1 may just hang up on MQTT 5.
  const onClose = (): void => {
    if (streamError !== undefined) return reject(networkError(streamError, attempt));
    const code = client.options.protocolVersion === 5 ? 'VersionRefused' : 'Unreachable';
    const message = `the broker ${attempt.address.shown} closed the connection without an answer`;
    reject(new MqttError(code, message, { remedy: 'is it an MQTT broker? Its log says more' }));
  };
  const onAbort = (): void => reject(signal.reason);
  client.once('connect', onConnect);
  client.once('error', onError);
  client.once('close', onClose);
  signal.addEventListener('abort', onAbort, { once: true });
  return promise.finally(() => {
    client.off('connect', onConnect);
    client.off('error', onError);
    client.off('close', onClose);
    signal.removeEventListener('abort', onAbort);
  });
}

function connackReason(error: Error): string {
  return error.message.replace(/^Connection refused: /, '');
}

function publishOutcome(error?: (Error & { code?: unknown }) | null): PublishOutcome {
  if (!error) return { state: 'acknowledged' };
  if (typeof error.code === 'number' && isAboutTheMessage(error.code)) {
    return { state: 'refused', reason: error.message.replace(/^Publish error: /, '') };
  }
  return { state: 'failed' };
}
