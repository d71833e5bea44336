import { mkdir, rm } from 'node:fs/promises';
import { errorLine } from '../../base/errors.ts';
import type { Logger } from '../../observe/logger.ts';
import { podFolder, type LogRun, type PodRef } from './log-folder.ts';
import { RunLog, type LogChunk, type RotationOptions } from './run-log.ts';

export interface LogWriterOptions extends Partial<RotationOptions> {
  /** Where every pod's folder is; made when missing. */
  readonly directory: string;
  /** Files kept open at the same time, the least recently written closed first. @default 128 */
  readonly maxOpenFiles?: number;
  readonly log: Pick<Logger, 'warn'>;
}

/** What a follower of a run is told: more is in the file, or nothing more will come. */
export type LogNews = 'written' | 'ended';

interface Entry {
  readonly log: RunLog;
  /** The last of the calls that follow each other. */
  tail: Promise<void>;
  /** The last write failed; the next failure is no news. */
  failing: boolean;
}

/**
 * Writes the log files of all containers. Calls for one run follow each other, runs don't wait for one another. A run
 * costs at most two unfinished lines of 16 KiB. How many bytes wait for the disk is bounded by the caller, which has
 * `write`'s promise to wait for.
 */
export class LogWriter implements AsyncDisposable {
  readonly directory: string;
  readonly #rotation: RotationOptions;
  readonly #maxOpenFiles: number;
  readonly #log: Pick<Logger, 'warn'>;
  readonly #entries = new Map<string, Entry>();
  /** Entries whose file is open, least recently written first. */
  readonly #open = new Set<Entry>();
  readonly #watchers = new Map<string, Set<(news: LogNews) => void>>();

  private constructor(options: LogWriterOptions) {
    this.directory = options.directory;
    this.#rotation = { maxBytes: options.maxBytes ?? 10 << 20, maxFiles: options.maxFiles ?? 5 };
    this.#maxOpenFiles = options.maxOpenFiles ?? 128;
    this.#log = options.log;
  }

  static async open(options: LogWriterOptions): Promise<LogWriter> {
    await mkdir(options.directory, { recursive: true, mode: 0o755 });
    return new LogWriter(options);
  }

  /**
   * Appends what one run wrote, in order. Resolves when its complete lines are in the file. Never rejects: bytes that a
   * full or broken disk refuses are dropped, with one warning until it takes some again, since a module must not stop
   * for its log.
   */
  write(run: LogRun, chunks: readonly LogChunk[]): Promise<void> {
    const entry = this.#entry(run);
    return this.#then(entry, async () => {
      await entry.log.append(chunks);
      this.#used(entry);
      this.#tell(run, 'written');
    });
  }

  /** The run has ended: writes its unfinished lines and ends those who follow it. */
  async end(run: LogRun): Promise<void> {
    const key = keyOf(run);
    const entry = this.#entries.get(key);
    if (entry !== undefined) {
      this.#entries.delete(key);
      await this.#then(entry, () => entry.log.finish('F'));
      this.#open.delete(entry);
    }
    this.#tell(run, 'ended');
  }

  /** Every run has ended: the runner is gone. Also ends those who follow a run that has written nothing. */
  async endAll(): Promise<void> {
    await Promise.all([...this.#entries.values()].map(({ log }) => this.end(log.run)));
    for (const key of this.#watchers.keys()) this.#tellKey(key, 'ended');
  }

  /** Removes every log of a pod that is gone from the node. Never rejects. */
  async remove(pod: PodRef): Promise<void> {
    for (const { log } of this.#entries.values()) {
      if (log.run.uid === pod.uid && log.run.pod === pod.pod && log.run.namespace === pod.namespace)
        await this.end(log.run);
    }
    try {
      await rm(podFolder(this.directory, pod), { recursive: true, force: true });
    } catch (error) {
      this.#log.warn({ pod: `${pod.namespace}/${pod.pod}`, error: errorLine(error) }, 'container logs not removed');
    }
  }

  /** Calls `listener` at each news of the run until the returned function is called. */
  watch(run: LogRun, listener: (news: LogNews) => void): () => void {
    const key = keyOf(run);
    const listeners = this.#watchers.get(key) ?? new Set();
    this.#watchers.set(key, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#watchers.get(key) === listeners) this.#watchers.delete(key);
    };
  }

  /** Writes unfinished lines as such and closes every file: the agent leaves, the containers go on. */
  async close(): Promise<void> {
    await Promise.all([...this.#entries.values()].map((entry) => this.#then(entry, () => entry.log.finish('P'))));
    this.#entries.clear();
    this.#open.clear();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #entry(run: LogRun): Entry {
    const key = keyOf(run);
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = { log: new RunLog(this.directory, run, this.#rotation), tail: Promise.resolve(), failing: false };
      this.#entries.set(key, entry);
    }
    return entry;
  }

  #then(entry: Entry, work: () => Promise<void>): Promise<void> {
    entry.tail = entry.tail.then(work).then(
      () => {
        entry.failing = false;
      },
      (error: unknown) => {
        if (!entry.failing) {
          const { namespace, pod, container } = entry.log.run;
          this.#log.warn(
            { container: `${namespace}/${pod}/${container}`, error: errorLine(error) },
            'container log not written',
          );
        }
        entry.failing = true;
      },
    );
    return entry.tail;
  }

  #used(entry: Entry): void {
    this.#open.delete(entry);
    if (!entry.log.isOpen) return;
    this.#open.add(entry);
    if (this.#open.size <= this.#maxOpenFiles) return;
    const [oldest] = this.#open;
    if (oldest === undefined) return;
    this.#open.delete(oldest);
    void this.#then(oldest, () => (this.#open.has(oldest) ? Promise.resolve() : oldest.log.close()));
  }

  #tell(run: LogRun, news: LogNews): void {
    this.#tellKey(keyOf(run), news);
  }

  #tellKey(key: string, news: LogNews): void {
    for (const listener of this.#watchers.get(key) ?? []) listener(news);
  }
}

function keyOf({ namespace, pod, uid, container, restart }: LogRun): string {
  return `${namespace}/${pod}/${uid}/${container}/${restart}`;
}
