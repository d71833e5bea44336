/** Waits between attempts to connect: doubling from 1 s to 60 s, each shortened by up to half at random, so that a thousand nodes do not come at once. */
export class Backoff {
  readonly #firstMs: number;
  readonly #maxMs: number;
  readonly #random: () => number;
  #attempt = 0;

  constructor({
    firstMs = 1_000,
    maxMs = 60_000,
    random = Math.random,
  }: { firstMs?: number; maxMs?: number; random?: () => number } = {}) {
    this.#firstMs = firstMs;
    this.#maxMs = maxMs;
    this.#random = random;
  }

  /** Milliseconds to wait before the next attempt. */
  next(): number {
    const full = Math.min(this.#maxMs, this.#firstMs * 2 ** Math.min(this.#attempt, 30));
    this.#attempt += 1;
    return Math.round(full * (1 - this.#random() / 2));
  }

  /** An attempt was worth it. */
  reset(): void {
    this.#attempt = 0;
  }
}
