/** `loamlet:host/sensors@0.1.0`: the named quantities of a grant, whatever driver stands behind them. */
import { DeviceError, type DeviceConfig, type Reading, type Sensor } from '../devices/contract.ts';
import { errorLine } from '../src/base/errors.ts';
import {
  liftString,
  lowerString,
  resultArea,
  slice,
  storeError,
  storeHandle,
  storeSlice,
  toNanoseconds,
  type ErrorValue,
} from './abi.ts';
import type { DeviceGrant } from './grant.ts';
import type { Guest, HostInterface } from './guest.ts';

/** Where granted devices are opened: the runner's `DeviceHub`. */
export interface DeviceAccess {
  /**
   * A sensor of a device, which is opened if it is not yet. `quantity` may be left out for a device that has one only.
   * @throws DeviceError
   */
  sensor(device: DeviceConfig, quantity: string | undefined, freshnessMs: number, signal: AbortSignal): Promise<Sensor>;
}

/** `enum quality`, in WIT order. */
export const qualities = ['good', 'uncertain', 'stale'] as const;

const kind = 'sensor';
/** A DNS label, a dot and another; nothing longer is in any grant. */
const maxNameBytes = 255;

export function sensorsInterface(devices: DeviceAccess): HostInterface {
  return {
    module: 'loamlet:host/sensors@0.1.0',
    functions: {
      /** `open: func(name: string) -> result<sensor, error>` (shape H) */
      open: {
        kind: 'suspending',
        async call(guest: Guest, name: number, nameLength: number, result: number) {
          const text = slice(guest, name, nameLength);
          const wanted = text.length > maxNameBytes ? undefined : grantedSensor(guest, liftString(guest, text));
          const at = resultArea(guest, result, 16, 4);
          if (wanted === undefined) return storeError(guest, at, 4, { discriminant: 0 });
          const { device, freshnessMs } = wanted.grant;
          let sensor: Sensor;
          try {
            sensor = await devices.sensor(device, wanted.quantity, freshnessMs, guest.signal);
          } catch (error) {
            return storeError(guest, at, 4, sensorError(guest, error));
          }
          // It may have ended while the device was opened: nobody would close the handle.
          guest.signal.throwIfAborted();
          storeHandle(guest, at, guest.handles.add(kind, sensor));
        },
      },

      /** `[method]sensor.read: func() -> result<reading, error>` (shape R) */
      '[method]sensor.read': {
        kind: 'suspending',
        async call(guest: Guest, self: number, result: number) {
          const sensor = guest.handles.get<Sensor>(kind, self);
          const at = resultArea(guest, result, 40, 8);
          let reading: Reading;
          try {
            reading = checkedReading(await sensor.read(guest.signal));
          } catch (error) {
            return storeError(guest, at, 8, sensorError(guest, error));
          }
          const unit = await lowerString(guest, reading.unit);
          const view = guest.view();
          view.setUint8(at, 0);
          view.setFloat64(at + 8, reading.value, true);
          storeSlice(view, at + 16, unit);
          view.setBigUint64(at + 24, toNanoseconds(reading.takenAtMs), true);
          view.setUint8(at + 32, qualities.indexOf(reading.quality));
        },
      },

      /** `[method]sensor.describe: func() -> description` (shape D) */
      '[method]sensor.describe': {
        kind: 'suspending',
        async call(guest: Guest, self: number, result: number) {
          const description = guest.handles.get<Sensor>(kind, self).describe();
          const at = resultArea(guest, result, 56, 8);
          const quantity = await lowerString(guest, description.quantity);
          const unit = await lowerString(guest, description.unit);
          const model = await lowerString(guest, description.model);
          const view = guest.view();
          storeSlice(view, at, quantity);
          storeSlice(view, at + 8, unit);
          storeSlice(view, at + 16, model);
          view.setUint8(at + 24, description.range === undefined ? 0 : 1);
          view.setFloat64(at + 32, description.range?.[0] ?? 0, true);
          view.setFloat64(at + 40, description.range?.[1] ?? 0, true);
          view.setUint32(at + 48, Math.min(Math.ceil(description.intervalMs), 0xffff_ffff), true);
        },
      },

      /** `[resource-drop]sensor` */
      '[resource-drop]sensor': {
        kind: 'plain',
        call(guest: Guest, self: number) {
          guest.handles.drop(kind, self);
        },
      },
    },
  };
}

/** `soil-moisture`, or `air.humidity` for one of several quantities. Undefined: not in the grant, so it does not exist. */
function grantedSensor(guest: Guest, name: string): { grant: DeviceGrant; quantity: string | undefined } | undefined {
  const dot = name.indexOf('.');
  const logicalName = dot < 0 ? name : name.slice(0, dot);
  const grant = guest.grant.devices.find((device) => device.logicalName === logicalName);
  return grant && { grant, quantity: dot < 0 ? undefined : name.slice(dot + 1) };
}

/** A driver's number is made of bytes from a wire: what is no number never reaches a module as one. */
function checkedReading(reading: Reading): Reading {
  if (!Number.isFinite(reading.value)) throw new DeviceError('unavailable', 'the device gave no number');
  if (!(reading.takenAtMs >= 0 && reading.takenAtMs < 2 ** 44)) {
    throw new DeviceError('unavailable', 'the device gave a reading without a valid time');
  }
  return reading;
}

/** The case of `variant error`. What no driver should throw is `other`; an ended guest gets no answer at all. */
function sensorError(guest: Guest, error: unknown): ErrorValue {
  guest.signal.throwIfAborted();
  if (!(error instanceof DeviceError)) return { discriminant: 3, message: errorLine(error) };
  switch (error.code) {
    case 'not-found':
      return { discriminant: 0 };
    case 'not-permitted':
      return { discriminant: 1 };
    case 'unavailable':
      return { discriminant: 2, message: error.message };
    case 'other':
      return { discriminant: 3, message: error.message };
  }
}
