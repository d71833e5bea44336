import { readFileSync } from 'node:fs';
import { connectAsync, type MqttClient } from 'mqtt';

export interface Received {
  readonly topic: string;
  readonly payload: string;
  readonly retain: boolean;
  readonly qos: number;
}

export interface SubscriberOptions {
  readonly username?: string;
  readonly password?: string;
  /** With a name the broker keeps what it misses. */
  readonly session?: string;
  /** For `mqtts`: who signed the broker's certificate. */
  readonly caFile?: string;
  /** 4 for a broker of MQTT 3.1.1. @default 5 */
  readonly protocolVersion?: 4 | 5;
}

/** An MQTT client that keeps all it receives. */
export class Subscriber implements AsyncDisposable {
  readonly #client: MqttClient;
  readonly received: Received[] = [];
  #waiters: { readonly done: () => boolean; readonly resolve: () => void }[] = [];

  private constructor(client: MqttClient) {
    this.#client = client;
    client.on('message', (topic, payload, { retain, qos }) => {
      this.received.push({ topic, payload: payload.toString(), retain, qos });
      this.#waiters = this.#waiters.filter(({ done, resolve }) => {
        if (done()) resolve();
        return !done();
      });
    });
  }

  /** Resolves when the broker has acknowledged the subscription. */
  static async open(
    url: string,
    filter: string,
    { session, caFile, protocolVersion = 5, ...login }: SubscriberOptions = {},
  ): Promise<Subscriber> {
    const client = await connectAsync(url, {
      protocolVersion,
      reconnectPeriod: 50,
      ...login,
      ...(caFile === undefined ? {} : { ca: readFileSync(caFile) }),
      ...(session === undefined
        ? {}
        : { clientId: session, clean: false, properties: { sessionExpiryInterval: 3600 } }),
    });
    client.on('error', () => {});
    const subscriber = new Subscriber(client);
    await client.subscribeAsync(filter, { qos: 1 });
    return subscriber;
  }

  get payloads(): string[] {
    return this.received.map(({ payload }) => payload);
  }

  /** Resolves when `done` is true of what was received, looked at after each message. */
  until(done: (received: readonly Received[]) => boolean): Promise<void> {
    if (done(this.received)) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push({ done: () => done(this.received), resolve }));
  }

  async count(messages: number): Promise<string[]> {
    await this.until((received) => received.length >= messages);
    return this.payloads;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.endAsync(true);
  }
}
