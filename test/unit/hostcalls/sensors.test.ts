import { describe, expect, test } from 'vitest';
import { DeviceError, type DeviceErrorCode, type Reading, type Sensor } from '../../../devices/contract.ts';
import type { Grant } from '../../../hostcalls/grant.ts';
import { sensorsInterface, type DeviceAccess } from '../../../hostcalls/sensors.ts';
import { FakeGuest } from '../../support/fake-guest.ts';

const device = { name: 'bed-3', resource: 'soil-moisture', driver: 'simulated', options: {} };
const grant: Grant = { devices: [{ logicalName: 'soil-moisture', device, freshnessMs: 250 }] };
const good: Reading = { value: 41.5, unit: '%', takenAtMs: 1_795_000_000_123.25, quality: 'uncertain' };
const description = {
  quantity: 'soil-moisture',
  unit: '%',
  model: 'TI ADS1115',
  range: [0, 100] as const,
  intervalMs: 9.2,
};

const sensor = (read: () => Promise<Reading> = () => Promise.resolve(good)): Sensor => ({
  describe: () => description,
  read,
});
const access = (found: Sensor | DeviceError = sensor()): DeviceAccess & { asked: unknown[] } => ({
  asked: [],
  sensor(...asked) {
    this.asked.push(asked.slice(0, 3));
    return found instanceof DeviceError ? Promise.reject(found) : Promise.resolve(found);
  },
});

async function opened(found: Sensor): Promise<[FakeGuest, ReturnType<typeof sensorsInterface>, number]> {
  const guest = new FakeGuest(grant);
  const table = sensorsInterface(access(found));
  await guest.call(table, 'open', ...guest.put('soil-moisture'), guest.result);
  expect(guest.view().getUint8(guest.result)).toBe(0);
  return [guest, table, guest.view().getUint32(guest.result + 4, true)];
}

describe('open', () => {
  test('opens what the grant has under that name, with its freshness', async () => {
    const devices = access();
    const guest = new FakeGuest(grant);
    await guest.call(sensorsInterface(devices), 'open', ...guest.put('soil-moisture.temperature'), guest.result);
    expect(devices.asked).toEqual([[device, 'temperature', 250]]);
    expect(guest.handles.size).toBe(1);
  });

  test.each(['bed-3', 'ads1115', '', 'soil-moistur', 'x'.repeat(300)])('finds nothing under %s', async (name) => {
    const devices = access();
    const guest = new FakeGuest(grant);
    await guest.call(sensorsInterface(devices), 'open', ...guest.put(name), guest.result);
    expect(guest.errorCase()).toBe(0);
    expect(devices.asked).toEqual([]);
  });

  test.each<[DeviceErrorCode, number, string]>([
    ['not-found', 0, ''],
    ['not-permitted', 1, ''],
    ['unavailable', 2, 'no answer'],
    ['other', 3, 'no answer'],
  ])('answers %s as case %i', async (code, discriminant, text) => {
    const guest = new FakeGuest(grant);
    const table = sensorsInterface(access(new DeviceError(code, 'no answer')));
    await guest.call(table, 'open', ...guest.put('soil-moisture'), guest.result);
    expect(guest.errorCase()).toBe(discriminant);
    if (text !== '') expect(guest.text(8)).toBe(text);
  });

  test('traps at the bound of handles, and does not call that an error of the device', async () => {
    const guest = new FakeGuest(grant);
    const table = sensorsInterface(access());
    const name = guest.put('soil-moisture');
    for (let count = 0; count < 256; count++) await guest.call(table, 'open', ...name, guest.result);
    await expect(guest.call(table, 'open', ...name, guest.result)).rejects.toThrow('holds 256 host resources');
  });

  test.each([
    ['text outside memory', [65_530, 13, 64]],
    ['text that wraps around', [-1, 13, 64]],
    ['a result outside memory', [1024, 13, 65_530]],
    ['a result that is not aligned', [1024, 13, 66]],
  ])('traps on %s', async (_, args) => {
    const guest = new FakeGuest(grant);
    guest.put('soil-moisture');
    await expect(guest.call(sensorsInterface(access()), 'open', ...args)).rejects.toThrow(
      /^passed .* (outside|not aligned)/,
    );
  });

  test('traps on text that is not UTF-8', async () => {
    const guest = new FakeGuest(grant);
    const call = guest.call(sensorsInterface(access()), 'open', ...guest.put(Uint8Array.of(0xc3, 0x28)), guest.result);
    await expect(call).rejects.toThrow('not UTF-8');
  });
});

describe('read', () => {
  test('stores shape R, with the time to the nanosecond, though memory moves meanwhile', async () => {
    const [guest, table, handle] = await opened(sensor());
    await guest.call(table, '[method]sensor.read', handle, guest.result);
    const view = guest.view();
    expect(view.getUint8(guest.result)).toBe(0);
    expect(view.getFloat64(guest.result + 8, true)).toBe(41.5);
    expect(guest.text(16)).toBe('%');
    expect(view.getBigUint64(guest.result + 24, true)).toBe(1_795_000_000_123_250_000n);
    expect(view.getUint8(guest.result + 32)).toBe(1);
  });

  test('stores an error at offset 8, since the ok side is aligned to 8', async () => {
    const [guest, table, handle] = await opened(sensor(() => Promise.reject(new DeviceError('unavailable', 'gone'))));
    await guest.call(table, '[method]sensor.read', handle, guest.result);
    expect(guest.errorCase(8)).toBe(2);
    expect(guest.text(12)).toBe('gone');
  });

  test.each([
    ['NaN', { ...good, value: NaN }],
    ['infinity', { ...good, value: Infinity }],
    ['a time before time', { ...good, takenAtMs: -1 }],
    ['no time', { ...good, takenAtMs: NaN }],
  ])('answers unavailable when a driver gives %s', async (_, reading) => {
    const [guest, table, handle] = await opened(sensor(() => Promise.resolve(reading)));
    await guest.call(table, '[method]sensor.read', handle, guest.result);
    expect(guest.errorCase(8)).toBe(2);
  });

  test('answers what a driver should never throw as other', async () => {
    const [guest, table, handle] = await opened(sensor(() => Promise.reject(new TypeError('x is undefined\n  at y'))));
    await guest.call(table, '[method]sensor.read', handle, guest.result);
    expect(guest.errorCase(8)).toBe(3);
    expect(guest.text(12)).toBe('x is undefined');
  });

  test('traps on a handle that was dropped', async () => {
    const [guest, table, handle] = await opened(sensor());
    await guest.call(table, '[resource-drop]sensor', handle);
    await expect(guest.call(table, '[method]sensor.read', handle, guest.result)).rejects.toThrow('does not hold');
  });

  test('answers a guest that has ended nothing', async () => {
    const [guest, table, handle] = await opened(sensor(() => Promise.reject(new DeviceError('unavailable', 'gone'))));
    guest.ending.abort(new Error('killed'));
    await expect(guest.call(table, '[method]sensor.read', handle, guest.result)).rejects.toThrow('killed');
  });
});

test('describe stores shape D', async () => {
  const [guest, table, handle] = await opened(sensor());
  await guest.call(table, '[method]sensor.describe', handle, guest.result);
  const view = guest.view();
  expect([guest.text(0), guest.text(8), guest.text(16)]).toEqual(['soil-moisture', '%', 'TI ADS1115']);
  expect(view.getUint8(guest.result + 24)).toBe(1);
  expect([view.getFloat64(guest.result + 32, true), view.getFloat64(guest.result + 40, true)]).toEqual([0, 100]);
  expect(view.getUint32(guest.result + 48, true)).toBe(10);
});
