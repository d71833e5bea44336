/** A signal's abort as a promise for a race, which leaves no listener on a signal that outlives it. */
export class Abortion implements Disposable {
  /** Resolves to undefined; never when disposed before. */
  readonly happened: Promise<undefined>;
  readonly #signal: AbortSignal;
  readonly #listener: () => void;

  constructor(signal: AbortSignal) {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.happened = promise;
    this.#signal = signal;
    this.#listener = () => resolve(undefined);
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener('abort', this.#listener, { once: true });
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener('abort', this.#listener);
  }
}
