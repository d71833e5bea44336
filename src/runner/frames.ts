import { LoamletError } from '../base/errors.ts';
import { maxFrameBytes } from './protocol.ts';

/** The other side does not keep to the protocol; the connection ends. */
export class FrameError extends LoamletError<'BadFrame'> {
  constructor(message: string) {
    super('BadFrame', 'us', message, { remedy: 'start the agent and its runners with the same version' });
  }
}

export interface Frame {
  /** The JSON head, not checked yet. */
  readonly head: unknown;
  /** The bytes after the head: a view of what was received. */
  readonly tail: Uint8Array;
}

/** One message as bytes. @throws RangeError for a frame over `maxFrameBytes`, which callers make smaller ones of */
export function encodeFrame(message: object, tail: readonly Uint8Array[] = []): Buffer {
  const head = Buffer.from(JSON.stringify(message));
  let length = 4 + head.length;
  for (const part of tail) length += part.length;
  if (length > maxFrameBytes) throw new RangeError(`a frame of ${length} bytes`);
  const frame = Buffer.allocUnsafe(4 + length);
  frame.writeUInt32LE(length, 0);
  frame.writeUInt32LE(head.length, 4);
  head.copy(frame, 8);
  let at = 8 + head.length;
  for (const part of tail) {
    frame.set(part, at);
    at += part.length;
  }
  return frame;
}

/** Chunks of this size are kept as they came. */
const smallBytes = 16 << 10;

/** Takes frames out of a byte stream. Holds at most one frame's bytes beside the chunk at hand: nothing is set aside by a length alone. */
export class FrameDecoder {
  #chunks: Uint8Array[] = [];
  #held = 0;

  /** Bytes held of a frame that is not whole yet. */
  get heldBytes(): number {
    return this.#held;
  }

  /** Pieces they are held in. */
  get heldChunks(): number {
    return this.#chunks.length;
  }

  /** The frames that `chunk` completes. @throws FrameError; nothing can be read after it */
  *push(chunk: Uint8Array): Generator<Frame> {
    this.#chunks.push(chunk);
    this.#held += chunk.length;
    this.#mergeSmall();
    for (;;) {
      if (this.#held < 4) return;
      const length = this.#peekLength();
      if (length < 4 || length > maxFrameBytes) throw new FrameError(`a frame of ${length} bytes`);
      if (this.#held < 4 + length) return;
      const bytes = this.#take(4 + length);
      yield decode(bytes);
    }
  }

  #peekLength(): number {
    const first = this.#chunks[0]!;
    if (first.length >= 4) return new DataView(first.buffer, first.byteOffset, 4).getUint32(0, true);
    return this.#join().readUInt32LE(0);
  }

  #take(length: number): Buffer {
    const all = this.#chunks.length === 1 ? toBuffer(this.#chunks[0]!) : this.#join();
    const rest = all.subarray(length);
    this.#chunks = rest.length > 0 ? [rest] : [];
    this.#held -= length;
    return all.subarray(0, length);
  }

  /** Bytes that come one by one would take a hundred times their size: small chunks are doubled up. */
  #mergeSmall(): void {
    for (;;) {
      const [before, last] = this.#chunks.slice(-2);
      if (!before || !last || before.length > last.length || before.length >= smallBytes) return;
      this.#chunks.splice(-2, 2, Buffer.concat([before, last]));
    }
  }

  #join(): Buffer {
    const all = Buffer.concat(this.#chunks, this.#held);
    this.#chunks = [all];
    return all;
  }
}

function decode(bytes: Buffer): Frame {
  const headLength = bytes.readUInt32LE(4);
  if (headLength > bytes.length - 8)
    throw new FrameError(`a head of ${headLength} bytes in a frame of ${bytes.length}`);
  let head: unknown;
  try {
    head = JSON.parse(bytes.toString('utf8', 8, 8 + headLength));
  } catch {
    throw new FrameError('a head that is not JSON');
  }
  return { head, tail: bytes.subarray(8 + headLength) };
}

function toBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
