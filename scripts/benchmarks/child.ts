import { spawn } from 'node:child_process';
import { runnerFlags } from '../../src/runner/launch.ts';

const limitMs = 120_000;
const running = new Set<() => void>();
process.on('exit', () => running.forEach((kill) => kill()));

/**
 * Runs a script of this folder in a process of its own, and gives the JSON it prints. `settings` is its first argument.
 * @param flags of Node.js. @default those a runner is started with
 */
export async function measureIn<T>(
  script: string,
  settings: object,
  signal: AbortSignal,
  flags: readonly string[] = runnerFlags(),
): Promise<T> {
  signal.throwIfAborted();
  const path = new URL(`${script}.ts`, import.meta.url).pathname;
  const child = spawn(process.execPath, [...flags, path, JSON.stringify(settings)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let err = '';
  child.stdout.on('data', (part: Buffer) => (out += part.toString()));
  child.stderr.on('data', (part: Buffer) => (err += part.toString()));
  const kill = (): void => void child.kill('SIGKILL');
  // SIGTERM first: a child that started a runner ends it.
  const stop = (): void => void child.kill('SIGTERM');
  running.add(kill);
  signal.addEventListener('abort', stop);
  const timer = setTimeout(stop, limitMs);
  const late = setTimeout(kill, limitMs + 10_000);
  try {
    const code = await new Promise<number>((resolve, reject) =>
      child.once('error', reject).once('close', (exit) => resolve(exit ?? 1)),
    );
    signal.throwIfAborted();
    if (code !== 0) throw new Error(`${script} ended with ${code}: ${err.trim().split('\n').slice(-6).join(' | ')}`);
    return JSON.parse(out) as T;
  } finally {
    clearTimeout(timer);
    clearTimeout(late);
    running.delete(kill);
    signal.removeEventListener('abort', stop);
  }
}

/** What the parent gave. */
export function settingsOf<T>(): T {
  return JSON.parse(process.argv[2] ?? '{}') as T;
}

export function answer(value: object): void {
  process.stdout.write(JSON.stringify(value));
}
