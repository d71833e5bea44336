/** Private memory of an ended instance that only a collection gives back, in bytes. */
const perInstance = 32 << 10;
/** So much of it is let pile up. */
const enough = 16 << 20;

/**
 * V8 does not see what an ended instance holds outside its heap, and with a large heap it collects late. So it is told, when
 * much has gathered and nothing runs: a full collection takes 10 ms with 1,000 suspended instances.
 */
export class GarbageHints {
  readonly #idle: () => boolean;
  #ended = 0;
  #scheduled = false;

  constructor(idle: () => boolean) {
    this.#idle = idle;
  }

  ended(): void {
    if (++this.#ended * perInstance < enough || this.#scheduled || !globalThis.gc) return;
    this.#scheduled = true;
    setImmediate(this.#collect);
  }

  #collect = (): void => {
    if (!this.#idle()) {
      setTimeout(this.#collect, 100);
      return;
    }
    this.#scheduled = false;
    this.#ended = 0;
    globalThis.gc?.();
  };
}
