import { setTimeout as delay } from 'node:timers/promises';

/** Settles as `work` does, or rejects with the signal's reason when that comes first; `work` itself goes on. */
export async function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return await new Promise<T>((resolve, reject) => {
    const leave = () => reject(signal.reason as Error);
    // Whoever leaves, somebody still hears how the work ended.
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave));
    if (signal.aborted) leave();
    else signal.addEventListener('abort', leave, { once: true });
  });
}

/** Waits; rejects with the signal's reason when that comes first. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await delay(milliseconds, undefined, { signal }).catch((error: unknown) => {
    throw signal.aborted ? signal.reason : error;
  });
}

/**
 * One job at a time, in order. A job whose signal aborts while it waits leaves the queue and never runs; at most `limit`
 * wait, and one more is refused with what `full` gives.
 */
export class Serial {
  readonly #limit: number;
  readonly #full: () => Error;
  readonly #waiting: (() => void)[] = [];
  #busy = false;

  constructor(limit: number, full: () => Error) {
    this.#limit = limit;
    this.#full = full;
  }

  async run<T>(job: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    if (this.#busy) await this.#turn(signal);
    this.#busy = true;
    try {
      return await job();
    } finally {
      this.#busy = false;
      const next = this.#waiting.shift();
      // Handed over without a gap, so that nobody who comes now gets in between.
      if (next !== undefined) {
        this.#busy = true;
        next();
      }
    }
  }

  async #turn(signal: AbortSignal | undefined): Promise<void> {
    if (this.#waiting.length >= this.#limit) throw this.#full();
    await new Promise<void>((resolve, reject) => {
      const enter = () => {
        signal?.removeEventListener('abort', leave);
        resolve();
      };
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(enter), 1);
        reject(signal?.reason as Error);
      };
      this.#waiting.push(enter);
      signal?.addEventListener('abort', leave, { once: true });
    });
  }
}
