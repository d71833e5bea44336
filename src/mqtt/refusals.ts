/**
 * What the broker does not let us publish, and when to ask again. A topic it refused once is not tried again before
 * that: mosquitto 2.0.11 (Debian 11 and 12) answers PUBACK "Not authorized" and then hangs up, so that one pod with a wrong topic
 * would keep everybody's readings waiting.
 *
 * Bound: `maxTopics`; further ones are tried each time.
 */
export class Refusals {
  static readonly maxTopics = 1_024;
  readonly #intervalMs: number;
  readonly #topics = new Set<string>();
  #retryAt = 0;

  /** @param intervalMs how often refused messages are tried again. */
  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  has(topic: string): boolean {
    return this.#topics.has(topic);
  }

  add(topic: string): void {
    if (this.#topics.size < Refusals.maxTopics) this.#topics.add(topic);
  }

  /** Milliseconds until refused messages are to be tried again; 0 when it is time, as it is at first. */
  waitMs(nowMs: number): number {
    return Math.max(0, this.#retryAt - nowMs);
  }

  /** One was refused just now: not again at once. */
  postpone(nowMs: number): void {
    if (nowMs >= this.#retryAt) this.#retryAt = nowMs + this.#intervalMs;
  }

  /** They are tried now. */
  retried(nowMs: number): void {
    this.#topics.clear();
    this.#retryAt = nowMs + this.#intervalMs;
  }
}
