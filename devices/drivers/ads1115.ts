/**
 * TI ADS1115: 16-bit ADC with four inputs on I2C, the usual way to put an analog soil probe on a Raspberry Pi.
 * Datasheet SBAS444 (Rev. B): register map p. 27, config register p. 28, single-shot mode p. 20.
 */
import { calibrate, calibratedRange, calibration, parseCalibration, type Calibration } from '../calibration.ts';
import {
  DeviceError,
  type Buses,
  type Description,
  type Device,
  type Driver,
  type I2cBus,
  type Reading,
  type Sensor,
} from '../contract.ts';
import { Settings, show } from '../settings.ts';
import { pause, Serial } from '../waiting.ts';

export interface Ads1115Options {
  readonly bus: number;
  /** 0x48 to 0x4b, by where the ADDR pin is tied (p. 22). */
  readonly address: number;
  /** AIN0 to AIN3, against ground. */
  readonly channel: number;
  /** Full scale in volts: the programmable gain. */
  readonly fullScale: number;
  readonly samplesPerSecond: number;
  readonly quantity: string;
  readonly unit: string;
  /** Volts to value in `unit`; absent: volts. */
  readonly calibration?: Calibration;
}

const pointer = { conversion: 0, config: 1 } as const;
/** Written: starts a conversion. Read: set when none runs. */
const operationalStatus = 0x8000;
/** Single-shot, comparator off (its queue bits 11). */
const singleShot = 0x0103;
/** PGA field (bits 11 to 9) is the index. */
const fullScales = [6.144, 4.096, 2.048, 1.024, 0.512, 0.256] as const;
/** DR field (bits 7 to 5) is the index. */
const dataRates = [8, 16, 32, 64, 128, 250, 475, 860] as const;
/** Steps of the positive half of the range. */
const steps = 32_768;
/** Polls for a conversion that takes longer than it should, and how long in all, in milliseconds. */
const maxPolls = 10;
const pollMs = 3;
/** Reads that may wait for one chip. */
const maxWaiting = 64;

export const ads1115: Driver<Ads1115Options> = {
  name: 'ads1115',
  usage:
    'ads1115:BUS,ADDRESS,CHANNEL[,KEY=VALUE...], such as ads1115:1,0x48,0,dry=2.8V,wet=1.2V. Keys: bus, address (0x48 to ' +
    '0x4b), channel (0 to 3), gain (full scale in volts: 6.144, 4.096, 2.048, 1.024, 0.512, 0.256), rate (samples per ' +
    'second), dry and wet (what it reads at 0 and 100 %: raw, or volts with a V).',
  positional: ['bus', 'address', 'channel'],

  parse(values) {
    const settings = new Settings(values);
    // `i2c: { bus: 1, address: 0x48 }` in a file; `bus=1,address=0x48` on a command line.
    const wiring = settings.group('i2c') ?? settings;
    const bus = wiring.number('bus', { min: 0, max: 255, integer: true });
    const address = wiring.number('address', { min: 0x48, max: 0x4b, integer: true }, 0x48);
    if (wiring !== settings) wiring.finish();
    const channel = settings.number('channel', { min: 0, max: 3, integer: true }, 0);
    const fullScale = settings.choice('gain', fullScales, 4.096);
    const samplesPerSecond = settings.choice('rate', dataRates, 128);
    const points = parsePoints(settings, fullScale);
    const quantity = settings.text('quantity', 'voltage');
    const unit = settings.text('unit', points === undefined ? 'V' : '%');
    settings.finish();
    const options = { bus, address, channel, fullScale, samplesPerSecond, quantity, unit };
    return points === undefined ? options : { ...options, calibration: points };
  },

  bus: (options) => `i2c-${options.bus}`,
  describe: (options) => [describe(options)],

  async open(options, buses, signal) {
    const bus = await buses.i2c(options.bus);
    const sensor = new Ads1115Sensor(options, bus, chipQueue(buses, options));
    try {
      await sensor.probe(signal);
    } catch (error) {
      await bus[Symbol.asyncDispose]();
      throw error;
    }
    return device(options.quantity, sensor, bus);
  },
};

function device(quantity: string, sensor: Sensor, bus: I2cBus): Device {
  return { sensors: new Map([[quantity, sensor]]), [Symbol.asyncDispose]: () => bus[Symbol.asyncDispose]() };
}

/** `calibration: { 26000: 0, 12000: 100 }` in raw steps at this gain, or in volts: `{ 2.8V: 0, 1.2V: 100 }`; dry, wet. */
function parsePoints(settings: Settings, fullScale: number): Calibration | undefined {
  const toVolts = (path: string) => (key: string) => {
    const [, number, volts] = /^\s*(-?\d+(?:\.\d+)?)\s*(V?)\s*$/.exec(key) ?? [];
    if (number === undefined) throw settings.wrong(path, `of ${key} is neither raw steps (26000) nor volts (2.8V)`);
    return volts === 'V' ? Number(number) : (Number(number) / steps) * fullScale;
  };
  const dry = settings.raw('dry');
  const wet = settings.raw('wet');
  const points = settings.raw('calibration');
  if (dry === undefined && wet === undefined) {
    return points === undefined ? undefined : parseCalibration(points, 'calibration', toVolts('calibration'));
  }
  if (points !== undefined) throw settings.wrong('calibration', 'is given beside dry and wet: choose one');
  if (dry === undefined) throw settings.missing('dry', 'what the probe reads in dry soil');
  if (wet === undefined) throw settings.missing('wet', 'what the probe reads in wet soil');
  const ends = [
    [toVolts('dry')(typeof dry === 'string' ? dry : show(dry)), 0],
    [toVolts('wet')(typeof wet === 'string' ? wet : show(wet)), 100],
  ] as const;
  return calibration(ends, 'dry');
}

function describe(options: Ads1115Options): Description {
  const range =
    options.calibration === undefined ? ([0, options.fullScale] as const) : calibratedRange(options.calibration);
  const intervalMs = Math.ceil(conversionMs(options));
  return { quantity: options.quantity, unit: options.unit, model: 'TI ADS1115', range, intervalMs };
}

/** The data rate may be 10 % low; waking up takes 25 µs (p. 8, p. 20). */
function conversionMs(options: Ads1115Options): number {
  return 1100 / options.samplesPerSecond + 0.1;
}

/** A chip converts one input at a time, whichever devices share it; keyed by where it is, so bounded by the config. */
const queues = new WeakMap<Buses, Map<string, Serial>>();

function chipQueue(buses: Buses, { bus, address }: Ads1115Options): Serial {
  const chips = queues.get(buses) ?? new Map<string, Serial>();
  queues.set(buses, chips);
  const key = `${bus}:${address}`;
  const queue =
    chips.get(key) ??
    new Serial(maxWaiting, () => new DeviceError('unavailable', 'too many reads wait for the ADS1115'));
  chips.set(key, queue);
  return queue;
}

class Ads1115Sensor implements Sensor {
  readonly #options: Ads1115Options;
  readonly #bus: I2cBus;
  readonly #chip: Serial;
  readonly #label: string;

  constructor(options: Ads1115Options, bus: I2cBus, chip: Serial) {
    this.#options = options;
    this.#bus = bus;
    this.#chip = chip;
    this.#label = `the ADS1115 at 0x${options.address.toString(16)} on i2c-${options.bus}`;
  }

  describe(): Description {
    return describe(this.#options);
  }

  /** Reads the config register: any answer will do, since no register of the chip identifies it. */
  async probe(signal: AbortSignal): Promise<void> {
    await this.#chip.run(() => this.#readRegister(pointer.config), signal);
  }

  async read(signal: AbortSignal): Promise<Reading> {
    try {
      return await this.#chip.run(() => this.#convert(signal), signal);
    } catch (error) {
      // It was there when it was opened, so it is away, not unknown.
      if (!(error instanceof DeviceError) || error.code !== 'not-found') throw error;
      throw new DeviceError('unavailable', `${this.#label} no longer answers`, { cause: error });
    }
  }

  async #convert(signal: AbortSignal): Promise<Reading> {
    const { address, channel, fullScale, samplesPerSecond, calibration: points, unit } = this.#options;
    // MUX 4 to 7: AIN0 to AIN3 against ground.
    const gain = fullScales.findIndex((candidate) => candidate === fullScale);
    const rate = dataRates.findIndex((candidate) => candidate === samplesPerSecond);
    const config = ((4 + channel) << 12) | (gain << 9) | singleShot | (rate << 5);
    const word = config | operationalStatus;
    await this.#bus.write(address, Uint8Array.of(pointer.config, word >> 8, word & 0xff));
    await this.#converted(config, signal);
    const takenAtMs = Date.now();
    const raw = ((await this.#readRegister(pointer.conversion)) << 16) >> 16;
    const volts = (raw / steps) * fullScale;
    const clipped = raw === steps - 1 || raw === -steps;
    const { value, quality } =
      points === undefined ? { value: volts, quality: 'good' as const } : calibrate(points, volts);
    // Finer than any step of the chip, so that 50 % is not 49.999999999999986.
    const rounded = Math.round(value * 1e6) / 1e6;
    return { value: rounded, unit, takenAtMs, quality: clipped ? 'uncertain' : quality };
  }

  async #converted(config: number, signal: AbortSignal): Promise<void> {
    await pause(conversionMs(this.#options), signal);
    for (let poll = 0; poll < maxPolls; poll++) {
      const state = await this.#readRegister(pointer.config);
      if ((state & ~operationalStatus) !== config) {
        throw new DeviceError('unavailable', `${this.#label} lost its configuration: is its power steady?`);
      }
      if ((state & operationalStatus) !== 0) return;
      await pause(pollMs, signal);
    }
    throw new DeviceError('unavailable', `${this.#label} does not finish its conversion`);
  }

  async #readRegister(register: number): Promise<number> {
    await this.#bus.write(this.#options.address, Uint8Array.of(register));
    const bytes = await this.#bus.read(this.#options.address, 2);
    return ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
  }
}
