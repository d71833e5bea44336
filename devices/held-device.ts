import { isDeepStrictEqual } from 'node:util';
import { errorLine } from '../src/base/errors.ts';
import { DeviceError, type Buses, type Device, type DeviceConfig, type Driver, type Sensor } from './contract.ts';
import { SharedSensor } from './shared-sensor.ts';
import { abortable } from './waiting.ts';

/** `message` is one line for a person, empty when healthy. */
export type HealthReport = (name: string, healthy: boolean, message: string) => void;

export interface HeldOptions {
  readonly buses: Buses;
  readonly deadlineMs: number;
  readonly onHealth: HealthReport;
}

/**
 * A device that somebody holds. Closed until its first use; an opening that fails is tried again at the next use, so a
 * device that is plugged in later is found. Once open it stays so through failing reads: drivers answer again when
 * their chip does.
 */
export class HeldDevice {
  holders = 0;
  readonly #config: DeviceConfig;
  readonly #driver: Driver;
  readonly #options: HeldOptions;
  readonly #sensors = new Map<string, SharedSensor>();
  #opening: Promise<Device> | undefined;
  #healthy = true;
  #closed = false;

  constructor(config: DeviceConfig, driver: Driver, options: HeldOptions) {
    this.#config = config;
    this.#driver = driver;
    this.#options = options;
  }

  get name(): string {
    return this.#config.name;
  }

  isSame(config: DeviceConfig): boolean {
    return isDeepStrictEqual(config, this.#config);
  }

  /** @throws DeviceError; rejects with the signal's reason when the caller goes away first */
  async open(signal: AbortSignal): Promise<Device> {
    this.#opening ??= this.#open();
    return await abortable(this.#opening, signal);
  }

  async sensor(quantity: string | undefined, freshnessMs: number, signal: AbortSignal): Promise<Sensor> {
    const { sensors } = await this.open(signal);
    if (quantity === undefined && sensors.size !== 1) {
      const names = [...sensors.keys()];
      throw new DeviceError('other', `the device has several quantities: open one of NAME.${names.join(', NAME.')}`);
    }
    const key = quantity ?? [...sensors.keys()][0] ?? '';
    const sensor = sensors.get(key);
    if (sensor === undefined) throw new DeviceError('not-found', `${this.name} has no quantity ${key}`);
    const shared = this.#sensors.get(key) ?? new SharedSensor(sensor, (work) => this.#physical(work));
    this.#sensors.set(key, shared);
    return {
      describe: () => shared.describe(),
      read: (reader) => shared.read(freshnessMs, reader),
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    const device = await this.#opening?.catch(() => undefined);
    await device?.[Symbol.asyncDispose]();
  }

  async #open(): Promise<Device> {
    try {
      const { options } = this.#config;
      return await this.#physical((signal) => this.#driver.open(options, this.#options.buses, signal), disposeLate);
    } catch (error) {
      this.#opening = undefined;
      throw error;
    }
  }

  /**
   * Work on the hardware, under the deadline whatever the driver does with its signal, and what it says of health.
   * @param late what to do with a result that came after the deadline
   */
  async #physical<T>(work: (signal: AbortSignal) => Promise<T>, late?: (result: T) => void): Promise<T> {
    if (this.#closed) throw new DeviceError('unavailable', `${this.name} was closed`);
    const { deadlineMs } = this.#options;
    const deadline = new AbortController();
    const timer = setTimeout(() => {
      deadline.abort(new DeviceError('unavailable', `${this.name} did not answer within ${deadlineMs / 1000} s`));
    }, deadlineMs);
    let job: Promise<T> | undefined;
    try {
      job = work(deadline.signal);
      const result = await abortable(job, deadline.signal);
      this.#report(true, '');
      return result;
    } catch (error) {
      if (late !== undefined && deadline.signal.aborted) job?.then(late, () => undefined);
      this.#report(false, errorLine(error));
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #report(healthy: boolean, message: string): void {
    if (healthy === this.#healthy || this.#closed) return;
    this.#healthy = healthy;
    this.#options.onHealth(this.name, healthy, message);
  }
}

function disposeLate(device: Device): void {
  device[Symbol.asyncDispose]().then(undefined, () => undefined);
}
