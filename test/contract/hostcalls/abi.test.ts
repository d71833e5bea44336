import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseDeviceArgument } from '../../../devices/catalog.ts';
import { Ads1115Chip } from '../../../devices/simulated/ads1115-chip.ts';
import { SimulatedBuses } from '../../../devices/simulated/i2c-bus.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { assemblyScript, denials, runGuest, type World } from './real-guest.ts';

const messaging = { publish: [{ filter: 'own/#', qos: 1, retain: true }], prefix: 'own/' } as const;

function ads1115World(): World & { chip: Ads1115Chip } {
  const buses = new SimulatedBuses();
  const chip = new Ads1115Chip();
  chip.inputs[0] = 1.5;
  buses.chips(1).set(0x48, chip);
  const device = parseDeviceArgument('soil-moisture=ads1115:1,0x48,0,rate=860,dry=2.5V,wet=0.5V');
  return { devices: [device], buses, messaging, chip };
}

let folder: Awaited<ReturnType<typeof tempFolder>>;
beforeAll(async () => {
  folder = await tempFolder();
});
afterAll(() => folder[Symbol.asyncDispose]());

describe('a guest that makes every call', () => {
  let guest: Uint8Array<ArrayBuffer>;
  beforeAll(async () => {
    guest = await assemblyScript('every-call', join(folder.path, 'every-call.wasm'));
  });

  test('gets every answer in the layout of the canonical ABI', async () => {
    const run = await runGuest(guest, ads1115World());
    expect(run.lines).toEqual([
      'open pump: case 0',
      'describe: soil-moisture % TI ADS1115 1 0.0 100.0 2',
      ...Array<string>(3).fill('read: 50.0 % 0'),
      'publish: ok',
      'publish to a wildcard: case 3 the topic holds a wildcard (+ or #), which only subscriptions may',
      'publish-with: ok',
      expect.stringMatching(/^publish-with, not durable: case 2 .* publish durably$/),
      'publish-reading: ok',
      "subscribe: case 2 can't subscribe to soil: this version of Loamlet grants no subscriptions",
      'stopping: 0',
      'done',
    ]);
    expect(run).toMatchObject({ ending: { kind: 'exit', code: 0 }, readiness: [false, true], lives: 1 });
  });

  test('has its publications arrive byte for byte', async () => {
    const { published } = await runGuest(guest, ads1115World());
    expect(published.map(({ topic, payload }) => [topic, Buffer.from(payload).toString()])).toEqual([
      ['soil', '50.0'],
      ['soil', '50.0'],
      [
        'soil',
        expect.stringMatching(
          /^\{"sensor":"soil-moisture","value":50,"unit":"%","takenAt":"20..-.*Z","quality":"good"\}$/,
        ),
      ],
    ]);
    expect(published[1]).toMatchObject({ expiryMs: 60_000 });
    expect(Math.abs((published[1]?.takenAtMs ?? 0) - Date.now())).toBeLessThan(60_000);
    expect(published[2]?.takenAtMs).toBe(published[1]?.takenAtMs);
  });

  test('goes on after errors, in words, when its device fails now and then', async () => {
    const device = parseDeviceArgument('soil-moisture=simulated:constant,value=7,errorEvery=2');
    const { lines } = await runGuest(guest, { devices: [device], buses: new SimulatedBuses(), messaging });
    expect(lines.filter((line) => line.startsWith('read'))).toEqual([
      'read: 7.0 % 0',
      'read: case 2 simulated fault: every read number 2 fails',
      'read: 7.0 % 0',
    ]);
  });

  test.each([
    [{ case: 'full' } as const, 'publish: case 4'],
    [{ case: 'connection', message: 'the agent is away' } as const, 'publish: case 1 the agent is away'],
  ])('is told that a publish failed: %o', async (outcome, line) => {
    const { lines } = await runGuest(guest, { ...ads1115World(), publish: () => outcome });
    expect(lines).toContain(line);
  });

  test.each([
    ['dropped', 'the module used handle 1, which it does not hold'],
    ['twice', 'the module used handle 1, which it does not hold'],
    ['receive', 'the module used handle 1 as a subscription, but it is a sensor'],
    ['unsubscribe', 'the module used handle 1 as a subscription, but it is a sensor'],
    ['lie', 'the module passed 131072 bytes at 4294901760 to a host call, which is outside its memory'],
    ['leak', 'the module holds 256 host resources, which is the most allowed: drop those it has done with'],
  ])('ends with a trap when it cheats: %s', async (mode, message) => {
    const { ending, lines } = await runGuest(guest, { ...ads1115World(), args: [mode] });
    expect(ending).toEqual({ kind: 'trap', message });
    expect(lines).not.toContain('done');
  });

  test('is denied before it starts what its grant does not hold', async () => {
    const world = ads1115World();
    expect(await denials(guest, world)).toEqual([]);
    const without = await denials(guest, { devices: [], buses: world.buses });
    expect(without.map(({ module }) => module).toSorted()).toEqual([
      ...Array<string>(6).fill('loamlet:host/messaging@0.1.0'),
      ...Array<string>(4).fill('loamlet:host/sensors@0.1.0'),
    ]);
  });
});

describe.each(['soil-sensor', 'soil-sensor-c'])('the example %s', (example) => {
  test('reads an ADS1115 and publishes what it read', async () => {
    await promisify(execFile)(new URL('../../../examples/build', import.meta.url).pathname, [folder.path, example], {
      env: { ...process.env, PATH: `${process.execPath.replace(/\/[^/]*$/, '')}:${process.env.PATH}` },
    });
    const wasm = new Uint8Array(await readFile(join(folder.path, `${example}.wasm`)));
    const world = ads1115World();
    expect(await denials(wasm, world)).toEqual([]);
    const run = await runGuest(wasm, { ...world, env: ['COUNT=3', 'INTERVAL_MS=1'] });
    expect(run).toMatchObject({ ending: { kind: 'exit', code: 0 }, errors: [] });
    expect(run.lines).toEqual(Array<string>(3).fill('soil-moisture 50.0 %'));
    const values = run.published.map(({ payload }) => JSON.parse(Buffer.from(payload).toString()) as { value: number });
    expect(values.map(({ value }) => value)).toEqual([50, 50, 50]);
  });
});
