import { DeviceConfigError } from './contract.ts';
import { isRecord, show } from './settings.ts';

/** A calibration point: what the device gives, and what that is. */
export type Point = readonly [raw: number, value: number];

/** Points by rising raw value; the values rise or fall all the way. */
export type Calibration = readonly Point[];

const maxPoints = 64;

/**
 * @throws DeviceConfigError at `path` for fewer than 2 or more than 64 points, one raw value twice, or values that do not
 * rise or fall all the way: then no reading would have one meaning
 */
export function calibration(points: readonly Point[], path: string): Calibration {
  const sorted = points.toSorted(([a], [b]) => a - b);
  if (sorted.length < 2) throw new DeviceConfigError(path, 'calibration needs at least two points');
  if (sorted.length > maxPoints) throw new DeviceConfigError(path, `calibration has more than ${maxPoints} points`);
  const rises = (sorted[1]?.[1] ?? 0) > (sorted[0]?.[1] ?? 0);
  for (const [index, [raw, value]] of sorted.entries()) {
    const before = sorted[index - 1];
    if (before === undefined) continue;
    if (raw === before[0]) throw new DeviceConfigError(path, `calibration has ${raw} twice`);
    if (value === before[1] || value > before[1] !== rises) {
      throw new DeviceConfigError(
        path,
        `calibration is not monotonic: ${before[0]} is ${before[1]}, ${raw} is ${value}`,
        {
          remedy: 'let the values rise or fall all the way',
        },
      );
    }
  }
  return sorted;
}

/**
 * The points of a config: `{ RAW: VALUE, ... }`. `toRaw` reads a key, so that a driver may take several notations.
 * @throws DeviceConfigError
 */
export function parseCalibration(setting: unknown, path: string, toRaw: (key: string) => number): Calibration {
  if (!isRecord(setting)) {
    throw new DeviceConfigError(path, `calibration is ${show(setting)}, not points such as { 26000: 0, 12000: 100 }`);
  }
  const points = Object.entries(setting).map(([key, value]): Point => {
    if (typeof value !== 'number' || !Number.isFinite(value)) {
      throw new DeviceConfigError(`${path}.${key}`, `calibration of ${key} is ${show(value)}, not a number`);
    }
    return [toRaw(key), value];
  });
  return calibration(points, path);
}

/** How far beyond an end, as a part of the calibrated span, is still that end: noise around it says nothing new. */
const tolerance = 0.01;

/** The value at `raw`, on straight lines between the points; outside them the nearest end, which is only `uncertain`. */
export function calibrate(points: Calibration, raw: number): { value: number; quality: 'good' | 'uncertain' } {
  const first = points[0];
  const last = points.at(-1);
  if (first === undefined || last === undefined) return { value: raw, quality: 'good' };
  const margin = tolerance * (last[0] - first[0]);
  if (raw < first[0]) return { value: first[1], quality: raw < first[0] - margin ? 'uncertain' : 'good' };
  if (raw > last[0]) return { value: last[1], quality: raw > last[0] + margin ? 'uncertain' : 'good' };
  const above = points.findIndex(([point]) => point >= raw);
  const [toRaw, toValue] = points[above] ?? last;
  const [fromRaw, fromValue] = points[above - 1] ?? first;
  if (toRaw === fromRaw) return { value: toValue, quality: 'good' };
  return { value: fromValue + ((raw - fromRaw) / (toRaw - fromRaw)) * (toValue - fromValue), quality: 'good' };
}

/** The lowest and highest value of the points. */
export function calibratedRange(points: Calibration): readonly [min: number, max: number] {
  const values = points.map(([, value]) => value);
  return [Math.min(...values), Math.max(...values)];
}
