/** Prints what calls cost: through the executor by the guest's own clock, and on the bare engine. */
import type { PrecompiledModule } from '../../src/precompile/precompiler.ts';
import { bareImports, bareInstance, bareModule } from './bare-engine.ts';
import { answer, settingsOf } from './child.ts';
import { ExecutorWorld } from './executor-world.ts';

export interface CallTimes {
  /** `lifecycle.stopping`, a host call that returns at once. Nanoseconds, all of them. */
  readonly plain: number;
  /** wasi-libc's `clock_gettime`. */
  readonly clock: number;
  /** WASI `sched_yield`: parked, run queue, resumed. */
  readonly yield: number;
  /** A suspending host call whose promise is settled already. */
  readonly wait: number;
  readonly barePlain: number;
  readonly bareSuspend: number;
}

const { module } = settingsOf<{ module: PrecompiledModule }>();
const compiled = bareModule(module.path);
const bare = bareInstance(
  compiled,
  bareImports(compiled, () => {}),
);
// On a stack that may suspend, as all guests run on.
const plain = WebAssembly.promising(bare['plain']!);
const suspending = WebAssembly.promising(bare['yielding']!);
// Short rounds: some of them find the machine quiet.
const rounds = 60;
const plainCalls = 200_000;
const suspendingCalls = 20_000;
let barePlain = Infinity;
let bareSuspend = Infinity;
for (let round = 0; round < rounds; round++) {
  let from = performance.now();
  await plain(plainCalls);
  barePlain = Math.min(barePlain, performance.now() - from);
  from = performance.now();
  await suspending(suspendingCalls);
  bareSuspend = Math.min(bareSuspend, performance.now() - from);
}

const wait = { kind: 'suspending', call: async () => {} } as const;
const world = await ExecutorWorld.open(module, [{ module: 'loamlet:bench/calls@0.1.0', functions: { wait } }]);
let line = '';
const decoder = new TextDecoder();
const output = { write: (_stream: string, bytes: Uint8Array) => void (line += decoder.decode(bytes)) };
await new Promise<void>((resolve, reject) => {
  world.start(0, ['calls'], output, (ending) => {
    if (ending.kind === 'exit' && ending.code === 0) resolve();
    else reject(new Error(JSON.stringify(ending)));
  });
});
answer({
  ...(JSON.parse(line) as Omit<CallTimes, 'barePlain' | 'bareSuspend'>),
  barePlain: (barePlain * 1e6) / plainCalls,
  bareSuspend: (bareSuspend * 1e6) / suspendingCalls,
} satisfies CallTimes);
process.exit(0);
