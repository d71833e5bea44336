import { DeviceHub } from '../../devices/hub.ts';
import type { Buses } from '../../devices/contract.ts';
import { hostInterfaces } from '../../hostcalls/interfaces.ts';
import { Containers } from './containers.ts';
import { Executor } from './executor.ts';
import { LogQueue } from './log-queue.ts';
import { Modules } from './modules.ts';
import { protocolVersion, type AgentMessage, type RunnerMessage } from './protocol.ts';
import { PublishQueue } from './publish-queue.ts';
import { logLine } from './quiet-log.ts';
import { AgentServer, type AgentHandler } from './server.ts';

export interface ModuleHostOptions {
  readonly runnerId: string;
  readonly socketPath: string;
  readonly token: string;
  readonly buses: Buses;
}

/**
 * The process that runs modules, without its process: containers, devices and the agent's connection. It lives on without an agent:
 * modules run, logs and publishes wait. It ends by `shutdown` alone.
 */
export class ModuleHost implements AgentHandler {
  readonly #options: ModuleHostOptions;
  readonly #logs = new LogQueue();
  readonly #publishes = new PublishQueue();
  readonly #devices: DeviceHub;
  readonly #unhealthy = new Map<string, string>();
  readonly #containers: Containers;
  #server!: AgentServer;
  #shuttingDown: Promise<void> | undefined;
  /** Ends a runner that no agent ever came for: the one that started it may have died before it could note it. */
  readonly #unclaimed: NodeJS.Timeout;
  /** Resolves when the runner has shut down. */
  readonly done: Promise<void>;
  #settleDone!: () => void;

  private constructor(options: ModuleHostOptions) {
    this.#options = options;
    this.done = new Promise((resolve) => (this.#settleDone = resolve));
    this.#unclaimed = setTimeout(() => void this.shutdown(0), unclaimedMs);
    this.#devices = new DeviceHub({
      buses: options.buses,
      onHealth: (name, healthy, message) => {
        if (healthy) this.#unhealthy.delete(name);
        else this.#unhealthy.set(name, message);
        this.#send({ type: 'device', name, healthy, message });
      },
    });
    const executor = new Executor(hostInterfaces({ devices: this.#devices, publisher: this.#publishes }));
    const host = { executor, modules: new Modules(), devices: this.#devices };
    this.#containers = new Containers(host, this.#logs, (message) => this.#send(message));
  }

  static async open(options: ModuleHostOptions): Promise<ModuleHost> {
    const host = new ModuleHost(options);
    host.#server = await AgentServer.open(options.socketPath, options.token, host);
    return host;
  }

  welcome(): RunnerMessage {
    return {
      type: 'welcome',
      version: protocolVersion,
      runnerId: this.#options.runnerId,
      pid: process.pid,
      containers: this.#containers.reports(),
    };
  }

  connected(send: (frame: Buffer) => void): void {
    clearTimeout(this.#unclaimed);
    logLine('info', 'agent connected');
    for (const [name, message] of this.#unhealthy) this.#send({ type: 'device', name, healthy: false, message });
    this.#logs.attach(send);
    this.#publishes.attach(send);
  }

  disconnected(reason: string): void {
    logLine('info', 'agent disconnected', { reason });
    this.#logs.detach();
    this.#publishes.detach();
  }

  message(message: AgentMessage): void {
    switch (message.type) {
      case 'hello':
        return; // said already
      case 'start':
        return this.#containers.start(message.container);
      case 'stop':
        return this.#containers.stop(message.id, message.graceMs);
      case 'forget':
        return this.#containers.forget(message.id);
      case 'published':
        return this.#publishes.published(message.results);
      case 'logged':
        return this.#logs.logged(message.seq);
      case 'ping':
        return this.#send({ type: 'pong', nonce: message.nonce });
      case 'shutdown':
        return void this.shutdown(message.graceMs);
      default:
        message satisfies never;
    }
  }

  /** Stops all modules, lets the agent take what it has not confirmed yet, and ends. */
  shutdown(graceMs: number): Promise<void> {
    return (this.#shuttingDown ??= this.#shutdown(graceMs));
  }

  async #shutdown(graceMs: number): Promise<void> {
    logLine('info', 'shutting down', { graceMs });
    clearTimeout(this.#unclaimed);
    await this.#containers.close(graceMs);
    await this.#devices[Symbol.asyncDispose]();
    await this.#logs.drain(drainMs);
    await this.#server[Symbol.asyncDispose]();
    this.#settleDone();
  }

  #send(message: RunnerMessage): void {
    this.#server?.send(message);
  }
}

/** How long a new runner waits for its first agent, in milliseconds. */
const unclaimedMs = 15_000;
/** How long the agent has for the last log frames, in milliseconds. */
const drainMs = 2_000;
