/** The kernel's I2C buses, `/dev/i2c-N`. */
import { constants } from 'node:fs';
import { access, readdir } from 'node:fs/promises';
import type * as I2cBusModule from 'i2c-bus';
import { systemCode } from '../../src/base/errors.ts';
import { DeviceError, type Buses, type I2cBus } from '../contract.ts';
import { Serial } from '../waiting.ts';
import { busError, openError } from './i2c-errors.ts';

/** Jobs that may wait for one bus. */
const maxWaiting = 256;
/** Tries of one job when another master wins the bus. */
const maxTries = 3;

/** Buses are opened at first use, shared by all devices on them, and closed with the last. */
export class LinuxBuses implements Buses {
  readonly #open = new Map<number, KernelBus>();

  async i2c(bus: number): Promise<I2cBus> {
    const path = `/dev/i2c-${bus}`;
    try {
      await access(path, constants.R_OK | constants.W_OK);
    } catch (error) {
      throw openError(bus, systemCode(error), await presentBuses(), error);
    }
    const shared = this.#open.get(bus) ?? new KernelBus(bus, () => this.#open.delete(bus));
    this.#open.set(bus, shared);
    return shared.share();
  }
}

/** One bus and its users. One job in flight: more would only take threads from each other. */
class KernelBus {
  readonly #number: number;
  readonly #closed: () => void;
  readonly #queue: Serial;
  #users = 0;
  #handle: I2cBusModule.PromisifiedBus | undefined;

  constructor(number: number, closed: () => void) {
    this.#number = number;
    this.#closed = closed;
    this.#queue = new Serial(
      maxWaiting,
      () => new DeviceError('unavailable', `too many transfers wait for i2c-${number}`),
    );
  }

  share(): I2cBus {
    this.#users++;
    let open = true;
    const use = <T>(address: number, job: (handle: I2cBusModule.PromisifiedBus) => Promise<T>): Promise<T> => {
      if (!open) throw new DeviceError('other', `i2c-${this.#number} was given back`);
      return this.#queue.run(() => this.#transfer(address, job));
    };
    return {
      write: (address, bytes) =>
        use(address, async (handle) => {
          const { bytesWritten } = await handle.i2cWrite(address, bytes.length, Buffer.from(bytes));
          this.#whole(address, bytesWritten, bytes.length);
        }),
      read: (address, length) =>
        use(address, async (handle) => {
          const { bytesRead, buffer } = await handle.i2cRead(address, length, Buffer.alloc(length));
          this.#whole(address, bytesRead, length);
          return buffer;
        }),
      [Symbol.asyncDispose]: async () => {
        if (!open) return;
        open = false;
        if (--this.#users > 0) return;
        this.#closed();
        await this.#queue.run(() => this.#drop());
      },
    };
  }

  #whole(address: number, done: number, length: number): void {
    if (done === length) return;
    const message = `0x${address.toString(16)} on i2c-${this.#number} ended a transfer of ${length} bytes after ${done}`;
    throw new DeviceError('unavailable', message);
  }

  async #transfer<T>(address: number, job: (handle: I2cBusModule.PromisifiedBus) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        this.#handle ??= await (await loadAddon()).openPromisified(this.#number);
        return await job(this.#handle);
      } catch (error) {
        // After an error nothing of the old handle is kept: its adapter may be gone, and the package remembers an
        // address as set even when the kernel refused it (in use by a driver), which would send later bytes elsewhere.
        await this.#drop();
        if (error instanceof DeviceError) throw error;
        if (systemCode(error) !== 'EAGAIN' || attempt === maxTries) throw busError(this.#number, address, error);
      }
    }
  }

  async #drop(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close().catch(() => undefined);
  }
}

let addon: Promise<typeof I2cBusModule> | undefined;

/** A native addon that only a node with I2C devices needs. */
async function loadAddon(): Promise<typeof I2cBusModule> {
  addon ??= import('i2c-bus').then((loaded) => (loaded as { default?: typeof I2cBusModule }).default ?? loaded);
  try {
    return await addon;
  } catch (cause) {
    addon = undefined;
    throw new DeviceError('other', 'the i2c-bus addon could not be loaded', {
      cause,
      remedy: 'install Loamlet again: its addons belong to one version of Node and one architecture',
    });
  }
}

async function presentBuses(): Promise<string[]> {
  const entries = await readdir('/dev').catch(() => [] as string[]);
  return entries.filter((entry) => /^i2c-\d+$/.test(entry)).toSorted();
}
