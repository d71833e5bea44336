import type { FileHandle } from 'node:fs/promises';
import { logPath, openForReading, runFiles } from './log-folder.ts';
import { lineFeed, maxRecordBytes } from './record.ts';

/** Bytes read at a time. */
const blockBytes = 64 << 10;

/**
 * Reads the files of one run from the oldest to the one being written, as records, and goes on where it was when asked
 * again. A file that is rotated while it is read stays open, so that nothing is skipped; only a reader slower than the
 * rotation of all files loses what was removed meanwhile.
 */
export class RunReader implements AsyncDisposable {
  readonly #folder: string;
  readonly #restart: number;
  #generation = 0;
  #file: FileHandle | undefined;
  #position = 0;
  /** The beginning of a record whose end is not in the file yet. */
  #rest: Buffer = Buffer.alloc(0);

  private constructor(folder: string, restart: number) {
    this.#folder = folder;
    this.#restart = restart;
  }

  /** Begins `tailLines` records before the end, or with the oldest. A run without a file has no records yet. */
  static async open(folder: string, restart: number, tailLines?: number): Promise<RunReader> {
    const reader = new RunReader(folder, restart);
    try {
      const { rotated, current } = await runFiles(folder, restart);
      if (tailLines === undefined) await reader.#go(rotated[0] ?? current);
      else await reader.#seekTail(rotated, current, tailLines);
    } catch (error) {
      await reader[Symbol.asyncDispose]();
      throw error;
    }
    return reader;
  }

  /** Every record there is from here, without their line feeds, in blocks; each is valid until the next is asked for. */
  async *drain(signal: AbortSignal): AsyncGenerator<Uint8Array[]> {
    const block = Buffer.allocUnsafe(blockBytes);
    while (!signal.aborted) {
      const bytesRead = await this.#read(block);
      if (bytesRead > 0) {
        const records = this.#split(block.subarray(0, bytesRead));
        if (records.length > 0) yield records;
      } else if (!(await this.#next())) {
        return;
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  async #read(block: Buffer): Promise<number> {
    if (this.#file === undefined) return 0;
    const { bytesRead } = await this.#file.read(block, 0, block.byteLength, this.#position);
    this.#position += bytesRead;
    return bytesRead;
  }

  #split(block: Buffer): Uint8Array[] {
    const bytes = this.#rest.byteLength === 0 ? block : Buffer.concat([this.#rest, block]);
    const records: Uint8Array[] = [];
    let from = 0;
    for (let end = bytes.indexOf(lineFeed); end >= 0; end = bytes.indexOf(lineFeed, from)) {
      records.push(bytes.subarray(from, end));
      from = end + 1;
    }
    // A line longer than any record is no record; its end is found without keeping it.
    this.#rest = bytes.byteLength - from > maxRecordBytes ? Buffer.alloc(1) : Buffer.from(bytes.subarray(from));
    return records;
  }

  /** At the end of a file: the next one, if the run has gone on to it. */
  async #next(): Promise<boolean> {
    const { rotated, current } = await runFiles(this.#folder, this.#restart);
    if (this.#file === undefined)
      return this.#go(rotated.find((generation) => generation >= this.#generation) ?? current);
    if (this.#generation >= current) return false;
    // It was rotated. What was written to it after our last read is read before the next file.
    if ((await this.#file.stat()).size > this.#position) return true;
    return this.#go(rotated.find((generation) => generation > this.#generation) ?? current);
  }

  /** Opens the file of a generation, whichever name it has by then. False when it does not exist (yet). */
  async #go(generation: number): Promise<boolean> {
    await this[Symbol.asyncDispose]();
    this.#generation = generation;
    this.#position = 0;
    this.#rest = Buffer.alloc(0);
    for (;;) {
      const { rotated, current } = await runFiles(this.#folder, this.#restart);
      const wanted = rotated.find((existing) => existing >= generation) ?? current;
      const file = await openForReading(logPath(this.#folder, this.#restart, wanted === current ? undefined : wanted));
      // Rotated between the list and the open: what was opened as the current file may be a later one.
      const gone = file === undefined && wanted !== current;
      if (gone || (await runFiles(this.#folder, this.#restart)).current !== current) {
        await file?.close();
        continue;
      }
      this.#generation = wanted;
      this.#file = file;
      return file !== undefined;
    }
  }

  /** Counts line feeds backwards, block by block, through as many files as it takes. */
  async #seekTail(rotated: readonly number[], current: number, lines: number): Promise<void> {
    let wanted = lines;
    for (const generation of [...rotated, current].reverse()) {
      if (!(await this.#go(generation))) continue;
      const file = this.#file;
      if (file === undefined) continue;
      const { size } = await file.stat();
      const found = await tailPosition(file, size, wanted);
      this.#position = found.position;
      wanted = found.missing;
      if (wanted === 0) return;
    }
  }
}

/** Where the last `lines` lines of a file begin, and how many of them it does not have. */
async function tailPosition(
  file: FileHandle,
  size: number,
  lines: number,
): Promise<{ readonly position: number; readonly missing: number }> {
  if (lines === 0) return { position: size, missing: 0 };
  const block = Buffer.allocUnsafe(Math.min(blockBytes, size));
  // The line feed that ends the last line begins no line after it.
  let end = size - 1;
  let found = 0;
  while (end > 0) {
    const start = Math.max(0, end - blockBytes);
    const { bytesRead } = await file.read(block, 0, end - start, start);
    for (let at = block.subarray(0, bytesRead).lastIndexOf(lineFeed); at >= 0;) {
      found += 1;
      if (found === lines) return { position: start + at + 1, missing: 0 };
      at = at === 0 ? -1 : block.subarray(0, at).lastIndexOf(lineFeed);
    }
    end = start;
  }
  return { position: 0, missing: lines - found - (size > 0 ? 1 : 0) };
}
