import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Precompiler, type PrecompiledModule } from '../../src/precompile/precompiler.ts';

const run = promisify(execFile);
const root = new URL('../..', import.meta.url).pathname;

export type GuestName = 'sensor' | 'calls' | 'publisher';

/** Compiles a guest of `guests/` with Debian's clang and wasi-libc; its path. */
export async function buildGuest(name: GuestName, folder: string): Promise<string> {
  const path = join(folder, `${name}.wasm`);
  const source = `${root}scripts/benchmarks/guests/${name}.c`;
  const flags = ['--target=wasm32-wasi', '--sysroot=/usr', '-std=gnu11', '-O2', '-Wl,--strip-all'];
  await run('clang', [...flags, `-I${root}examples/soil-sensor-c`, source, '-o', path]);
  return path;
}

/** Built and prepared as the agent has it done, by the precompiler's own child process. */
export async function prepareGuest(name: GuestName, folder: string, signal: AbortSignal): Promise<PrecompiledModule> {
  const path = await buildGuest(name, folder);
  const digest = `sha256:${createHash('sha256')
    .update(await readFile(path))
    .digest('hex')}`;
  const precompiler = await Precompiler.open({ directory: join(folder, 'modules') });
  return precompiler.precompile(path, digest, signal);
}
