import type { LogStream } from '../../runner/protocol.ts';
import { formatRecord, lineFeed, maxRecordContent } from './record.ts';

/**
 * Turns what one stream of a container writes, cut anywhere, into records. Holds back an unfinished line of at most
 * 16 KiB; a longer one leaves in parts.
 */
export class LineAssembler {
  readonly #stream: LogStream;
  #rest: Uint8Array[] = [];
  #restBytes = 0;
  #lastMs = 0;
  /** Part of the present line has left as `P`: the line needs an `F`, even an empty one. */
  #open = false;

  constructor(stream: LogStream) {
    this.#stream = stream;
  }

  /** Takes bytes written at `atMs`; gives the records that are complete now. What is kept of `bytes` is copied. */
  *add(bytes: Uint8Array, atMs: number): Generator<Buffer> {
    this.#lastMs = atMs;
    let from = 0;
    while (from < bytes.byteLength) {
      const end = bytes.indexOf(lineFeed, from);
      const to = end < 0 ? bytes.byteLength : end;
      yield* this.#take(bytes.subarray(from, to), atMs);
      if (end < 0) return;
      yield this.#leave('F', atMs);
      from = end + 1;
    }
  }

  /** The unfinished line, as `F` when the container has ended and as `P` when its next bytes go to another agent. */
  *flush(tag: 'F' | 'P'): Generator<Buffer> {
    if (this.#restBytes > 0 || (tag === 'F' && this.#open)) yield this.#leave(tag, this.#lastMs);
  }

  *#take(piece: Uint8Array, atMs: number): Generator<Buffer> {
    let rest = piece;
    while (this.#restBytes + rest.byteLength > maxRecordContent) {
      const room = maxRecordContent - this.#restBytes;
      this.#keep(rest.subarray(0, room));
      rest = rest.subarray(room);
      yield this.#leave('P', atMs);
    }
    this.#keep(rest);
  }

  #keep(piece: Uint8Array): void {
    if (piece.byteLength === 0) return;
    // Byte by byte, the list would cost more than the line: what is small is merged.
    const last = this.#rest.at(-1);
    if (last !== undefined && this.#rest.length >= 16) this.#rest = [Buffer.concat([...this.#rest, piece])];
    else this.#rest.push(Uint8Array.from(piece));
    this.#restBytes += piece.byteLength;
  }

  #leave(tag: 'F' | 'P', atMs: number): Buffer {
    const [only] = this.#rest;
    const content = this.#rest.length === 1 && only !== undefined ? only : Buffer.concat(this.#rest);
    this.#rest = [];
    this.#restBytes = 0;
    this.#open = tag === 'P';
    return formatRecord(atMs, this.#stream, tag, content);
  }
}
