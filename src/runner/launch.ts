import { totalmem } from 'node:os';
import { entryPoint } from '../base/entry.ts';

/** How a runner is told what to be: JSON on its standard input, so that no secret is in its arguments or environment. */
export interface RunnerSettings {
  readonly runnerId: string;
  readonly socketPath: string;
  /** What an agent has to say in `hello`. */
  readonly token: string;
  /** A name in /etc/passwd: who modules run as. Only for a runner started by root. */
  readonly user?: string;
}

/** What a runner says, as one line on its standard output, when it listens or can't. */
export type RunnerGreeting = { readonly ok: true } | { readonly ok: false; readonly message: string };

/**
 * V8's flags for processes that run modules; they belong to one version of Node.
 * - Without the trap handler a memory takes the address space of its maximum, not 10 GB: a Pi's kernel has room for about 50 of those.
 * - Accounting external memory in the global limit, with an initial heap, spares a full collection every 300 starts.
 * - Every young collection walks all suspended stacks; 1 MB of young generation is the smallest.
 * - Small guests reach the optimising compiler sooner with a smaller budget.
 */
export function runnerFlags(memoryBytes = totalmem()): string[] {
  const mib = Math.floor(memoryBytes / 2 ** 20);
  return [
    '--disable-wasm-trap-handler',
    '--external-memory-accounted-in-global-limit',
    `--initial-old-space-size=${Math.max(16, Math.min(512, Math.floor(mib / 8)))}`,
    `--max-old-space-size=${Math.max(128, Math.floor(mib / 4))}`,
    '--min-semi-space-size=1',
    '--max-semi-space-size=1',
    '--wasm-tiering-budget=200000',
    '--expose-gc',
    '--disable-warning=ExperimentalWarning',
  ];
}

export function runnerCommand(): { readonly file: string; readonly args: readonly string[] } {
  return { file: process.execPath, args: [...runnerFlags(), entryPoint('runner')] };
}
