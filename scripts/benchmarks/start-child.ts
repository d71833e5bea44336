/** Starts instances one after the other and prints how long each took to its first line. */
import { openSync, readSync } from 'node:fs';
import type { PrecompiledModule } from '../../src/precompile/precompiler.ts';
import { emptyGrant } from '../../hostcalls/grant.ts';
import { Container } from '../../src/runner/container.ts';
import { bareImports, bareInstance, bareModule } from './bare-engine.ts';
import { answer, settingsOf } from './child.ts';
import { ExecutorWorld } from './executor-world.ts';

export interface StartSettings {
  readonly module: PrecompiledModule;
  /** `instance`: the executor's start. `container`: the runner's whole start of a container. `bare`: the engine alone. */
  readonly kind: 'instance' | 'container' | 'bare';
  readonly starts: number;
  /** Each in a turn of the event loop of its own, as requests arrive; else in one go. */
  readonly turns: boolean;
}

export interface StartTimes {
  /** Microseconds of those during which this thread never waited for a core that somebody else had. */
  readonly us: readonly number[];
  /** How many did wait. */
  readonly disturbed: number;
}

const { module, kind, starts, turns } = settingsOf<StartSettings>();
const args = ['sensor', '3600000'];
const us: number[] = [];
let disturbed = 0;
let first = 0;
const write = (): void => {
  first ||= performance.now();
};

let start: (id: number) => unknown;
if (kind === 'bare') {
  const compiled = bareModule(module.path);
  const imports = bareImports(compiled, write);
  start = () => void WebAssembly.promising(bareInstance(compiled, imports)['_start']!)();
} else {
  const world = await ExecutorWorld.open(module);
  const output = { write };
  if (kind === 'instance') start = (id) => world.start(id, args, output);
  else {
    const events = { started() {}, startFailed() {}, exited() {}, ready() {} };
    start = (id) => {
      const spec = {
        id: String(id),
        name: `bench/sensor-${id}/sensor`,
        modulePath: module.path,
        moduleDigest: module.digest,
        args,
        env: [],
        memoryLimitBytes: 64 << 20,
        grant: emptyGrant,
      };
      return new Container(spec, world, events).start({ output });
    };
  }
}
const schedstat = openSync('/proc/self/schedstat', 'r');
const fields = Buffer.alloc(128);
/** Nanoseconds this thread was ready to run and did not. */
const waitedNs = (): string => fields.toString('latin1', 0, readSync(schedstat, fields, 0, 128, 0)).split(' ')[1]!;

for (let id = 0; id < starts; id++) {
  if (turns) await new Promise(setImmediate);
  first = 0;
  const waited = waitedNs();
  const asked = performance.now();
  const started = start(id);
  if (kind === 'container') await started;
  if (first === 0) throw new Error('the module has written no line');
  if (waitedNs() === waited) us.push((first - asked) * 1000);
  else disturbed++;
}
answer({ us, disturbed } satisfies StartTimes);
process.exit(0);
