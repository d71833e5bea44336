import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { Buses, DeviceConfig } from '../../../devices/contract.ts';
import { DeviceHub } from '../../../devices/hub.ts';
import type { Grant } from '../../../hostcalls/grant.ts';
import { hostInterfaces } from '../../../hostcalls/interfaces.ts';
import { checkImports, type ImportDenial } from '../../../hostcalls/link.ts';
import type { Publication, PublishOutcome } from '../../../hostcalls/messaging.ts';
import { transform } from '../../../src/precompile/transform.ts';
import { Executor } from '../../../src/runner/executor.ts';
import type { Ending } from '../../../src/runner/instance.ts';
import { StringBlock } from '../../../src/runner/string-block.ts';

const root = new URL('../../../', import.meta.url).pathname;

/** Compiles an AssemblyScript program of `test/fixtures/guests`. */
export async function assemblyScript(name: string, out: string): Promise<Uint8Array<ArrayBuffer>> {
  const asc = `${root}node_modules/assemblyscript/bin/asc.js`;
  // Relative, for the compiler looks for the shim's library from it.
  const config = './node_modules/@assemblyscript/wasi-shim/asconfig.json';
  const args = [asc, `test/fixtures/guests/${name}.ts`, '--config', config, '-O', '-o', out];
  await promisify(execFile)(process.execPath, args, { cwd: root });
  return new Uint8Array(await readFile(out));
}

export interface World {
  readonly devices: readonly DeviceConfig[];
  readonly buses: Buses;
  readonly messaging?: Grant['messaging'];
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  publish?(publication: Publication): PublishOutcome;
}

export interface Run {
  readonly ending: Ending;
  readonly lines: readonly string[];
  readonly errors: readonly string[];
  readonly published: readonly Publication[];
  readonly readiness: readonly boolean[];
  readonly lives: number;
}

/** Runs a module on the product's own executor, host calls and device hub, with grants and services of a test. */
export async function runGuest(wasm: Uint8Array<ArrayBuffer>, world: World): Promise<Run> {
  const published: Publication[] = [];
  await using hub = new DeviceHub({ buses: world.buses });
  await using _hold = hub.hold(world.devices);
  const publisher = {
    async publish(_guest: unknown, publication: Publication) {
      published.push(publication);
      // As with a real outbox, the answer does not come in the same turn.
      await new Promise((resolve) => setImmediate(resolve));
      return world.publish?.(publication);
    },
  };
  const executor = new Executor(hostInterfaces({ devices: hub, publisher }));
  const { module, description } = transform(wasm);
  const output = { stdout: '', stderr: '' };
  const readiness: boolean[] = [];
  let lives = 0;
  const compiled = await WebAssembly.compile(new Uint8Array(module));
  const ending = await new Promise<Ending>((resolve) => {
    executor.start(
      { module: compiled, description },
      {
        id: 'guest',
        name: 'default/guest/guest',
        grant: grantOf(world),
        args: new StringBlock(['guest.wasm', ...(world.args ?? [])]),
        env: new StringBlock(world.env ?? []),
        output: { write: (stream, bytes) => void (output[stream] += Buffer.from(bytes).toString()) },
        memoryLimitBytes: 16 << 20,
        onReady: (ready) => void readiness.push(ready),
        onAlive: () => void lives++,
        onEnd: resolve,
      },
    );
  });
  return { ending, lines: lines(output.stdout), errors: lines(output.stderr), published, readiness, lives };
}

/** What is said of its imports before it would be started. */
export async function denials(wasm: Uint8Array<ArrayBuffer>, world: World): Promise<ImportDenial[]> {
  return checkImports(WebAssembly.Module.imports(await WebAssembly.compile(wasm)), grantOf(world));
}

function grantOf({ devices, messaging }: World): Grant {
  const grants = devices.map((device) => ({ logicalName: device.name, device, freshnessMs: 0 }));
  return messaging === undefined ? { devices: grants } : { devices: grants, messaging };
}

function lines(text: string): string[] {
  return text.split('\n').slice(0, -1);
}
