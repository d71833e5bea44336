// The demo behind ./scripts/demo, which has set everything up. See there for what it shows.
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: { cluster: { type: 'boolean', default: false }, readings: { type: 'string' } },
});
const readings = values.readings === undefined ? Infinity : Number(values.readings);
if (!(readings >= 1)) {
  process.stderr.write(`error: --readings takes a whole number from 1, not ${values.readings}\n`);
  process.exit(2);
}

const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());

try {
  const { demo } = values.cluster ? await import('./lib/demo-cluster.ts') : await import('./lib/demo-standalone.ts');
  await demo(readings, stop.signal);
} catch (error) {
  process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
process.exit();
