/** Shortest time between two changes that are told, in milliseconds. */
const restMs = 1_000;

/**
 * What of `set-ready` is worth telling: changes, at most one a second and always the last. A module that calls it in a loop would
 * otherwise fill the connection, and each change costs the agent a write to disk and to the API server.
 */
export class Readiness implements Disposable {
  readonly #tell: (ready: boolean) => void;
  #told = true;
  #ready = true;
  #rest: NodeJS.Timeout | undefined;
  #over = false;

  /** Ready at first. */
  constructor(tell: (ready: boolean) => void) {
    this.#tell = tell;
  }

  set(ready: boolean): void {
    this.#ready = ready;
    if (this.#rest === undefined) this.#next();
  }

  /** Tells nothing more. */
  [Symbol.dispose](): void {
    this.#over = true;
    clearTimeout(this.#rest);
  }

  #next(): void {
    if (this.#ready === this.#told || this.#over) return;
    this.#told = this.#ready;
    this.#tell(this.#told);
    this.#rest = setTimeout(() => {
      this.#rest = undefined;
      this.#next();
    }, restMs);
  }
}
