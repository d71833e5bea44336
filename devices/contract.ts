/**
 * What a device is to everything above it. Host calls, drivers and buses meet here and nowhere else; a driver knows a
 * bus only through `Buses`, so the same driver runs on the kernel, on a simulated bus and in a test.
 */
import { LoamletError, type ErrorDetails } from '../src/base/errors.ts';

/** `uncertain`: outside the calibrated range or warming up. `stale`: the last good value, older than the interval. */
export type Quality = 'good' | 'uncertain' | 'stale';

export interface Reading {
  readonly value: number;
  /** UCUM code: `Cel`, `%`, `hPa`, `lx`. */
  readonly unit: string;
  /** Milliseconds since the Unix epoch, with fractions. */
  readonly takenAtMs: number;
  readonly quality: Quality;
}

export interface Description {
  /** What is measured: `temperature`, `soil-moisture`. */
  readonly quantity: string;
  /** UCUM code. */
  readonly unit: string;
  readonly model: string;
  /** Calibrated range in `unit`, when known. */
  readonly range?: readonly [min: number, max: number];
  /** Shortest useful time between two reads, in milliseconds. */
  readonly intervalMs: number;
}

/** One quantity of one device. Safe to call concurrently: the driver queues. */
export interface Sensor {
  describe(): Description;
  /** @throws DeviceError `unavailable` when the device gives no usable value in time. */
  read(signal: AbortSignal): Promise<Reading>;
}

/** An opened device; disposing it gives its bus back. */
export interface Device extends AsyncDisposable {
  /** By quantity; a device with one quantity has one entry. */
  readonly sensors: ReadonlyMap<string, Sensor>;
}

/** A 7-bit addressed I2C bus. One job at a time; calls queue in order. */
export interface I2cBus extends AsyncDisposable {
  /** @throws DeviceError */
  write(address: number, bytes: Uint8Array): Promise<void>;
  /** Resolves to exactly `length` bytes. @throws DeviceError */
  read(address: number, length: number): Promise<Uint8Array>;
}

/** Where drivers get their buses: the kernel's (`devices/linux`) or simulated ones. Buses are shared and counted. */
export interface Buses {
  /** @throws DeviceError `not-found` when the bus does not exist. */
  i2c(bus: number): Promise<I2cBus>;
}

/** A device as the node's config declares it, checked by its driver: plain data that crosses to the runner. */
export interface DeviceConfig {
  /** The physical thing: `bed-3`. Unique on the node. */
  readonly name: string;
  /** What a pod asks for: `soil-moisture` of `loamlet.dev/soil-moisture`. */
  readonly resource: string;
  readonly driver: string;
  /** The driver's own settings, as its `parse` returned them; JSON. */
  readonly options: unknown;
}

/** A kind of device. One file each in `devices/drivers`; listed in `devices/catalog.ts`. */
export interface Driver<Options = unknown> {
  readonly name: string;
  /** Checks the settings of one device. @throws DeviceConfigError naming the key, what was found and what is allowed. */
  parse(settings: Readonly<Record<string, unknown>>): Options;
  /** The form `DRIVER:KEY=VALUE,...` of `loamlet run --device` and what the shorthand positions mean, for help texts. */
  readonly usage: string;
  /** The keys of bare values in that form, in order: with `['bus', 'address']`, `ads1115:1,0x48`. */
  readonly positional: readonly string[];
  /** The bus it will hold (`i2c-1`), for one-owner-per-bus; undefined for none. */
  bus(options: Options): string | undefined;
  /** Describes its sensors without touching hardware. */
  describe(options: Options): readonly Description[];
  /** Opens and probes the device. @throws DeviceError `not-found` when nothing answers. */
  open(options: Options, buses: Buses, signal: AbortSignal): Promise<Device>;
}

/**
 * not-found: no such device, or nothing answers where it should be.
 * not-permitted: it exists, but may not be used (permissions, busy).
 * unavailable: present, but it gave no usable value in time.
 * other: anything else; the message says what.
 */
export type DeviceErrorCode = 'not-found' | 'not-permitted' | 'unavailable' | 'other';

export class DeviceError extends LoamletError<DeviceErrorCode> {
  constructor(code: DeviceErrorCode, message: string, details?: ErrorDetails) {
    super(code, 'world', message, details);
  }
}

/** A device's settings are wrong. `path` is where, below the device: `i2c.bus`, `calibration`. */
export class DeviceConfigError extends LoamletError<'DeviceConfig'> {
  readonly path: string;
  constructor(path: string, message: string, details?: ErrorDetails) {
    super('DeviceConfig', 'operator', message, details);
    this.path = path;
  }
}
