import { setTimeout as delay } from 'node:timers/promises';
import { errorLine } from '../base/errors.ts';
import type { Logger } from '../observe/logger.ts';
import { RunnerClient, type RunnerEnd, type RunnerReceiver } from './client.ts';
import type { ContainerId, ContainerReport, ContainerStart } from './protocol.ts';
import { RunnerError } from './runner-error.ts';
import { isAlive, killRunner, type RunnerRecord } from './runner-process.ts';
import { removeStrayTraces, removeTraces } from './spawn-runner.ts';

/** The agent's memory of its runners. */
export interface RunnerMemory {
  all(): RunnerRecord[];
  save(record: RunnerRecord): void;
  remove(id: string): void;
}

export interface SupervisorReceiver extends RunnerReceiver {
  /** Every run has ended with the runner. Resolves when that is told: the next runner starts after. */
  runnerLost(message: string): Promise<void>;
}

export interface SupervisorOptions {
  /** Where sockets go. */
  readonly directory: string;
  /** Who modules run as; undefined: the agent's own user. */
  readonly user: string | undefined;
  /** A runner silent for this long is killed, in milliseconds. */
  readonly unresponsiveMs: number;
  readonly records: RunnerMemory;
  readonly receiver: SupervisorReceiver;
  readonly log: Logger;
}

/** Between a runner's death and the next one, in milliseconds; back to the first after a minute of life. */
const relaunch = { firstMs: 100, maxMs: 60_000, stableMs: 60_000 } as const;

/**
 * There is always a runner: the one an earlier agent left is adopted, one that dies or no longer answers is replaced.
 * What is asked while there is none waits for the next.
 */
export class RunnerSupervisor implements AsyncDisposable {
  readonly #options: SupervisorOptions;
  readonly #ending = new AbortController();
  #client: RunnerClient | undefined;
  #adopted = false;
  /** Starts that wait for a runner. */
  readonly #waiting = new Map<ContainerId, ContainerStart>();
  #reports: readonly ContainerReport[] = [];
  #verdict: string | undefined;
  #failures = 0;
  #launchedAt = performance.now();
  #watching: Promise<void> = Promise.resolve();

  private constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** @throws RunnerError when no runner can be started, or another agent has ours */
  static async open(options: SupervisorOptions): Promise<RunnerSupervisor> {
    const supervisor = new RunnerSupervisor(options);
    const adopted = await supervisor.#adopt();
    supervisor.#adopted = adopted !== undefined;
    supervisor.#client = adopted ?? (await supervisor.#launch());
    supervisor.#reports = supervisor.#client.reports;
    return supervisor;
  }

  /** What the runner ran when it was adopted. */
  get reports(): readonly ContainerReport[] {
    return this.#reports;
  }

  /** Whether an earlier agent started it. */
  get adopted(): boolean {
    return this.#adopted;
  }

  get pid(): number | undefined {
    return this.#client?.record.pid;
  }

  /** Begins to hear the runner; nothing said before is missed. */
  listen(): void {
    if (this.#client !== undefined) this.#watching = this.#watch(this.#client);
  }

  start(container: ContainerStart): void {
    if (this.#client !== undefined) this.#client.start(container);
    else this.#waiting.set(container.id, container);
  }

  stop(id: ContainerId, graceMs: number): void {
    if (this.#waiting.delete(id)) {
      const message = 'stopped before it ran';
      queueMicrotask(() =>
        this.#options.receiver.news({ type: 'startFailed', id, reason: 'CreateContainerError', message }),
      );
    }
    this.#client?.stop(id, graceMs);
  }

  forget(id: ContainerId): void {
    this.#client?.forget(id);
  }

  /** Ends every module within the grace, and the runner. */
  async shutdown(graceMs: number): Promise<void> {
    this.#ending.abort();
    // One that is being started is seen to its start, so that it is not left behind.
    if (this.#client === undefined) await this.#watching;
    const client = this.#client;
    if (client === undefined) return;
    const { kind } = await client.shutdown(graceMs);
    if (kind !== 'died') client.kill();
    this.#forget(client.record);
  }

  /** Leaves the runner running. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort();
    await this.#client?.[Symbol.asyncDispose]();
    await this.#watching;
    // One that was being started meanwhile.
    await this.#client?.[Symbol.asyncDispose]();
  }

  async #adopt(): Promise<RunnerClient | undefined> {
    const { records, log } = this.#options;
    let adopted: RunnerClient | undefined;
    for (const record of records.all()) {
      try {
        if (adopted === undefined) {
          adopted = await RunnerClient.adopt(record, this.#options);
          log.info({ pid: record.pid, modules: adopted.reports.length }, 'runner adopted');
          continue;
        }
      } catch (error) {
        if (error instanceof RunnerError && error.code === 'RunnerBusy') throw error;
        if (isAlive(record))
          log.warn({ pid: record.pid, err: error }, 'runner of an earlier agent ended: it is of no use');
      }
      killRunner(record);
      records.remove(record.id);
      await removeTraces(record);
    }
    await removeStrayTraces(this.#options.directory, records.all());
    return adopted;
  }

  async #launch(): Promise<RunnerClient> {
    const { directory, user, log, records, unresponsiveMs } = this.#options;
    let record: RunnerRecord | undefined;
    const spawned = (it: RunnerRecord): void => records.save((record = it));
    let client: RunnerClient;
    try {
      client = await RunnerClient.launch({
        directory,
        log,
        unresponsiveMs,
        spawned,
        ...(user !== undefined && { user }),
      });
    } catch (error) {
      if (record !== undefined) records.remove(record.id);
      throw error;
    }
    this.#launchedAt = performance.now();
    log.info({ pid: client.record.pid }, 'runner started');
    return client;
  }

  /** Until we end: hears one runner to its death, then starts the next. */
  async #watch(first: RunnerClient): Promise<void> {
    let client: RunnerClient | undefined = first;
    // An end that came while the next one started is for whoever asked for it.
    while (client !== undefined && !this.#ending.signal.aborted) {
      const current = client;
      current.listen(this.#options.receiver, (silentMs) => {
        this.#verdict ??= `the runner was ended: a module held it for ${Math.round(silentMs / 1000)} s`;
        current.kill();
      });
      for (const container of this.#waiting.values()) current.start(container);
      this.#waiting.clear();
      const end = await current.closed;
      if (end.kind === 'left' || this.#ending.signal.aborted) return;
      this.#client = undefined;
      await this.#bury(current, end);
      client = await this.#replace();
      this.#client = client;
    }
  }

  async #bury(client: RunnerClient, end: RunnerEnd): Promise<void> {
    if (end.kind === 'lost') client.kill();
    const message = this.#verdict ?? end.message;
    this.#verdict = undefined;
    this.#options.log.error({ pid: client.record.pid, reason: message }, 'runner lost, and every module with it');
    this.#forget(client.record);
    // Told as lost with the others.
    this.#waiting.clear();
    await this.#options.receiver.runnerLost(message);
  }

  /** A disk that takes nothing keeps a record that the next agent finds to be of nobody. */
  #forget({ id, pid }: RunnerRecord): void {
    try {
      this.#options.records.remove(id);
    } catch (error) {
      this.#options.log.error({ pid, error: errorLine(error) }, "can't forget a runner that has ended");
    }
  }

  async #replace(): Promise<RunnerClient | undefined> {
    const { signal } = this.#ending;
    if (performance.now() - this.#launchedAt >= relaunch.stableMs) this.#failures = 0;
    while (!signal.aborted) {
      await delay(Math.min(relaunch.maxMs, relaunch.firstMs * 2 ** this.#failures++), undefined, { signal }).catch(
        () => {},
      );
      if (signal.aborted) return undefined;
      try {
        return await this.#launch();
      } catch (error) {
        this.#options.log.error({ error: errorLine(error) }, 'no runner: trying again');
      }
    }
    return undefined;
  }
}
