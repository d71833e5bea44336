const encoder = new TextEncoder();

/** Strings as WASI hands them out: one block of NUL-terminated UTF-8, encoded once. */
export class StringBlock {
  readonly bytes: Uint8Array;
  /** Where each string starts in `bytes`. */
  readonly offsets: readonly number[];

  /** Strings end at their first NUL, if they have one. */
  constructor(strings: readonly string[]) {
    const encoded = strings.map((text) => encoder.encode(`${text.split('\0', 1)[0]}\0`));
    this.bytes = new Uint8Array(encoded.reduce((sum, bytes) => sum + bytes.length, 0));
    let at = 0;
    this.offsets = encoded.map((bytes) => {
      const offset = at;
      this.bytes.set(bytes, offset);
      at += bytes.length;
      return offset;
    });
  }
}
