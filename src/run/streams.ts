import { writeSync } from 'node:fs';
import { systemCode } from '../base/errors.ts';
import type { Input, Output } from '../runner/wasi/guest.ts';

/** Standard output and error of this process; written before the module goes on, so that nothing piles up. */
export class ProcessOutput implements Output {
  readonly #onGone: () => void;

  /** @param onGone its reader has gone away */
  constructor(onGone: () => void) {
    this.#onGone = onGone;
  }

  write(stream: 'stdout' | 'stderr', bytes: Uint8Array): void {
    const fd = stream === 'stdout' ? 1 : 2;
    for (let at = 0; at < bytes.length;) {
      try {
        at += writeSync(fd, bytes, at);
      } catch (error) {
        if (systemCode(error) !== 'EAGAIN') return this.#onGone();
        Atomics.wait(pause, 0, 0, 1); // a pipe that is full, and that somebody has made non-blocking
      }
    }
  }
}

const pause = new Int32Array(new SharedArrayBuffer(4));

/** Standard input of this process, opened at the first read. */
export class ProcessInput implements Input, Disposable {
  #stream: AsyncIterator<Buffer> | undefined;
  #rest: Uint8Array = new Uint8Array(0);

  async read(length: number, signal: AbortSignal): Promise<Uint8Array> {
    if (this.#rest.length === 0) {
      this.#stream ??= process.stdin[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
      const next = await this.#stream.next();
      signal.throwIfAborted();
      if (next.done === true) return this.#rest;
      this.#rest = next.value;
    }
    const bytes = this.#rest.subarray(0, length);
    this.#rest = this.#rest.subarray(bytes.length);
    return bytes;
  }

  /** Lets the process end though its input goes on. */
  [Symbol.dispose](): void {
    if (this.#stream) process.stdin.destroy();
  }
}
