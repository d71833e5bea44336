import type { Grant } from '../../hostcalls/grant.ts';
import { errorLine } from '../base/errors.ts';
import type { Logger } from '../observe/logger.ts';
import type { Outbox } from '../mqtt/outbox.ts';
import type { ContainerId, LogEntry, PublishResult } from '../runner/protocol.ts';
import type { LogRun } from './logs/log-folder.ts';
import type { LogWriter } from './logs/log-writer.ts';
import type { PodManager, RunNews } from './pod-manager.ts';
import { storePublishes, type Published } from './publish-gate.ts';

/** One entry of a log frame with its bytes. */
export interface LogPiece {
  readonly entry: LogEntry;
  readonly bytes: Uint8Array;
}

export interface RunnerDeskOptions {
  readonly logs: Pick<LogWriter, 'write' | 'end' | 'endAll'>;
  /** Absent on a node without a broker: every publish is denied. */
  readonly outbox: Pick<Outbox, 'append'> | undefined;
  readonly log: Logger;
}

/**
 * Where everything a runner says arrives, in its order: log bytes go to their files, publishes through the grant to the
 * outbox, news to the pods. A run's exit is delivered when its last log bytes are in the file, so that whoever sees
 * that it ended can read why.
 */
export class RunnerDesk {
  readonly #options: RunnerDeskOptions;
  #manager: PodManager | undefined;
  /** The last log write of each run that is not done yet. */
  readonly #writing = new Map<ContainerId, Promise<void>>();
  /** Exits that wait for their logs. */
  readonly #telling = new Set<Promise<void>>();

  constructor(options: RunnerDeskOptions) {
    this.#options = options;
  }

  /** Whose pods the runner's words are about. */
  serve(manager: PodManager): void {
    this.#manager = manager;
  }

  news(message: RunNews): void {
    if (message.type !== 'exited') {
      this.#manager?.news(message);
      return;
    }
    const run = this.#manager?.logRunOf(message.id);
    const telling = this.#endLog(message.id, run).then(() => {
      this.#telling.delete(telling);
      this.#manager?.news(message);
    });
    this.#telling.add(telling);
  }

  /** Never rejects: an exit is told whatever became of the log. */
  async #endLog(id: ContainerId, run: LogRun | undefined): Promise<void> {
    try {
      await this.#writing.get(id);
      if (run !== undefined) await this.#options.logs.end(run);
    } catch (error) {
      this.#options.log.error({ container: id, error: errorLine(error) }, 'the end of a log is lost');
    }
  }

  /** Resolves when the bytes are in the log files; the runner holds back until then. */
  async logs(pieces: readonly LogPiece[]): Promise<void> {
    const byRun = Map.groupBy(pieces, ({ entry }) => entry.id);
    await Promise.all([...byRun].map(([id, chunks]) => this.#write(id, chunks)));
  }

  async #write(id: ContainerId, pieces: readonly LogPiece[]): Promise<void> {
    const run = this.#manager?.logRunOf(id);
    if (run === undefined) return;
    const writing = this.#options.logs.write(
      run,
      pieces.map(({ entry, bytes }) => ({ stream: entry.stream, atMs: entry.atMs, bytes })),
    );
    this.#writing.set(id, writing);
    try {
      await writing;
    } finally {
      if (this.#writing.get(id) === writing) this.#writing.delete(id);
    }
  }

  publishes(runnerId: string, published: readonly Published[]): Promise<PublishResult[]> {
    const grantOf = (id: ContainerId): Grant | undefined => this.#manager?.grantOf(id)?.grant;
    return storePublishes(runnerId, published, grantOf, this.#options.outbox ?? noOutbox);
  }

  device(name: string, healthy: boolean, message: string): void {
    this.#manager?.deviceHealth(name, healthy, message);
  }

  /** Every run has ended with it, and so have their logs. */
  async runnerLost(message: string): Promise<void> {
    // What ended by itself before ended as it said.
    await Promise.all(this.#telling);
    try {
      await this.#options.logs.endAll();
    } catch (error) {
      this.#options.log.error({ error: errorLine(error) }, 'the end of the logs is lost');
    }
    this.#manager?.runnerLost(message);
  }
}

const noOutbox: Pick<Outbox, 'append'> = {
  append: (items) => Promise.resolve(items.map(() => ({ state: 'refused', message: 'this node has no broker' }))),
};
