import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { parseDevice } from '../../../devices/catalog.ts';
import { DeviceError, type DeviceConfig, type Driver, type Reading } from '../../../devices/contract.ts';
import { DeviceHub } from '../../../devices/hub.ts';
import { SimulatedBuses } from '../../../devices/simulated/i2c-bus.ts';

const never = new AbortController().signal;
const buses = new SimulatedBuses();
const config: DeviceConfig = { name: 'bed-3', resource: 'soil', driver: 'counter', options: {} };

/** Counts what is done to it; reads wait until `answer` is called when `slow`. */
function counter() {
  const state = { opens: 0, reads: 0, closes: 0, slow: false, answers: [] as (() => void)[] };
  const describe = { quantity: 'soil', unit: '%', model: 'counter', intervalMs: 0 };
  const driver: Driver = {
    name: 'counter',
    usage: '',
    positional: [],
    parse: () => ({}),
    bus: () => undefined,
    describe: () => [describe],
    open() {
      state.opens++;
      const read = async (): Promise<Reading> => {
        const value = ++state.reads;
        if (state.slow) await new Promise<void>((resolve) => state.answers.push(resolve));
        return { value, unit: '%', takenAtMs: value, quality: 'good' };
      };
      return Promise.resolve({
        sensors: new Map([['soil', { describe: () => describe, read }]]),
        [Symbol.asyncDispose]() {
          state.closes++;
          return Promise.resolve();
        },
      });
    },
  };
  return { state, driver, hub: new DeviceHub({ buses, driverNamed: () => driver }) };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('holders', () => {
  test('share one opened device, which closes with the last', async () => {
    const { state, hub } = counter();
    const holds = [hub.hold([config]), hub.hold([{ ...config }])];
    await Promise.all(holds.map((hold) => hold.open(never)));
    expect(state).toMatchObject({ opens: 1, closes: 0 });
    await holds[0]?.[Symbol.asyncDispose]();
    await holds[0]?.[Symbol.asyncDispose]();
    expect(state.closes).toBe(0);
    await holds[1]?.[Symbol.asyncDispose]();
    expect(state.closes).toBe(1);
  });

  test('touch no hardware before it is used', () => {
    const { state, hub } = counter();
    hub.hold([config]);
    expect(state.opens).toBe(0);
  });

  test('are refused a device that is in use with other settings', () => {
    const { hub } = counter();
    hub.hold([config]);
    expect(() => hub.hold([{ ...config, options: { channel: 1 } }])).toThrow('bed-3 is in use with other settings');
    expect(hub.size).toBe(1);
  });

  test('are the only ones who get a sensor', async () => {
    const { hub } = counter();
    await expect(hub.sensor(config, undefined, 0, never)).rejects.toMatchObject({ code: 'not-found' });
  });
});

describe('freshness', () => {
  test('lets one physical read serve all who are content with its age', async () => {
    const { state, hub } = counter();
    hub.hold([config]);
    const fresh = await hub.sensor(config, undefined, 500, never);
    expect((await fresh.read(never)).value).toBe(1);
    await vi.advanceTimersByTimeAsync(500);
    expect((await fresh.read(never)).value).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    expect((await fresh.read(never)).value).toBe(2);
    expect(state.reads).toBe(2);
  });

  test('joins a read that is under way', async () => {
    const { state, hub } = counter();
    hub.hold([config]);
    state.slow = true;
    const fresh = await hub.sensor(config, undefined, 500, never);
    const both = [fresh.read(never), fresh.read(never)];
    await vi.advanceTimersByTimeAsync(1);
    state.answers.forEach((answer) => answer());
    expect((await Promise.all(both)).map(({ value }) => value)).toEqual([1, 1]);
  });

  test('of zero reads anew, though another read is under way', async () => {
    const { state, hub } = counter();
    hub.hold([config]);
    const anew = await hub.sensor(config, undefined, 0, never);
    const values = (await Promise.all([anew.read(never), anew.read(never)])).map(({ value }) => value);
    expect(values).toEqual([1, 2]);
    expect(state.reads).toBe(2);
  });

  test('does not count a read that failed', async () => {
    const hub = new DeviceHub({ buses });
    const device = parseDevice({ name: 'a', resource: 'b', driver: 'simulated', errorEvery: 2 });
    hub.hold([device]);
    const fresh = await hub.sensor(device, undefined, 10, never);
    await fresh.read(never);
    await vi.advanceTimersByTimeAsync(11);
    await expect(fresh.read(never)).rejects.toMatchObject({ code: 'unavailable' });
    await expect(fresh.read(never)).resolves.toMatchObject({ quality: 'good' });
  });
});

describe('a device that never answers', () => {
  const silent = parseDevice({ name: 'bed-3', resource: 'soil', driver: 'simulated', profile: 'silence' });

  test('is unavailable at the deadline, and reported once', async () => {
    const health: unknown[] = [];
    await using hub = new DeviceHub({ buses, onHealth: (...report) => health.push(report) });
    hub.hold([silent]);
    const sensor = await hub.sensor(silent, undefined, 0, never);
    for (let round = 0; round < 2; round++) {
      const read = expect(sensor.read(never)).rejects.toMatchObject({ code: 'unavailable' });
      await vi.advanceTimersByTimeAsync(5000);
      await read;
    }
    expect(health).toEqual([['bed-3', false, 'bed-3 did not answer within 5 s']]);
  });

  test('lets a reader go that is ended', async () => {
    await using hub = new DeviceHub({ buses });
    hub.hold([silent]);
    const sensor = await hub.sensor(silent, undefined, 0, never);
    const ending = new AbortController();
    const read = sensor.read(ending.signal);
    ending.abort(new Error('the module was stopped'));
    await expect(read).rejects.toThrow('the module was stopped');
    expect(vi.getTimerCount()).toBe(1); // the physical read's deadline, which still runs
    await vi.advanceTimersByTimeAsync(5000);
  });
});

test('an opening that comes after the deadline is given back', async () => {
  const { state, driver } = counter();
  const gate = Promise.withResolvers<void>();
  const late: Driver = { ...driver, open: (...args) => gate.promise.then(() => driver.open(...args)) };
  const hub = new DeviceHub({ buses, driverNamed: () => late });
  const hold = hub.hold([config]);
  const opening = expect(hold.open(never)).rejects.toMatchObject({ code: 'unavailable' });
  await vi.advanceTimersByTimeAsync(5000);
  await opening;
  gate.resolve();
  await vi.advanceTimersByTimeAsync(1);
  expect(state).toMatchObject({ opens: 1, closes: 1 });
});

test('a driver that throws at once is an error of that read alone', async () => {
  const { driver } = counter();
  const broken: Driver = {
    ...driver,
    open: () => {
      throw new DeviceError('other', 'out of order');
    },
  };
  const hub = new DeviceHub({ buses, driverNamed: () => broken });
  await expect(hub.hold([config]).open(never)).rejects.toThrow('out of order');
  expect(vi.getTimerCount()).toBe(0);
});
