import { fileURLToPath } from 'node:url';

/** The programs Loamlet starts as child processes. */
export type EntryPoint = 'runner' | 'precompile';

/** The script of a child program: beside this file in the bundle, in its own folder when run from source. */
export function entryPoint(name: EntryPoint): string {
  const source = import.meta.url.endsWith('.ts');
  return fileURLToPath(new URL(source ? `../${name}/main.ts` : `./${name}.mjs`, import.meta.url));
}
