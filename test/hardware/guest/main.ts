/** Runs in the lab: main.ts LOAMLET MODULE RESULTS. Writes one `{ name, error? }` for each check. */
import { writeFileSync } from 'node:fs';
import { Ads1115Chip } from '../../../devices/simulated/ads1115-chip.ts';
import { address, channel, checks, type LabWorld } from './checks.ts';
import { openI2cAdapter } from './i2c-adapter.ts';
import { Loamlet } from './loamlet.ts';

const [program = '', module = '', resultsFile = ''] = process.argv.slice(2);

await using adapter = await openI2cAdapter();
const chip = new Ads1115Chip();
// The other inputs float elsewhere: reading the wrong one shows.
chip.inputs.splice(0, 4, 0.1, 2, 0.2, 0.3);
adapter.chips.set(address, chip);

await using processes = new AsyncDisposableStack();
const run = (device: string): Loamlet =>
  processes.use(new Loamlet(program, ['run', '--env', 'INTERVAL_MS=100', '--device', device, module]));
const sensor = run(`soil-moisture=ads1115:${adapter.bus},${address},${channel},dry=2.8V,wet=1.2V`);
let absent: ReturnType<LabWorld['refused']> | undefined;
const refused = () =>
  (absent ??= {
    chip: run(`soil-moisture=ads1115:${adapter.bus},${address + 1}`),
    bus: run('soil-moisture=ads1115:9'),
  });
const world: LabWorld = { adapter, chip, sensor, refused };

const results: { name: string; error?: string }[] = [];
for (const check of checks) {
  const from = performance.now();
  try {
    await check.run(world);
    results.push({ name: check.name });
  } catch (error) {
    results.push({ name: check.name, error: error instanceof Error ? error.message : String(error) });
  }
  console.log(`${results.at(-1)?.error ?? 'ok'}: ${check.name} (${((performance.now() - from) / 1000).toFixed(1)} s)`);
  writeFileSync(resultsFile, JSON.stringify(results));
}
