import { describe, expect, test } from 'vitest';
import { calibrate, calibratedRange, calibration } from '../../../devices/calibration.ts';
import { DeviceConfigError } from '../../../devices/contract.ts';

const falling = calibration([[26_000, 0], [20_000, 30], [12_000, 100]], 'calibration'); // prettier-ignore

test.each([
  [12_000, 100],
  [16_000, 65],
  [20_000, 30],
  [23_000, 15],
  [26_000, 0],
])('reads %i as %i %%', (raw, value) => {
  const result = calibrate(falling, raw);
  expect(result.value).toBeCloseTo(value, 9);
  expect(result.quality).toBe('good');
});

test.each([
  [11_000, 100],
  [27_000, 0],
  [-5, 100],
])('holds the end and is uncertain at %i, far outside', (raw, value) => {
  expect(calibrate(falling, raw)).toEqual({ value, quality: 'uncertain' });
});

test.each([11_900, 26_100])('is sure at %i, within one per cent of the end', (raw) => {
  expect(calibrate(falling, raw).quality).toBe('good');
});

test('knows its range', () => {
  expect(calibratedRange(falling)).toEqual([0, 100]);
});

describe('refuses points that give a reading no one meaning:', () => {
  test.each<[string, [number, number][]]>([
    ['one', [[1, 2]]],
    ['none', []],
    ['two at one raw value', [[1, 0], [1, 5]]], // prettier-ignore
    ['up and down', [[1, 0], [2, 50], [3, 20]]], // prettier-ignore
    ['level', [[1, 0], [2, 50], [3, 50]]], // prettier-ignore
    ['too many', Array.from({ length: 65 }, (_, index) => [index, index])],
  ])('%s', (_, points) => {
    expect(() => calibration(points, 'calibration')).toThrow(DeviceConfigError);
  });
});
