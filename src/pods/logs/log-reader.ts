import {
  ContainerLogsError,
  type ContainerLogs,
  type ContainerRef,
  type LogOptions,
} from '../../kubelet/container-logs.ts';
import { LineFilter } from './line-filter.ts';
import { containerFolder, type LogRun } from './log-folder.ts';
import type { LogLocation } from './log-location.ts';
import type { LogWriter } from './log-writer.ts';
import { RunReader } from './run-reader.ts';

export interface LogReaderOptions {
  readonly writer: Pick<LogWriter, 'directory' | 'watch'>;
  /** What the node knows of a container; undefined when it has no such pod or container. */
  locate(ref: ContainerRef): LogLocation | undefined;
}

/**
 * Reads container logs for the kubelet port. A follower costs one open file and one block; it is woken by the writer and
 * waits for nothing else.
 */
export class LogReader implements ContainerLogs {
  readonly #options: LogReaderOptions;

  constructor(options: LogReaderOptions) {
    this.#options = options;
  }

  async open(ref: ContainerRef, options: LogOptions, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    const run = this.#find(ref, options.previous);
    return this.#lines(run, options, signal);
  }

  /** Opens nothing before the first line is asked for, so that what is never read leaks nothing. */
  async *#lines(run: LogRun, options: LogOptions, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const { writer } = this.#options;
    // Watched before the first read, so that nothing written meanwhile goes unseen.
    using changes = options.follow && this.#isLive(run) ? new Changes(writer, run, signal) : undefined;
    await using reader = await RunReader.open(containerFolder(writer.directory, run), run.restart, options.tailLines);
    const filter = new LineFilter(options);
    while (!filter.done) {
      // Asked before reading: what was written before the end is then always read.
      const over = changes === undefined || changes.over;
      changes?.seen();
      for await (const records of reader.drain(signal)) {
        const text = filter.text(records);
        if (text.byteLength > 0) yield text;
        if (filter.done) return;
      }
      if (over || signal.aborted) return;
      await changes.next();
    }
  }

  #isLive(run: LogRun): boolean {
    const now = this.#options.locate(run);
    return now !== undefined && now.live && now.uid === run.uid && now.run === run.restart;
  }

  /** @throws ContainerLogsError */
  #find(ref: ContainerRef, previous: boolean): LogRun {
    const { namespace, pod, container } = ref;
    const found = this.#options.locate(ref);
    if (found === undefined) {
      throw new ContainerLogsError(
        'LOGS_NOT_FOUND',
        `container "${container}" in pod "${namespace}/${pod}" is not on this node`,
      );
    }
    const restart = previous ? found.previous : found.run;
    if (restart === undefined) {
      throw new ContainerLogsError(
        'LOGS_NOT_AVAILABLE',
        previous
          ? `previous terminated container "${container}" in pod "${pod}" not found`
          : `container "${container}" in pod "${pod}" is waiting to start: ${found.waiting}`,
      );
    }
    return { namespace, pod, container, uid: found.uid, restart };
  }
}

/** The news of one run, kept until somebody asks. */
class Changes implements Disposable {
  readonly #unwatch: () => void;
  readonly #signal: AbortSignal;
  readonly #abort = (): void => this.#wake?.();
  #news = false;
  #over = false;
  #wake: (() => void) | undefined;

  constructor(writer: Pick<LogWriter, 'watch'>, run: LogRun, signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener('abort', this.#abort, { once: true });
    this.#unwatch = writer.watch(run, (news) => {
      this.#news = true;
      if (news === 'ended') this.#over = true;
      this.#wake?.();
    });
  }

  get over(): boolean {
    return this.#over;
  }

  /** Forgets news: what they tell of is read next. */
  seen(): void {
    this.#news = false;
  }

  /** Resolves at once when there is news, else with the next, or when the signal is aborted. */
  async next(): Promise<void> {
    if (this.#news || this.#over || this.#signal.aborted) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
  }

  [Symbol.dispose](): void {
    this.#unwatch();
    this.#signal.removeEventListener('abort', this.#abort);
  }
}
