import type { ChildProcess } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { errorLine } from '../base/errors.ts';
import type { Logger } from '../observe/logger.ts';
import { AgentConnection } from './agent-connection.ts';
import type {
  AgentMessage,
  ContainerId,
  ContainerReport,
  ContainerStart,
  LogEntry,
  PublishItem,
  PublishResult,
  RunnerMessage,
} from './protocol.ts';
import { RunnerError } from './runner-error.ts';
import { isAlive, killRunner, type RunnerRecord } from './runner-process.ts';
import { removeTraces, spawnRunner, type LaunchOptions } from './spawn-runner.ts';

export type RunnerNews = Extract<RunnerMessage, { type: 'started' | 'startFailed' | 'exited' | 'ready' }>;

/** Where everything a runner says goes. News may come twice, after a connection was lost. */
export interface RunnerReceiver {
  news(message: RunnerNews): void;
  /** Resolves when the bytes are kept; the runner holds back until then. Called in order. */
  logs(pieces: readonly { readonly entry: LogEntry; readonly bytes: Uint8Array }[]): Promise<void>;
  /** Answers each once it is on disk or refused. The same `publishNo` may come again, after a connection was lost. */
  publishes(
    runnerId: string,
    published: readonly { readonly item: PublishItem; readonly payload: Uint8Array }[],
  ): Promise<readonly PublishResult[]>;
  device(name: string, healthy: boolean, message: string): void;
}

export interface RunnerOptions extends LaunchOptions {
  /** A runner silent for this long is reported by `unresponsive`, in milliseconds. @default 30,000 */
  readonly unresponsiveMs?: number;
  readonly log: Logger;
}

export interface RunnerLaunchOptions extends RunnerOptions {
  /** It runs and nobody is connected to it yet: the moment to note that there is one. */
  spawned?(record: RunnerRecord): void;
}

/**
 * died: the process is gone, and with it every module; the message says how.
 * lost: it lives, but can't be reached or does not keep to the protocol; only killing it helps.
 * left: we closed the connection; it goes on.
 */
export interface RunnerEnd {
  readonly kind: 'died' | 'lost' | 'left';
  readonly message: string;
}

const reconnectTries = 8;
/** A connection that ends sooner counts as a try, in milliseconds. */
const shortMs = 5_000;
/** What an entry of a log frame takes beside its bytes, about. */
const entryBytes = 128;
/** Log bytes that wait for the disk before the runner is heard no further; its own window is 1 MiB. */
const maxUnwritten = 16 << 20;
const maxUnsent = 20_000;

/**
 * A runner process, from the agent. Closing this leaves the runner and its modules running, for the next agent to adopt by the
 * record. A lost connection is made again, and what was asked meanwhile is said then (at most 20,000 messages).
 */
export class RunnerClient implements AsyncDisposable {
  readonly record: RunnerRecord;
  /** Resolves once, when there is nothing more to be had from this runner. */
  readonly closed: Promise<RunnerEnd>;
  #connection: AgentConnection | undefined;
  #reports: readonly ContainerReport[];
  #receiver: RunnerReceiver | undefined;
  #end: RunnerEnd | undefined;
  readonly #settleClosed: (end: RunnerEnd) => void;
  readonly #log: Logger;
  readonly #unresponsiveMs: number;
  readonly #exit: Promise<string> | undefined;
  #exited: string | undefined;
  /** Starts without any answer yet: said again on a new connection. */
  readonly #starting = new Map<ContainerId, ContainerStart>();
  #unsent: AgentMessage[] = [];
  #lastLogSeq = 0;
  #writing: Promise<void> = Promise.resolve();
  #unwritten = 0;
  #connectedAtMs = performance.now();
  #shortConnections = 0;
  #watch: NodeJS.Timeout | undefined;
  #nonce = 0;
  #shuttingDown = false;
  #onUnresponsive: ((silentMs: number) => void) | undefined;

  private constructor(record: RunnerRecord, connection: AgentConnection, options: RunnerOptions, child?: ChildProcess) {
    const { promise, resolve } = Promise.withResolvers<RunnerEnd>();
    this.record = record;
    this.closed = promise;
    this.#settleClosed = resolve;
    this.#connection = connection;
    this.#reports = connection.reports;
    this.#log = options.log;
    this.#unresponsiveMs = options.unresponsiveMs ?? 30_000;
    this.#exit = child && exitOf(child);
    void this.#exit?.then((how) => {
      this.#exited = how;
      // What it said last may still be on its way: the connection closes behind it.
      if (!this.#connection || !this.#receiver) this.#died();
    });
  }

  /** Starts a runner. @throws RunnerError `LaunchFailed` */
  static async launch(options: RunnerLaunchOptions): Promise<RunnerClient> {
    const { record, child } = await spawnRunner(options);
    try {
      options.spawned?.(record);
      return new RunnerClient(record, await AgentConnection.open(record), options, child);
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  /**
   * Takes over a runner that an earlier agent started.
   * @throws RunnerError `RunnerGone` when it has ended (what it left is removed), `RunnerBusy`, `RunnerRefused`, `RunnerSilent`
   */
  static async adopt(record: RunnerRecord, options: RunnerOptions): Promise<RunnerClient> {
    try {
      return new RunnerClient(record, await AgentConnection.open(record), options);
    } catch (error) {
      if (error instanceof RunnerError && error.code === 'RunnerGone' && !isAlive(record)) await removeTraces(record);
      throw error;
    }
  }

  /** What it runs, as it said when we last connected. */
  get reports(): readonly ContainerReport[] {
    return this.#reports;
  }

  /** Begins to hear the runner. Call it once; nothing said before is missed. */
  listen(receiver: RunnerReceiver, unresponsive?: (silentMs: number) => void): void {
    this.#receiver = receiver;
    this.#onUnresponsive = unresponsive;
    this.#attach();
    this.#watch = setInterval(() => this.#ping(), Math.max(50, this.#unresponsiveMs / 3));
    this.#watch.unref();
  }

  /** Its outcome comes as news: `started` or `startFailed`. A container that is known already is left as it is. */
  start(container: ContainerStart): void {
    this.#starting.set(container.id, container);
    this.#send({ type: 'start', container });
  }

  stop(id: ContainerId, graceMs: number): void {
    this.#send({ type: 'stop', id, graceMs });
  }

  forget(id: ContainerId): void {
    this.#send({ type: 'forget', id });
  }

  /** Stops all modules within the grace and ends the runner; kills it when it does not end. */
  async shutdown(graceMs: number): Promise<RunnerEnd> {
    this.#shuttingDown = true;
    this.#send({ type: 'shutdown', graceMs });
    // Also keeps this process until then: nothing else may be going on in it.
    const slack = setTimeout(() => this.kill(), graceMs + 5_000);
    try {
      return await this.closed;
    } finally {
      clearTimeout(slack);
    }
  }

  /** Ends the process now; `closed` tells. */
  kill(): void {
    killRunner(this.record);
  }

  /** Leaves the runner running. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#finish({ kind: 'left', message: '' });
    await this.#writing;
  }

  #send(message: AgentMessage): void {
    if (this.#connection) this.#connection.send(message);
    else if (this.#unsent.length < maxUnsent) this.#unsent.push(message);
    else this.#finish({ kind: 'lost', message: 'too much waits to be said to a runner without a connection' });
  }

  #attach(): void {
    this.#connection?.listen({
      message: (message, tail) => this.#hear(message, tail),
      closed: (reason) => void this.#reconnect(reason),
    });
  }

  #hear(message: RunnerMessage, tail: Uint8Array): void {
    const receiver = this.#receiver!;
    switch (message.type) {
      case 'started':
      case 'startFailed':
      case 'exited':
      case 'ready':
        this.#starting.delete(message.id);
        return receiver.news(message);
      case 'logs':
        return this.#takeLogs(
          message.seq,
          slices(message.entries, tail, (entry, bytes) => ({ entry, bytes })),
          tail.length + entryBytes * message.entries.length,
        );
      case 'publish':
        return void this.#takePublishes(slices(message.items, tail, (item, payload) => ({ item, payload })));
      case 'device':
        return receiver.device(message.name, message.healthy, message.message);
      case 'pong':
      case 'welcome':
      case 'refused':
        return;
      default:
        message satisfies never;
    }
  }

  /** @param cost bytes that it takes until it is written */
  #takeLogs(seq: number, pieces: { entry: LogEntry; bytes: Uint8Array }[], cost: number): void {
    const again = seq <= this.#lastLogSeq; // sent anew on a new connection, but we have it
    this.#lastLogSeq = Math.max(seq, this.#lastLogSeq);
    const written = again ? undefined : this.#receiver!.logs(pieces);
    this.#unwritten += cost;
    if (this.#unwritten > maxUnwritten) this.#connection?.pause();
    this.#writing = Promise.all([this.#writing, written]).then(
      () => this.#connection?.send({ type: 'logged', seq }),
      (error: unknown) => {
        this.#log.error({ err: error }, 'container log lost');
        this.#connection?.send({ type: 'logged', seq });
      },
    );
    void this.#writing.then(() => {
      this.#unwritten -= cost;
      if (this.#unwritten <= maxUnwritten) this.#connection?.resume();
    });
  }

  async #takePublishes(published: { item: PublishItem; payload: Uint8Array }[]): Promise<void> {
    let results: readonly PublishResult[];
    try {
      results = await this.#receiver!.publishes(this.record.id, published);
    } catch (error) {
      const message = errorLine(error).slice(0, 1000);
      results = published.map(({ item }) => ({ publishNo: item.publishNo, error: { case: 'other', message } }));
    }
    this.#connection?.send({ type: 'published', results });
  }

  async #reconnect(reason: string): Promise<void> {
    this.#connection = undefined;
    this.#shortConnections = performance.now() - this.#connectedAtMs < shortMs ? this.#shortConnections + 1 : 0;
    for (let attempt = this.#shortConnections; attempt < reconnectTries && !this.#end; attempt++) {
      if (!isAlive(this.record)) return this.#died();
      if (attempt === this.#shortConnections && !this.#shuttingDown)
        this.#log.warn({ reason }, 'connection to the runner lost');
      try {
        const connection = await AgentConnection.open(this.record);
        if (this.#end) return connection.close();
        return this.#resume(connection);
      } catch (error) {
        this.#log.debug({ error: errorLine(error) }, 'runner not reached');
        await delay(Math.min(50 * 2 ** attempt, 1_000));
      }
    }
    if (!isAlive(this.record)) return this.#died();
    this.#finish({ kind: 'lost', message: `the runner can't be reached any more: ${reason}` });
  }

  /** What was missed is in the reports; what was asked meanwhile is said now. */
  #resume(connection: AgentConnection): void {
    this.#connection = connection;
    this.#connectedAtMs = performance.now();
    this.#reports = connection.reports;
    const known = new Set<ContainerId>();
    for (const report of connection.reports) {
      known.add(report.id);
      this.#starting.delete(report.id);
      if (report.state === 'running')
        this.#receiver!.news({ type: 'started', id: report.id, startedAtMs: report.startedAtMs });
      else this.#receiver!.news({ ...report, type: 'exited' });
    }
    const unsent = this.#unsent;
    this.#unsent = [];
    for (const container of this.#starting.values()) connection.send({ type: 'start', container });
    for (const message of unsent) {
      if (message.type !== 'start') connection.send(message);
    }
    this.#attach();
  }

  /** Messages wait behind a module in an endless loop: a runner that has not been heard for long is held by one. */
  #ping(): void {
    if (!this.#connection) return;
    const silentMs = performance.now() - this.#connection.lastHeardMs;
    if (silentMs >= this.#unresponsiveMs) this.#onUnresponsive?.(silentMs);
    this.#connection.send({ type: 'ping', nonce: this.#nonce++ });
  }

  #died(): void {
    const how = this.#exited;
    if (how !== undefined || !this.#exit) {
      this.#finish({ kind: 'died', message: `the runner ended${how === undefined ? '' : `: ${how}`}` });
      void removeTraces(this.record).catch(() => {});
    }
    // Else the exit of our child is told in a moment.
  }

  #finish(end: RunnerEnd): void {
    if (this.#end) return;
    this.#end = end;
    clearInterval(this.#watch);
    this.#connection?.close();
    this.#connection = undefined;
    this.#settleClosed(end);
  }
}

function slices<Item extends { readonly length: number }, T>(
  items: readonly Item[],
  tail: Uint8Array,
  make: (item: Item, bytes: Uint8Array) => T,
): T[] {
  let at = 0;
  return items.map((item) => make(item, tail.subarray(at, (at += item.length))));
}

function exitOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    const tell = (code: number | null, signal: NodeJS.Signals | null): void =>
      resolve(signal === null ? `exit code ${code}` : signal);
    if (child.exitCode !== null || child.signalCode !== null) tell(child.exitCode, child.signalCode);
    else child.once('exit', tell);
  });
}
