import { describe, expect, test } from 'vitest';
import { parseDevice } from '../../../devices/catalog.ts';
import type { Buses, Device, I2cBus } from '../../../devices/contract.ts';
import { ads1115 } from '../../../devices/drivers/ads1115.ts';
import { Ads1115Chip } from '../../../devices/simulated/ads1115-chip.ts';
import { SimulatedBuses, type I2cChip } from '../../../devices/simulated/i2c-bus.ts';

const never = new AbortController().signal;

function options(settings: Record<string, unknown> = {}) {
  const i2c = { bus: 1, address: 0x48 };
  return ads1115.parse({ i2c, rate: 860, quantity: 'soil', ...settings });
}

function chipOn(buses: SimulatedBuses, chip: I2cChip): void {
  buses.chips(1).set(0x48, chip);
}

const read = (device: Device) => [...device.sensors.values()][0]!.read(never);

test('asks for the channel, gain and rate of the datasheet, one shot at a time', async () => {
  const buses = new SimulatedBuses();
  const chip = new Ads1115Chip();
  chipOn(buses, chip);
  await using device = await ads1115.open(options({ channel: 3, gain: 1.024, rate: 250 }), buses, never);
  await read(device);
  // OS 1, MUX 111 (AIN3), PGA 011, MODE 1, DR 101, comparator off.
  expect(chip.conversions.map((word) => word.toString(2))).toEqual(['1111011110100011']);
});

test('waits for a conversion that takes its time', async () => {
  const buses = new SimulatedBuses();
  let now = 0;
  const chip = new Ads1115Chip(() => now);
  chip.inputs[0] = 2;
  let polls = 0;
  const slow: I2cChip = {
    write: (bytes) => chip.write(bytes),
    read(length) {
      if (++polls === 4) now = 1000;
      return chip.read(length);
    },
  };
  chipOn(buses, slow);
  await using device = await ads1115.open(options(), buses, never);
  expect((await read(device)).value).toBe(2);
});

test('gives up on a chip that never finishes', async () => {
  const buses = new SimulatedBuses();
  chipOn(buses, new Ads1115Chip(() => 0));
  await using device = await ads1115.open(options(), buses, never);
  await expect(read(device)).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining('does not finish'),
  });
});

test('notices a chip that was reset between the question and the answer', async () => {
  const buses = new SimulatedBuses();
  const chip = new Ads1115Chip();
  chipOn(buses, {
    write: (bytes) => (bytes.length > 1 ? true : chip.write(bytes)),
    read: (length) => chip.read(length),
  });
  await using device = await ads1115.open(options(), buses, never);
  await expect(read(device)).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining('lost its configuration'),
  });
});

test('is not fooled by a bus that floats high', async () => {
  const buses = new SimulatedBuses();
  chipOn(buses, { write: () => true, read: (length) => new Uint8Array(length).fill(0xff) });
  await using device = await ads1115.open(options(), buses, never);
  await expect(read(device)).rejects.toMatchObject({ code: 'unavailable' });
});

test('is uncertain about an input beyond its range', async () => {
  const buses = new SimulatedBuses();
  const chip = new Ads1115Chip();
  chip.inputs[0] = 5;
  chipOn(buses, chip);
  await using device = await ads1115.open(options(), buses, never);
  expect(await read(device)).toMatchObject({ value: expect.closeTo(4.096, 3), quality: 'uncertain' });
});

test('reads a voltage below ground as negative', async () => {
  const buses = new SimulatedBuses();
  const chip = new Ads1115Chip();
  chip.inputs[0] = -0.1;
  chipOn(buses, chip);
  await using device = await ads1115.open(options(), buses, never);
  expect((await read(device)).value).toBeCloseTo(-0.1, 3);
});

describe('two devices on one chip', () => {
  test('never have their conversions mixed up', async () => {
    const buses = new SimulatedBuses();
    const chip = new Ads1115Chip();
    chip.inputs.splice(0, 2, 1, 3);
    chipOn(buses, chip);
    await using left = await ads1115.open(options({ channel: 0 }), buses, never);
    await using right = await ads1115.open(options({ channel: 1 }), buses, never);
    const readings = await Promise.all([left, right, left, right, left, right].map((device) => read(device)));
    expect(readings.map(({ value }) => value)).toEqual([1, 3, 1, 3, 1, 3]);
  });

  test('let a reader leave the queue without a trace', async () => {
    const buses = new SimulatedBuses();
    const chip = new Ads1115Chip();
    chipOn(buses, chip);
    await using device = await ads1115.open(options(), buses, never);
    const ending = new AbortController();
    const first = read(device);
    const second = [...device.sensors.values()][0]!.read(ending.signal);
    ending.abort(new Error('ended'));
    await expect(second).rejects.toThrow('ended');
    await first;
    await read(device);
    expect(chip.conversions).toHaveLength(2);
  });
});

test('gives its bus back when nothing answers', async () => {
  const buses = new SimulatedBuses();
  buses.chips(1);
  await expect(ads1115.open(options(), buses, never)).rejects.toMatchObject({ code: 'not-found' });
  expect(buses.users).toBe(0);
});

test('says which bus is missing', async () => {
  const { options: other } = parseDevice({ name: 'a', resource: 'b', driver: 'ads1115', i2c: { bus: 7 } });
  await expect(ads1115.open(other as never, new SimulatedBuses(), never)).rejects.toMatchObject({ code: 'not-found' });
});

test('passes on an error of the bus that is none of the chip', async () => {
  const broken: Buses = {
    i2c: () =>
      Promise.resolve({
        write: () => Promise.reject(new Error('arbitration')),
        read: () => Promise.reject(new Error('arbitration')),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      } satisfies I2cBus),
  };
  await expect(ads1115.open(options(), broken, never)).rejects.toThrow('arbitration');
});
