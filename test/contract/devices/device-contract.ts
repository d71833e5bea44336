import { describe, expect, test } from 'vitest';
import type { Buses, DeviceConfig } from '../../../devices/contract.ts';
import { DeviceHub } from '../../../devices/hub.ts';
import { drivers } from '../../../devices/catalog.ts';

/** A device under test, and hands on what it measures. */
export interface DeviceWorld {
  readonly config: DeviceConfig;
  readonly buses: Buses;
  /** What it must read now, within `tolerance`. */
  readonly expected: number;
  readonly tolerance: number;
  /** Takes the device away and brings it back, where that can be done to it. */
  readonly presence?: { remove(): void; restore(): void };
  /** Opened buses not given back yet. */
  readonly busUsers: () => number;
}

const never = new AbortController().signal;

/** What every device of every driver keeps, on simulated and on real buses alike. */
export function deviceContract(name: string, makeWorld: () => DeviceWorld): void {
  const driverOf = ({ driver }: DeviceConfig) => drivers.find((candidate) => candidate.name === driver);

  describe(`a device: ${name}`, () => {
    test('reads the value that is there, in the unit it describes, at the present time', async () => {
      const world = makeWorld();
      await using hub = new DeviceHub({ buses: world.buses });
      await using hold = hub.hold([world.config]);
      await hold.open(never);
      const sensor = await hub.sensor(world.config, undefined, 0, never);
      const before = Date.now();
      const reading = await sensor.read(never);
      expect(Math.abs(reading.value - world.expected)).toBeLessThanOrEqual(world.tolerance);
      expect(reading).toMatchObject({ unit: sensor.describe().unit, quality: 'good' });
      expect(reading.takenAtMs).toBeGreaterThanOrEqual(before);
      expect(reading.takenAtMs).toBeLessThanOrEqual(Date.now());
    });

    test('describes itself the same with and without hardware, in what crosses to another process', async () => {
      const world = makeWorld();
      const options: unknown = JSON.parse(JSON.stringify(world.config.options));
      expect(options).toEqual(world.config.options);
      await using device = await driverOf(world.config)!.open(options, world.buses, never);
      const described = driverOf(world.config)!.describe(options);
      expect([...device.sensors.values()].map((sensor) => sensor.describe())).toEqual(described);
      expect([...device.sensors.keys()]).toEqual(described.map(({ quantity }) => quantity));
      for (const { range } of described) if (range !== undefined) expect(range[0]).toBeLessThan(range[1]);
    });

    test('answers readers that come at once, each with a reading of its own', async () => {
      const world = makeWorld();
      await using hub = new DeviceHub({ buses: world.buses });
      await using _hold = hub.hold([world.config]);
      const sensor = await hub.sensor(world.config, undefined, 0, never);
      const readings = await Promise.all(Array.from({ length: 5 }, () => sensor.read(never)));
      expect(new Set(readings).size).toBe(5);
      for (const { value } of readings) expect(Math.abs(value - world.expected)).toBeLessThanOrEqual(world.tolerance);
    });

    test('gives its bus back with its last holder', async () => {
      const world = makeWorld();
      await using hub = new DeviceHub({ buses: world.buses });
      const first = hub.hold([world.config]);
      const second = hub.hold([world.config]);
      await first.open(never);
      const open = world.busUsers();
      await first[Symbol.asyncDispose]();
      expect(world.busUsers()).toBe(open);
      await second[Symbol.asyncDispose]();
      expect(world.busUsers()).toBe(0);
      expect(hub.size).toBe(0);
    });

    test('has no quantity it does not describe', async () => {
      const world = makeWorld();
      await using hub = new DeviceHub({ buses: world.buses });
      await using _hold = hub.hold([world.config]);
      await expect(hub.sensor(world.config, 'humour', 0, never)).rejects.toMatchObject({ code: 'not-found' });
    });

    if (makeWorld().presence === undefined) return;
    test('is not found when it is not there, and is when it comes', async () => {
      const world = makeWorld();
      const health: [boolean, string][] = [];
      await using hub = new DeviceHub({ buses: world.buses, onHealth: (_, ...report) => health.push(report) });
      await using hold = hub.hold([world.config]);
      world.presence?.remove();
      await expect(hold.open(never)).rejects.toMatchObject({ code: 'not-found' });
      expect(world.busUsers()).toBe(0);
      await expect(hub.sensor(world.config, undefined, 0, never)).rejects.toMatchObject({ code: 'not-found' });
      world.presence?.restore();
      const sensor = await hub.sensor(world.config, undefined, 0, never);
      await expect(sensor.read(never)).resolves.toMatchObject({ quality: 'good' });
      expect(health).toEqual([
        [false, expect.stringContaining('nothing answers')],
        [true, ''],
      ]);
    });

    test('is unavailable while it does not answer, and reads again when it does', async () => {
      const world = makeWorld();
      const health: boolean[] = [];
      await using hub = new DeviceHub({ buses: world.buses, onHealth: (_, healthy) => health.push(healthy) });
      await using _hold = hub.hold([world.config]);
      const sensor = await hub.sensor(world.config, undefined, 0, never);
      world.presence?.remove();
      await expect(sensor.read(never)).rejects.toMatchObject({ code: 'unavailable' });
      await expect(sensor.read(never)).rejects.toMatchObject({ code: 'unavailable' });
      world.presence?.restore();
      await expect(sensor.read(never)).resolves.toMatchObject({ quality: 'good' });
      expect(health).toEqual([false, true]);
    });
  });
}
