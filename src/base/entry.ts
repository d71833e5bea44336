import { fileURLToPath } from 'node:url';

/** The programs Loamlet starts as child processes, with their place in the sources. */
const sources = {
  runner: '../runner/main.ts',
  precompile: '../precompile/main.ts',
  errand: '../cluster/errand/main.ts',
} as const;

export type EntryPoint = keyof typeof sources;

/** The script of a child program: beside this file in the bundle, in its own folder when run from source. */
export function entryPoint(name: EntryPoint): string {
  const fromSource = import.meta.url.endsWith('.ts');
  return fileURLToPath(new URL(fromSource ? sources[name] : `./${name}.mjs`, import.meta.url));
}
