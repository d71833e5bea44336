import { createServer, type Server, type Socket } from 'node:net';
import { systemCode } from '../base/errors.ts';
import type { Logger } from '../observe/logger.ts';
import { MqttError } from './errors.ts';

export interface EmbeddedBrokerOptions {
  /** @default '127.0.0.1': it asks nobody for a password. */
  readonly host?: string;
  /** 0 takes a free one. @default 1883 */
  readonly port?: number;
}

/**
 * An MQTT broker inside the agent, for the demo and for a node of its own. In memory: retained messages and sessions end
 * with it. Bound: 64 connections.
 */
export class EmbeddedBroker implements AsyncDisposable {
  readonly host: string;
  /** The port it got. */
  readonly port: number;
  readonly #end: () => Promise<void>;

  private constructor(host: string, port: number, end: () => Promise<void>) {
    this.host = host;
    this.port = port;
    this.#end = end;
  }

  get url(): string {
    return `mqtt://${this.host.includes(':') ? `[${this.host}]` : this.host}:${this.port}`;
  }

  /** @throws MqttError `PortTaken` */
  static async open({ host = '127.0.0.1', port = 1883 }: EmbeddedBrokerOptions, log: Logger): Promise<EmbeddedBroker> {
    const { Aedes } = await import('aedes');
    const aedes = await Aedes.createBroker();
    aedes.on('clientError', (client, error) =>
      log.debug({ client: client.id, err: error }, 'embedded broker: client error'),
    );
    aedes.on('connectionError', (client, error) =>
      log.debug({ client: client.id, err: error }, 'embedded broker: connection error'),
    );
    const sockets = new Set<Socket>();
    const server = createServer({ noDelay: true }, (socket) => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      aedes.handle(socket);
    });
    server.maxConnections = 64;
    const closeBroker = (): Promise<void> => new Promise((resolve) => aedes.close(() => resolve()));
    let bound: number;
    try {
      bound = await listen(server, host, port);
    } catch (error) {
      await closeBroker();
      throw new MqttError(
        'PortTaken',
        `the embedded broker cannot listen on ${host}:${port} (${systemCode(error) ?? String(error)})`,
        {
          remedy: 'is another broker running there? Then set mqtt.url to it, or give the embedded one another port',
          cause: error,
        },
      );
    }
    log.info({ host, port: bound }, 'embedded broker listens');
    return new EmbeddedBroker(host, bound, async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      await closeBroker();
      for (const socket of sockets) socket.destroy();
      await closed;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
  }
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : port);
    });
  });
}
