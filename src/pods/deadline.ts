/** What `setTimeout` can hold, 24.8 days; a longer one would fire at once. */
const longestMs = 2 ** 31 - 1;

/** A timer of any length. */
export class Deadline implements Disposable {
  #timer: NodeJS.Timeout | undefined;

  constructor(ms: number, exceeded: () => void) {
    this.#arm(ms, exceeded);
  }

  #arm(ms: number, exceeded: () => void): void {
    const part = Math.min(ms, longestMs);
    this.#timer = setTimeout(() => (ms > part ? this.#arm(ms - part, exceeded) : exceeded()), part);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
