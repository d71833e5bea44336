/** What is checked in the lab, in this order: `main.ts` runs them there, the test of the host reports each. */
import assert from 'node:assert/strict';
import type { Ads1115Chip } from '../../../devices/simulated/ads1115-chip.ts';
import type { I2cAdapter } from './i2c-adapter.ts';
import type { Loamlet } from './loamlet.ts';

export interface LabWorld {
  readonly adapter: I2cAdapter;
  readonly chip: Ads1115Chip;
  /** `loamlet run` of the soil sensor, on the chip's second input: 2.8 V is dry, 1.2 V is wet. */
  readonly sensor: Loamlet;
  /** Starts the soil sensor on devices that are not there: both at once, since starting takes its time here. */
  readonly refused: () => { readonly chip: Loamlet; readonly bus: Loamlet };
}

export interface Check {
  readonly name: string;
  readonly run: (world: LabWorld) => Promise<void>;
}

export const address = 0x48;
/** AIN1. */
export const channel = 1;
/** What a probe gives, and what the module must print. */
const values: readonly (readonly [volts: number, percent: string])[] = [
  [2, '50.0'],
  [2.8, '0.0'],
  [1.2, '100.0'],
  [1.536, '79.0'],
  [2.4625, '21.1'],
];

export const checks: readonly Check[] = [
  ...values.map(([volts, percent]) => ({
    name: `prints ${percent} % for ${volts} V at the kernel's I2C bus`,
    async run({ chip, sensor }: LabWorld) {
      chip.inputs[channel] = volts;
      await sensor.line(`soil-moisture ${percent} %`);
    },
  })),
  {
    name: 'says that a probe beyond its calibration is uncertain',
    async run({ chip, sensor }) {
      chip.inputs[channel] = 3.2;
      await sensor.line('soil-moisture 0.0 % (uncertain)');
    },
  },
  {
    name: 'tells the module that a chip which stops answering is unavailable',
    async run({ adapter, sensor }) {
      adapter.chips.delete(address);
      await sensor.line(/^soil-moisture can't be read: unavailable: the ADS1115 at 0x48 on i2c-\d+ no longer answers$/);
      assert(sensor.lines.some((line) => /^loamlet: soil-moisture: the ADS1115 .* no longer answers$/.test(line)));
    },
  },
  {
    name: 'reads on when the chip answers again',
    async run({ adapter, chip, sensor }) {
      chip.inputs[channel] = 1.6;
      adapter.chips.set(address, chip);
      await sensor.line('loamlet: soil-moisture answers again');
      await sensor.line('soil-moisture 75.0 %');
    },
  },
  {
    name: 'asks the chip as its datasheet wants it, and for nothing else',
    run({ chip }) {
      // Start, AIN1 against ground, 4.096 V, single shot, 128 samples per second, comparator off.
      assert.deepEqual([...new Set(chip.conversions)], [0b1_101_001_1_100_00011]);
      return Promise.resolve();
    },
  },
  {
    name: 'ends when it is told to',
    async run({ sensor }) {
      sensor.stop();
      assert.equal(await sensor.exit(), 143);
    },
  },
  {
    name: 'refuses to start on a chip that is not there, and says where it looked',
    async run({ adapter, refused }) {
      const { chip } = refused();
      await chip.line(new RegExp(`nothing answers at 0x49 on i2c-${adapter.bus}`));
      assert.equal(await chip.exit(), 1);
    },
  },
  {
    name: 'refuses to start on a bus that does not exist, and names those that do',
    async run({ adapter, refused }) {
      const { bus } = refused();
      await bus.line(new RegExp(`there is no I2C bus 9 .*i2c-${adapter.bus}`));
      assert.equal(await bus.exit(), 1);
    },
  },
];
