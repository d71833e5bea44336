/** The agent's end of a runner with sleeping containers: prints what one more of them costs the runner. */
import { setTimeout as delay } from 'node:timers/promises';
import { emptyGrant } from '../../hostcalls/grant.ts';
import type { PrecompiledModule } from '../../src/precompile/precompiler.ts';
import { answer, settingsOf } from './child.ts';
import { processMemory } from './memory.ts';
import { RunnerWorld } from './runner-world.ts';

export interface ContainerSettings {
  readonly module: PrecompiledModule;
  readonly folder: string;
  readonly containers: number;
}

export interface ContainerMemory {
  readonly privateBytes: number;
  readonly rssBytes: number;
}

const { module, folder, containers } = settingsOf<ContainerSettings>();
await using world = await RunnerWorld.open(folder, () => Promise.resolve([]));
const start = async (from: number, to: number): Promise<ReturnType<typeof processMemory>> => {
  await world.start(module, from, to, ['sensor', '3600000'], emptyGrant);
  await delay(1_000); // their first lines arrive, memory settles
  return processMemory(world.pid);
};
const before = await start(0, containers);
const after = await start(containers, 2 * containers);
if (world.trouble !== '') throw new Error(world.trouble);
answer({
  privateBytes: (after.privateBytes - before.privateBytes) / containers,
  rssBytes: (after.rssBytes - before.rssBytes) / containers,
} satisfies ContainerMemory);
