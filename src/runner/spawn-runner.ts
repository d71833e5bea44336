import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { errorLine } from '../base/errors.ts';
import { runnerCommand, type RunnerGreeting, type RunnerSettings } from './launch.ts';
import { RunnerError } from './runner-error.ts';
import type { RunnerRecord } from './runner-process.ts';

export interface LaunchOptions {
  /** Where its socket and its log go: `/run/loamlet`. */
  readonly directory: string;
  /** A name in /etc/passwd: who modules run as. Only for an agent that is root. */
  readonly user?: string | undefined;
}

/** A path of a Unix socket has 107 bytes at most. */
const maxSocketPath = 107;
const greetingMs = 20_000;

/**
 * Starts a runner in a session of its own, so that nothing that ends the agent ends it, and waits until it listens.
 * @throws RunnerError `LaunchFailed`
 */
export async function spawnRunner({
  directory,
  user,
}: LaunchOptions): Promise<{ record: RunnerRecord; child: ChildProcess }> {
  const id = randomUUID();
  const name = join(directory, `runner-${id.slice(0, 8)}`);
  const settings: RunnerSettings = {
    runnerId: id,
    socketPath: `${name}.sock`,
    token: randomBytes(32).toString('hex'),
    ...(user !== undefined && { user }),
  };
  if (Buffer.byteLength(settings.socketPath) > maxSocketPath) {
    throw new RunnerError('LaunchFailed', `${settings.socketPath} is too long for a socket`, {
      remedy: 'choose a shorter runDirectory',
    });
  }
  await mkdir(directory, { recursive: true, mode: 0o711 });
  await using log = await open(`${name}.log`, 'w', 0o600);
  const { file, args } = runnerCommand();
  const child = spawn(file, args, { detached: true, cwd: '/', env: {}, stdio: ['pipe', 'pipe', log.fd] });
  try {
    const greeting = await greet(child, settings);
    if (!greeting.ok) throw new RunnerError('LaunchFailed', `the runner could not start: ${greeting.message}`);
  } catch (cause) {
    child.kill('SIGKILL');
    await rm(settings.socketPath, { force: true });
    await rm(`${name}.log`, { force: true });
    throw cause instanceof RunnerError
      ? cause
      : new RunnerError('LaunchFailed', `the runner could not start: ${errorLine(cause)}`, { cause });
  }
  child.unref();
  return {
    record: { id, socketPath: settings.socketPath, token: settings.token, pid: child.pid!, startedAtMs: Date.now() },
    child,
  };
}

/** Files a runner leaves when it is gone. */
export async function removeTraces({ socketPath }: RunnerRecord): Promise<void> {
  await rm(socketPath, { force: true });
  await rm(socketPath.replace(/\.sock$/, '.log'), { force: true });
}

/** Removes what runners left that `known` does not name: their agent was killed before it could note them. */
export async function removeStrayTraces(directory: string, known: readonly RunnerRecord[]): Promise<void> {
  const keep = new Set(known.flatMap(({ socketPath }) => [socketPath, socketPath.replace(/\.sock$/, '.log')]));
  for (const name of await readdir(directory)) {
    const path = join(directory, name);
    if (/^runner-[0-9a-f]{8}\.(sock|log)$/.test(name) && !keep.has(path)) await rm(path, { force: true });
  }
}

async function greet(child: ChildProcess, settings: RunnerSettings): Promise<RunnerGreeting> {
  const { stdin, stdout } = child;
  stdin!.on('error', () => {}); // it ended before it read them: the exit says why
  stdin!.end(JSON.stringify(settings));
  const lines = createInterface({ input: stdout! });
  try {
    return await new Promise<RunnerGreeting>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`it said nothing for ${greetingMs / 1000} s`)), greetingMs);
      const settle = (act: () => void): void => {
        clearTimeout(timer);
        act();
      };
      child.once('error', (error) => settle(() => reject(error)));
      child.once('exit', (code, signal) =>
        settle(() => reject(new Error(`it ended with ${signal ?? `code ${code}`}`))),
      );
      lines.once('line', (line) => settle(() => resolve(parseGreeting(line))));
    });
  } finally {
    lines.close();
    stdout!.destroy();
  }
}

function parseGreeting(line: string): RunnerGreeting {
  const value = Object(JSON.parse(line)) as { ok?: unknown; message?: unknown };
  return value.ok === true ? { ok: true } : { ok: false, message: String(value.message) };
}
