// The figures behind ./scripts/bench, which has set everything up. See there for how it is called.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runnerFlags } from '../../src/runner/launch.ts';
import { figure, figures, type Bench, type Family, type Figure, type FigureName } from './figure.ts';
import { printTable } from './table.ts';

interface Group {
  readonly names: readonly FigureName[];
  readonly load: (wants: (name: FigureName) => boolean) => Promise<Family>;
}

/** Each group is loaded when it is wanted: what one needs may not be there. */
const groups: readonly Group[] = [
  {
    names: ['instance_start_us', 'instance_start_p99_us', 'container_start_us'],
    load: async () => (await import('./start.ts')).measureStarts,
  },
  { names: ['instance_bytes'], load: async () => (await import('./sleepers.ts')).measureInstanceMemory },
  { names: ['container_bytes'], load: async () => (await import('./containers.ts')).measureContainerMemory },
  { names: ['wake_cpu_us'], load: async () => (await import('./sleepers.ts')).measureWakes },
  { names: ['hostcall_ns', 'suspend_ns'], load: async () => (await import('./calls.ts')).measureCalls },
  { names: ['publish_per_second'], load: async () => (await import('./publish.ts')).measurePublishes },
  { names: ['delivered_per_second'], load: async () => (await import('./publish.ts')).measureDeliveries },
  {
    names: ['pod_start_ms', 'idle_pss_bytes'],
    load: async (wants) => (await import('./node.ts')).measureNode(wants),
  },
];

function misuse(message: string): never {
  process.stderr.write(`error: ${message}\n`);
  process.exit(2);
}

function options(): { json: string | undefined; only: Set<FigureName>; idleMinutes: number } {
  const declared = { json: { type: 'string' }, only: { type: 'string' }, 'idle-minutes': { type: 'string' } } as const;
  let values;
  try {
    ({ values } = parseArgs({ options: declared }));
  } catch (error) {
    misuse(`${(error as Error).message.split('.', 1)[0]}: see ./scripts/bench --help`);
  }
  const all = Object.keys(figures) as FigureName[];
  const only = new Set<FigureName>();
  for (const name of values.only?.split(',') ?? all) {
    const known = all.find((each) => each === name);
    if (known === undefined) misuse(`there is no figure '${name}': choose from ${all.join(', ')}`);
    only.add(known);
  }
  const idleMinutes = Number(values['idle-minutes'] ?? 2);
  if (!(idleMinutes >= 0.2)) misuse(`--idle-minutes takes a number from 0.2, not ${values['idle-minutes']}`);
  return { json: values.json, only, idleMinutes };
}

const { json, only, idleMinutes } = options();
const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort(new Error('stopped')));

const folder = await mkdtemp(join(tmpdir(), 'loamlet-bench-'));
const say = (line: string): void => void process.stderr.write(`${line}\n`);
const bench: Bench = { folder, idleMinutes, signal: stop.signal, say };
const found: Figure[] = [];
let failed = false;
say(
  `${cpus().length} cores of ${cpus()[0]?.model ?? 'unknown'}, Node.js ${process.versions.node}, load ${loadavg()[0]?.toFixed(1)}`,
);
say(`runners and executors run with ${runnerFlags().join(' ')}`);
try {
  for (const { names, load } of groups) {
    const wanted = names.filter((name) => only.has(name));
    if (wanted.length === 0) continue;
    say(`measuring ${wanted.join(', ')}`);
    try {
      const family = await load((name) => only.has(name));
      for await (const each of family(bench)) if (only.has(each.name)) found.push(each);
    } catch (error) {
      if (stop.signal.aborted) throw error;
      failed = true;
      const reason = error instanceof Error ? error.message.split('\n', 1)[0] : String(error);
      const missing = wanted.filter((name) => found.every((each) => each.name !== name));
      found.push(...missing.map((name) => figure(name, null, `not measured: ${reason}`)));
    }
  }
  printTable(found);
  if (json !== undefined) await writeFile(json, `${JSON.stringify(found, null, 2)}\n`);
} catch (error) {
  say(`error: ${error instanceof Error ? error.message : String(error)}`);
  failed = true;
} finally {
  await rm(folder, { recursive: true, force: true });
}
process.exit(stop.signal.aborted ? 130 : failed ? 1 : 0);
