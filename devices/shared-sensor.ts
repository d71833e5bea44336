import type { Description, Reading, Sensor } from './contract.ts';
import { abortable } from './waiting.ts';

/** One sensor and its readers: a physical read serves all who are content with its age. */
export class SharedSensor {
  readonly #sensor: Sensor;
  readonly #physical: <T>(work: (signal: AbortSignal) => Promise<T>) => Promise<T>;
  #last: Reading | undefined;
  /** By the monotonic clock, in milliseconds: a clock that is set must not make old readings new. */
  #lastAt = -Infinity;
  #reading: Promise<Reading> | undefined;

  constructor(sensor: Sensor, physical: <T>(work: (signal: AbortSignal) => Promise<T>) => Promise<T>) {
    this.#sensor = sensor;
    this.#physical = physical;
  }

  describe(): Description {
    return this.#sensor.describe();
  }

  async read(freshnessMs: number, signal: AbortSignal): Promise<Reading> {
    // Zero asks for a read that begins now: neither the last one nor the one under way will do.
    if (freshnessMs > 0) {
      if (this.#last !== undefined && performance.now() - this.#lastAt <= freshnessMs) return this.#last;
      if (this.#reading !== undefined) return await abortable(this.#reading, signal);
    }
    return await abortable(this.#begin(), signal);
  }

  #begin(): Promise<Reading> {
    const reading = this.#physical((signal) => this.#sensor.read(signal));
    this.#reading = reading;
    reading.then(
      (result) => {
        this.#last = result;
        this.#lastAt = performance.now();
        this.#ended(reading);
      },
      () => this.#ended(reading),
    );
    return reading;
  }

  #ended(reading: Promise<Reading>): void {
    if (this.#reading === reading) this.#reading = undefined;
  }
}
