import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Bench } from './figure.ts';
import { processMemory, residentTogether } from './memory.ts';
import type { NodeWorld } from './node-world.ts';
import { median } from './statistics.ts';

export interface IdleMemory {
  readonly togetherBytes: number;
  readonly fileBytes: number;
  readonly kernelPssBytes: number;
  readonly agentPrivateBytes: number;
  readonly runnerPrivateBytes: number;
  /** Of one core, both processes. */
  readonly cpu: number;
}

const samples = 5;

/** Leaves the node alone for some minutes, then looks five times over their last 10 s. */
export async function idleMemory(
  world: NodeWorld,
  idleMinutes: number,
  { signal }: Pick<Bench, 'signal'>,
): Promise<IdleMemory> {
  const pids = [world.node.pid, await world.node.runnerPid(signal)];
  const cpuFrom = cpuSeconds(pids);
  const from = performance.now();
  await delay(Math.max(0, idleMinutes * 60_000 - 10_000), undefined, { signal });
  const found: IdleMemory[] = [];
  for (let n = 0; n < samples; n++) {
    await delay(10_000 / samples, undefined, { signal });
    const { bytes, fileBytes } = residentTogether(pids);
    const [agent, own] = pids.map((pid) => processMemory(pid)) as [
      ReturnType<typeof processMemory>,
      ReturnType<typeof processMemory>,
    ];
    found.push({
      togetherBytes: bytes,
      fileBytes,
      kernelPssBytes: agent.pssBytes + own.pssBytes,
      agentPrivateBytes: agent.privateBytes,
      runnerPrivateBytes: own.privateBytes,
      cpu: 0,
    });
  }
  const of = (name: keyof IdleMemory): number => median(found.map((each) => each[name]));
  return {
    togetherBytes: of('togetherBytes'),
    fileBytes: of('fileBytes'),
    kernelPssBytes: of('kernelPssBytes'),
    agentPrivateBytes: of('agentPrivateBytes'),
    runnerPrivateBytes: of('runnerPrivateBytes'),
    cpu: (cpuSeconds(pids) - cpuFrom) / ((performance.now() - from) / 1000),
  };
}

/** The kernel's clock ticks are 100 a second. */
function cpuSeconds(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ');
    return sum + (Number(fields[11]) + Number(fields[12])) / 100;
  }, 0);
}
