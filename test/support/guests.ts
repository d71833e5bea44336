/** Guest modules from source, with the compilers of this machine; built once and kept by the hash of what they are made from. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rename, rm, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, join, relative } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = new URL('../..', import.meta.url).pathname;
const fixtures = join(root, 'test/fixtures/guests');
const cache = join(process.env.LOAMLET_CACHE ?? join(homedir(), '.cache/loamlet'), 'guests');

export type Language = 'c' | 'rust' | 'go' | 'assemblyscript';
export const languages: readonly Language[] = ['c', 'rust', 'go', 'assemblyscript'];

interface Toolchain {
  readonly extension: string;
  /** Part of the cache's key: changes with the compiler. */
  readonly version: readonly [file: string, ...args: string[]];
  readonly build: (source: string, output: string, folder: string) => Promise<unknown>;
}

const asc = join(root, 'node_modules/assemblyscript/bin/asc.js');

const toolchains: Readonly<Record<Language, Toolchain>> = {
  c: {
    extension: 'c',
    version: ['clang', '--version'],
    build: (source, output) =>
      run('clang', ['--target=wasm32-wasi', '-O2', '-fno-builtin', '-Wall', '-Wl,-s', source, '-o', output]),
  },
  rust: {
    extension: 'rs',
    version: ['/usr/bin/rustc', '--version'],
    // By its full path: a rustup in PATH has another standard library, and perhaps not this target.
    build: (source, output) =>
      run('/usr/bin/rustc', ['--target', 'wasm32-wasi', '-O', '--edition', '2021', source, '-o', output]),
  },
  go: {
    extension: 'go',
    version: ['go', 'version'],
    build: (source, output, folder) =>
      run('go', ['build', '-ldflags=-s -w', '-o', output, source], {
        cwd: folder,
        env: { ...process.env, GOOS: 'wasip1', GOARCH: 'wasm', GOFLAGS: '-mod=mod', GO111MODULE: 'off' },
      }),
  },
  assemblyscript: {
    extension: 'ts',
    version: [process.execPath, asc, '--version'],
    build: (source, output) =>
      run(
        process.execPath,
        [
          asc,
          relative(root, source),
          '--config',
          './node_modules/@assemblyscript/wasi-shim/asconfig.json',
          '-O',
          '-o',
          output,
        ],
        {
          cwd: root,
        },
      ),
  },
};

const building = new Map<string, Promise<string>>();

/** Resolves to the path of `test/fixtures/guests/<language>/<name>.*` as a module. */
export function guest(language: Language, name: string): Promise<string> {
  const key = `${language}/${name}`;
  const found = building.get(key) ?? build(language, name);
  building.set(key, found);
  return found;
}

async function build(language: Language, name: string): Promise<string> {
  const toolchain = toolchains[language];
  const source = join(fixtures, language, `${name}.${toolchain.extension}`);
  const hash = createHash('sha256').update(await readFile(source));
  const [compiler, ...version] = toolchain.version;
  hash.update((await run(compiler, version)).stdout).update(String(toolchain.build));
  const output = join(cache, `${language}-${name}-${hash.digest('hex').slice(0, 16)}.wasm`);
  if (await stat(output).catch(() => undefined)) return output;
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(join(cache, 'build-'));
  try {
    const made = join(folder, basename(output));
    await toolchain.build(source, made, folder);
    await rename(made, output); // at once: a test in another process may build the same
    return output;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
