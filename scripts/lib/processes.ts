/** Child processes of the demo: their output under a prefix, and none of them left when the demo ends. */
import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { createInterface } from 'node:readline';

const children = new Set<ChildProcess>();

export interface Running extends AsyncDisposable {
  readonly child: ChildProcess;
  /** Resolves to the exit code, or 128 + signal. */
  readonly ended: Promise<number>;
}

/** Starts a program; its lines are printed behind `prefix`, or given to `onLine`. Disposing ends it with SIGINT. */
export function start(
  command: string,
  args: readonly string[],
  options: SpawnOptions & { prefix?: string; onLine?: (line: string) => void } = {},
): Running {
  const { prefix = '', onLine = (line: string) => print(prefix, line), ...rest } = options;
  const child = spawn(command, args, { ...rest, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  children.add(child);
  const ended = new Promise<number>((resolve) => {
    child.once('error', (error) => {
      print(prefix, error.message);
      resolve(127);
    });
    child.once('exit', (code, signal) => resolve(code ?? (signal === 'SIGINT' ? 130 : 143)));
  }).finally(() => children.delete(child));
  for (const stream of [child.stdout, child.stderr]) if (stream !== null) createInterface(stream).on('line', onLine);
  return {
    child,
    ended,
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGINT');
      await ended;
    },
  };
}

/** Runs a program to its end and gives its stdout. @throws Error with the last line of its stderr */
export async function output(
  command: string,
  args: readonly string[],
  options: SpawnOptions & { input?: string } = {},
): Promise<string> {
  const { input, ...rest } = options;
  const child = spawn(command, args, { ...rest, stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin?.on('error', () => {});
  child.stdin?.end(input ?? '');
  let out = '';
  let err = '';
  child.stdout?.on('data', (part: Buffer) => (out += part.toString()));
  child.stderr?.on('data', (part: Buffer) => (err += part.toString()));
  const code = await new Promise<number>((resolve, reject) =>
    child.once('error', reject).once('close', (exit) => resolve(exit ?? 1)),
  );
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${err.trim().split('\n').at(-1) ?? code}`);
  return out;
}

export function print(prefix: string, line: string): void {
  process.stdout.write(prefix === '' ? `${line}\n` : `${prefix.padEnd(7)}${line}\n`);
}

// Whatever ends the demo, its children go with it.
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});
