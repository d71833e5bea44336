/** I2C buses in memory, whose chips speak their real registers: drivers run on them as on the kernel's. */
import { DeviceError, type Buses, type I2cBus } from '../contract.ts';

/** A chip as the bus sees it: bytes after its address, until the stop condition. */
export interface I2cChip {
  /** A write transfer. False: the chip does not acknowledge. */
  write(bytes: Uint8Array): boolean;
  /** A read transfer of `length` bytes. Undefined: the chip does not acknowledge. */
  read(length: number): Uint8Array | undefined;
}

/** Chips by address. */
export type ChipBus = Map<number, I2cChip>;

export class SimulatedBuses implements Buses {
  readonly #buses = new Map<number, ChipBus>();
  #users = 0;

  /** Opened buses that were not given back. */
  get users(): number {
    return this.#users;
  }

  /** The chips of a bus, which exists from then on. */
  chips(bus: number): ChipBus {
    const chips = this.#buses.get(bus) ?? new Map<number, I2cChip>();
    this.#buses.set(bus, chips);
    return chips;
  }

  i2c(bus: number): Promise<I2cBus> {
    const chips = this.#buses.get(bus);
    if (chips === undefined)
      return Promise.reject(new DeviceError('not-found', `there is no simulated I2C bus ${bus}`));
    this.#users++;
    const silent = (address: number) =>
      new DeviceError('not-found', `nothing answers at 0x${address.toString(16)} on simulated i2c-${bus}`);
    return Promise.resolve({
      write: (address, bytes) =>
        chips.get(address)?.write(bytes.slice()) === true ? Promise.resolve() : Promise.reject(silent(address)),
      read: (address, length) => {
        const bytes = chips.get(address)?.read(length);
        return bytes === undefined ? Promise.reject(silent(address)) : Promise.resolve(bytes);
      },
      [Symbol.asyncDispose]: () => {
        this.#users--;
        return Promise.resolve();
      },
    });
  }
}
