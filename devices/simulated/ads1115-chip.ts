import type { I2cChip } from './i2c-bus.ts';

/** Volts at full scale by PGA field (SBAS444 p. 28). */
const fullScales = [6.144, 4.096, 2.048, 1.024, 0.512, 0.256, 0.256, 0.256];
/** Samples per second by DR field. */
const dataRates = [8, 16, 32, 64, 128, 250, 475, 860];
const operationalStatus = 0x8000;

/**
 * A TI ADS1115 by its datasheet (SBAS444): pointer register, four registers of 16 bits, single-shot conversions that take
 * their time, differential and single-ended inputs, saturation.
 */
export class Ads1115Chip implements I2cChip {
  /** Volts at AIN0 to AIN3. */
  readonly inputs: [number, number, number, number] = [0, 0, 0, 0];
  /** Config words written: what a driver asked of the chip. */
  readonly conversions: number[] = [];
  readonly #now: () => number;
  /** Conversion, config, low and high threshold: reset values of p. 27. */
  readonly #registers: [number, number, number, number] = [0, 0x8583, 0x8000, 0x7fff];
  #pointer = 0;
  #readyAt = 0;

  /** @param now milliseconds of a clock that conversions take their time by */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  write(bytes: Uint8Array): boolean {
    const [pointer, high, low] = bytes;
    if (pointer !== undefined) this.#pointer = pointer & 3;
    if (high !== undefined && low !== undefined) this.#set((high << 8) | low);
    return true;
  }

  read(length: number): Uint8Array {
    const value = this.#get();
    return Uint8Array.from({ length }, (_, index) => (index % 2 === 0 ? value >> 8 : value & 0xff));
  }

  #set(word: number): void {
    if (this.#pointer === 0) return;
    if (this.#pointer !== 1 || (word & operationalStatus) === 0) {
      this.#registers[this.#pointer as 1 | 2 | 3] = word & (this.#pointer === 1 ? ~operationalStatus : 0xffff);
      return;
    }
    this.conversions.push(word);
    if (this.conversions.length > 1024) this.conversions.shift();
    this.#registers[1] = word & ~operationalStatus;
    this.#registers[0] = this.#sample(word);
    this.#readyAt = this.#now() + 1000 / (dataRates[(word >> 5) & 7] ?? 128);
  }

  #get(): number {
    if (this.#pointer !== 1) return this.#registers[this.#pointer as 0 | 2 | 3];
    return this.#now() < this.#readyAt ? this.#registers[1] : this.#registers[1] | operationalStatus;
  }

  #sample(config: number): number {
    const [ain0, ain1, ain2, ain3] = this.inputs;
    const volts = [ain0 - ain1, ain0 - ain3, ain1 - ain3, ain2 - ain3, ain0, ain1, ain2, ain3][(config >> 12) & 7] ?? 0;
    const steps = Math.round((volts / (fullScales[(config >> 9) & 7] ?? 2.048)) * 32_768);
    return Math.max(-32_768, Math.min(32_767, steps)) & 0xffff;
  }
}
