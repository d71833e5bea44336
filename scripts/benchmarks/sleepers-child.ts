/** Puts instances to sleep; prints what one more of them costs in memory, or what a wake costs in CPU time. */
import { openSync, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { PrecompiledModule } from '../../src/precompile/precompiler.ts';
import type { Instance } from '../../src/runner/instance.ts';
import { answer, settingsOf } from './child.ts';
import { collect, ExecutorWorld } from './executor-world.ts';
import { processMemory } from './memory.ts';

export interface SleeperSettings {
  readonly module: PrecompiledModule;
  readonly measure: 'memory' | 'wake';
  readonly instances: number;
}

export interface SleeperMemory {
  /** Of one more instance. */
  readonly privateBytes: number;
  readonly rssBytes: number;
  /** Of the process, with twice as many asleep. */
  readonly totalRssBytes: number;
}

export interface WakeTimes {
  readonly cpuUs: number;
  readonly wakes: number;
}

const { module, measure, instances } = settingsOf<SleeperSettings>();
const world = await ExecutorWorld.open(module);
const nowhere = openSync('/dev/null', 'w');
let lines = 0;
let held = 0;
const buffer = Buffer.allocUnsafe(1 << 20);

/** Copies as the log queue does, and writes what a turn has gathered. */
const output = {
  write(_stream: string, bytes: Uint8Array): void {
    lines++;
    if (held === 0) setImmediate(flush);
    if (held + bytes.length > buffer.length) flush();
    buffer.set(bytes, held);
    held += bytes.length;
  },
};
function flush(): void {
  writeSync(nowhere, buffer, 0, held);
  held = 0;
}

async function sleepers(count: number, periodMs: number): Promise<Instance[]> {
  const started: Instance[] = [];
  for (let id = 0; id < count; id++) {
    if (id % 10 === 0) await new Promise(setImmediate);
    started.push(world.start(id, ['sensor', String(periodMs)], output));
  }
  return started;
}

if (measure === 'memory') {
  await world.end(await sleepers(300, 3_600_000));
  await sleepers(instances, 3_600_000);
  await collect();
  const before = processMemory('self');
  await sleepers(instances, 3_600_000);
  await collect();
  const after = processMemory('self');
  answer({
    privateBytes: (after.privateBytes - before.privateBytes) / instances,
    rssBytes: (after.rssBytes - before.rssBytes) / instances,
    totalRssBytes: after.rssBytes,
  } satisfies SleeperMemory);
} else {
  await sleepers(instances, 100);
  await delay(3_000); // compiled by then
  const from = process.cpuUsage();
  const before = lines;
  await delay(4_000);
  const { user, system } = process.cpuUsage(from);
  answer({ cpuUs: (user + system) / (lines - before), wakes: lines - before } satisfies WakeTimes);
}
process.exit(0);
