import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseDeviceArgument } from '../../../devices/catalog.ts';
import { simulated, type SimulatedOptions } from '../../../devices/drivers/simulated.ts';
import { SimulatedBuses } from '../../../devices/simulated/i2c-bus.ts';
import { noise } from '../../../devices/simulated/noise.ts';
import { ramp } from '../../../devices/simulated/ramp.ts';
import { parseRecording, recorded } from '../../../devices/simulated/recorded.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const never = new AbortController().signal;

async function readings(argument: string, count: number): Promise<unknown[]> {
  const { options } = parseDeviceArgument(`x=simulated:${argument}`);
  const device = await simulated.open(options as SimulatedOptions, new SimulatedBuses(), never);
  const sensor = device.sensors.get('x')!;
  const results: unknown[] = [];
  for (let read = 0; read < count; read++) {
    results.push(
      await sensor.read(never).then(
        ({ value }) => value,
        (error: { code: string }) => error.code,
      ),
    );
  }
  return results;
}

test('a ramp goes up and comes down', async () => {
  const profile = await ramp.open({ from: 10, to: 20, seconds: 10 });
  expect([0, 5, 10, 15, 20, 25].map((seconds) => profile.sample(seconds))).toEqual([10, 15, 20, 15, 10, 15]);
});

test('noise stays within its spread, moves, and is the same for the same seed', async () => {
  const values = async (seed: number) => {
    const profile = await noise.open({ mean: 40, spread: 5, seed });
    return Array.from({ length: 2000 }, () => profile.sample(0) as number);
  };
  const first = await values(1);
  expect(first).toEqual(await values(1));
  expect(first).not.toEqual(await values(2));
  expect(Math.min(...first)).toBeGreaterThan(35);
  expect(Math.max(...first)).toBeLessThan(45);
  expect(new Set(first).size).toBeGreaterThan(1900);
  const mean = first.reduce((sum, value) => sum + value) / first.length;
  expect(mean).toBeCloseTo(40, 0);
});

describe('faults on demand', () => {
  test('every Nth read fails', async () => {
    expect(await readings('constant,value=1,errorEvery=3', 7)).toEqual([1, 1, 'unavailable', 1, 1, 'unavailable', 1]);
  });

  test('the value is stuck after so many reads', async () => {
    const values = await readings('noise,stuckAfter=3', 6);
    expect(new Set(values.slice(0, 3)).size).toBe(3);
    expect(new Set(values.slice(2)).size).toBe(1);
  });

  test('the device is missing', async () => {
    await expect(readings('missing=true', 1)).rejects.toMatchObject({ code: 'not-found' });
  });
});

describe('a recording', () => {
  test('is played by time, and from the start again at its end', async () => {
    await using folder = await tempFolder();
    const file = join(folder.path, 'soil.csv');
    await writeFile(file, 'seconds,value\r\n0,1\r\n10,2\r\n\r\n# end\r\n20,3\r\n');
    const profile = await recorded.open({ file });
    expect([0, 9.9, 10, 19, 20, 30].map((seconds) => profile.sample(seconds))).toEqual([1, 1, 2, 2, 1, 2]);
  });

  test('that does not exist is not found, by name', async () => {
    await expect(recorded.open({ file: '/nowhere/soil.csv' })).rejects.toThrow(
      'the recording /nowhere/soil.csv does not exist',
    );
  });

  test.each([
    ['truncated', '0,1\n10', 2],
    ['with text for a value', '0,wet', 1],
    ['with a hole', '0,', 1],
    ['that goes back in time', '5,1\n4,1', 2],
    ['with a third column', '0,1\n1,2,3', 2],
  ])('%s is refused with its line', (_, text, line) => {
    expect(() => parseRecording(text, 'soil.csv')).toThrow(`line ${line} of the recording soil.csv`);
  });

  test('of nothing is refused', () => {
    expect(() => parseRecording('# nothing\n', 'soil.csv')).toThrow('holds no values');
  });
});
