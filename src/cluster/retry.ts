import { setTimeout as delay } from 'node:timers/promises';

/** Delays that double from `firstMs` to `maxMs`, each shortened by up to half so that many nodes do not knock together. */
export class Backoff {
  readonly #firstMs: number;
  readonly #maxMs: number;
  readonly #random: () => number;
  #attempt = 0;

  constructor(firstMs = 250, maxMs = 30_000, random: () => number = Math.random) {
    this.#firstMs = firstMs;
    this.#maxMs = maxMs;
    this.#random = random;
  }

  reset(): void {
    this.#attempt = 0;
  }

  /** The next delay in milliseconds. */
  next(): number {
    const full = Math.min(this.#maxMs, this.#firstMs * 2 ** Math.min(this.#attempt++, 30));
    return full * (1 - this.#random() / 2);
  }

  /** @throws the signal's reason */
  async wait(signal: AbortSignal): Promise<void> {
    await sleep(this.next(), signal);
  }
}

/** @throws the signal's reason */
export async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}

/**
 * Waits until the wall clock shows `date`, looking at least every hour: a timer can't span a month, and a Pi's clock
 * jumps when the network is found.
 */
export async function sleepUntil(date: Date, signal: AbortSignal): Promise<void> {
  for (;;) {
    const rest = date.getTime() - Date.now();
    if (rest <= 0) return;
    await sleep(Math.min(rest, 3_600_000), signal);
  }
}
