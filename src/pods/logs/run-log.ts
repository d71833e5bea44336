import { rename, rm, type FileHandle } from 'node:fs/promises';
import type { LogStream } from '../../runner/protocol.ts';
import { LineAssembler } from './line-assembler.ts';
import { logPath, makeContainerFolder, openForAppending, removeOldRuns, runFiles, type LogRun } from './log-folder.ts';
import { lineFeed } from './record.ts';

/** Bytes that a container wrote to one stream at one time; any bytes, not lines. */
export interface LogChunk {
  readonly stream: LogStream;
  /** Milliseconds since the epoch. */
  readonly atMs: number;
  readonly bytes: Uint8Array;
}

export interface RotationOptions {
  /** A file of this size is not written to again. */
  readonly maxBytes: number;
  /** Files kept of one run, the one being written included. */
  readonly maxFiles: number;
}

/**
 * The log of one run while it is written: its unfinished lines, its open file, its rotation. Not safe for calls at the
 * same time; `LogWriter` makes them follow each other.
 */
export class RunLog {
  readonly run: LogRun;
  readonly #directory: string;
  readonly #options: RotationOptions;
  readonly #lines = { stdout: new LineAssembler('stdout'), stderr: new LineAssembler('stderr') };
  #folder: string | undefined;
  #file: FileHandle | undefined;
  #size = 0;
  #generation = 1;

  constructor(directory: string, run: LogRun, options: RotationOptions) {
    this.#directory = directory;
    this.run = run;
    this.#options = options;
  }

  get isOpen(): boolean {
    return this.#file !== undefined;
  }

  /** Resolves when what is complete of it is in the file. @throws LogError, or the system's error: the chunks are lost then */
  async append(chunks: readonly LogChunk[]): Promise<void> {
    const records: Buffer[] = [];
    for (const { stream, bytes, atMs } of chunks) records.push(...this.#lines[stream].add(bytes, atMs));
    await this.#write(records);
  }

  /** Writes the unfinished lines: `F` when the run has ended, `P` when it goes on under another agent. */
  async finish(tag: 'F' | 'P'): Promise<void> {
    try {
      await this.#write([...this.#lines.stdout.flush(tag), ...this.#lines.stderr.flush(tag)]);
    } finally {
      await this.close();
    }
  }

  /** Gives the file back; the next write opens it again. */
  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  async #write(records: readonly Buffer[]): Promise<void> {
    let from = 0;
    while (from < records.length) {
      const file = (this.#file ??= await this.#open());
      if (this.#size >= this.#options.maxBytes) {
        await this.#rotate();
        continue;
      }
      let to = from;
      let bytes = 0;
      for (; to < records.length && this.#size + bytes < this.#options.maxBytes; to += 1)
        bytes += records[to]?.byteLength ?? 0;
      await this.#put(file, Buffer.concat(records.slice(from, to), bytes));
      from = to;
    }
  }

  async #put(file: FileHandle, bytes: Buffer): Promise<void> {
    try {
      for (let done = 0; done < bytes.byteLength;) {
        const { bytesWritten } = await file.write(bytes, done);
        done += bytesWritten;
        this.#size += bytesWritten;
      }
    } catch (error) {
      // A full disk may have torn a record: the next open mends the line.
      await this.close();
      throw error;
    }
  }

  async #open(): Promise<FileHandle> {
    if (this.#folder === undefined) {
      const folder = await makeContainerFolder(this.#directory, this.run);
      await removeOldRuns(folder, this.run.restart - 1);
      this.#generation = (await runFiles(folder, this.run.restart)).current;
      this.#folder = folder;
    }
    const file = await openForAppending(logPath(this.#folder, this.run.restart));
    try {
      this.#size = (await file.stat()).size;
      await this.#mend(file);
    } catch (error) {
      await file.close();
      throw error;
    }
    return file;
  }

  /** Ends a line that a power cut or a full disk has torn, so that the next record begins on its own. */
  async #mend(file: FileHandle): Promise<void> {
    if (this.#size === 0) return;
    const last = Buffer.alloc(1);
    await file.read(last, 0, 1, this.#size - 1);
    if (last[0] !== lineFeed) await this.#put(file, Buffer.of(lineFeed));
  }

  async #rotate(): Promise<void> {
    const folder = this.#folder;
    if (folder === undefined) return;
    await this.close();
    const { restart } = this.run;
    await rename(logPath(folder, restart), logPath(folder, restart, this.#generation));
    this.#generation += 1;
    const { rotated } = await runFiles(folder, restart);
    const surplus = rotated.slice(0, Math.max(0, rotated.length - (this.#options.maxFiles - 1)));
    for (const generation of surplus) await rm(logPath(folder, restart, generation), { force: true });
  }
}
