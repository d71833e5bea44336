import { parseRecord, recordTime } from './record.ts';

export interface LineFilterOptions {
  readonly since: Date | undefined;
  readonly timestamps: boolean;
  readonly limitBytes: number | undefined;
}

const newLine = Buffer.from('\n');

/** Turns records into what the reader of `kubectl logs` sees: lines, put together again, of the time asked for. */
export class LineFilter {
  readonly #since: string | undefined;
  readonly #timestamps: boolean;
  #left: number;
  /** The stream whose line is not at its end. */
  #open: string | undefined;

  constructor({ since, timestamps, limitBytes }: LineFilterOptions) {
    this.#since = since === undefined ? undefined : recordTime(since.getTime());
    this.#timestamps = timestamps;
    this.#left = limitBytes ?? Infinity;
  }

  /** The limit is reached: nothing more will come. */
  get done(): boolean {
    return this.#left <= 0;
  }

  /** The text of some records, in one piece; what is no record is left out. */
  text(records: readonly Uint8Array[]): Buffer {
    const pieces: Uint8Array[] = [];
    for (const bytes of records) {
      const record = parseRecord(bytes);
      // Times have one form and one width, so they compare as text.
      if (record === undefined || (this.#since !== undefined && record.time < this.#since)) continue;
      if (this.#open !== undefined && this.#open !== record.stream) {
        pieces.push(newLine);
        this.#open = undefined;
      }
      if (this.#timestamps && this.#open === undefined) pieces.push(Buffer.from(`${record.time} `, 'latin1'));
      pieces.push(record.content);
      if (!record.partial) pieces.push(newLine);
      this.#open = record.partial ? record.stream : undefined;
    }
    const text = Buffer.concat(pieces);
    const allowed = text.byteLength > this.#left ? text.subarray(0, this.#left) : text;
    this.#left -= allowed.byteLength;
    return allowed;
  }
}
