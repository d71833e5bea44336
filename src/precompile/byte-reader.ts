import { PrecompileError } from './errors.ts';

/** Names are taken as they are: with a byte order mark in front a name is another one. */
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Reads a stretch of a wasm file. Every read is held against the end of the stretch; `where` names it in errors. */
export class ByteReader {
  readonly bytes: Uint8Array;
  readonly end: number;
  readonly where: string;
  at: number;

  constructor(bytes: Uint8Array, where: string, start = 0, end = bytes.length) {
    this.bytes = bytes;
    this.where = where;
    this.at = start;
    this.end = end;
  }

  get done(): boolean {
    return this.at >= this.end;
  }

  /** @throws PrecompileError `ErrModuleInvalid` at the place reached so far. */
  fail(what: string): never {
    throw new PrecompileError('ErrModuleInvalid', `${this.where} is malformed at byte ${this.at}: ${what}`, {
      remedy: 'build the module again and check that the upload was complete',
    });
  }

  u8(): number {
    if (this.at >= this.end) this.fail('it ends too early');
    return this.bytes[this.at++]!;
  }

  /** Unsigned LEB128 of at most 32 bits. */
  u32(): number {
    let result = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.u8();
      if (shift === 28 && byte > 0x0f) this.fail('a number is larger than 32 bits');
      result += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return result;
    }
    return this.fail('a number is longer than 5 bytes');
  }

  /** Skips a LEB128 number of up to 64 bits. */
  skipLeb(): void {
    for (let n = 0; n < 10; n++) if (this.u8() < 0x80) return;
    this.fail('a number is longer than 10 bytes');
  }

  skip(length: number): void {
    if (length > this.end - this.at) this.fail('it ends too early');
    this.at += length;
  }

  name(maxBytes: number): string {
    const length = this.u32();
    if (length > maxBytes) this.fail(`a name of ${length} bytes, at most ${maxBytes} are allowed`);
    const start = this.at;
    this.skip(length);
    try {
      return utf8.decode(this.bytes.subarray(start, this.at));
    } catch {
      return this.fail('a name is not UTF-8');
    }
  }

  /** The count of a vector whose elements take at least one byte each. */
  count(of: string, max: number): number {
    const count = this.u32();
    if (count > max) this.fail(`${count} ${of}, at most ${max} are allowed`);
    if (count > this.end - this.at) this.fail(`${count} ${of} do not fit in it`);
    return count;
  }
}
