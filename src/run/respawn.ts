import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { LoamletError } from '../base/errors.ts';
import { runnerFlags } from '../runner/launch.ts';

/** The flag without which modules are not run: see `runnerFlags`. */
const telltale = '--disable-wasm-trap-handler';
/** How long the child has to say that it heard a signal, in milliseconds. */
const hearingMs = 1_000;
const forwarded = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

/**
 * Runs this same command line again in a child with the V8 flags that modules need, and resolves to its exit code; in that child,
 * at once to undefined. Standard streams are the child's; signals are passed on; a child whose parent is gone ends (`run.ts`).
 */
export function respawned(): Promise<number | undefined> {
  if (process.execArgv.includes(telltale)) return Promise.resolve(undefined);
  const [script, ...args] = process.argv.slice(1);
  const child = spawn(process.execPath, [...process.execArgv, ...runnerFlags(), script!, ...args], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  });
  let killed: number | undefined;
  let heard = false;
  child.on('message', () => (heard = true));
  const pass = (signal: NodeJS.Signals): void => {
    child.kill(signal);
    // One that is held by a module in an endless loop hears no signal.
    setTimeout(() => {
      if (heard) return;
      killed = 128 + constants.signals[signal];
      child.kill('SIGKILL');
    }, hearingMs).unref();
  };
  for (const signal of forwarded) process.on(signal, pass);
  return new Promise<number>((resolve, reject) => {
    child.once('error', (cause) =>
      reject(new LoamletError('RunFailed', 'us', `node could not be started: ${cause.message}`, { cause })),
    );
    child.once('exit', (code, signal) => {
      for (const name of forwarded) process.off(name, pass);
      resolve(killed ?? code ?? 128 + constants.signals[signal!]);
    });
  });
}
