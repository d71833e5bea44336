/** Composition root of the runner process: reads its settings, becomes its user, listens, and ends when it is told to. */
import { unlinkSync, writeSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { LinuxBuses } from '../../devices/linux/i2c.ts';
import { errorLine } from '../base/errors.ts';
import { dropPrivileges } from '../base/user.ts';
import { checkFlags } from './boot-check.ts';
import { Fields } from './fields.ts';
import type { RunnerGreeting, RunnerSettings } from './launch.ts';
import { logLine } from './quiet-log.ts';
import { ModuleHost } from './module-host.ts';

/** The grace of a runner that is ended by a signal: what its unit or its machine leaves it. */
const signalGraceMs = 10_000;

function greet(greeting: RunnerGreeting): void {
  writeSync(1, `${JSON.stringify(greeting)}\n`);
}

async function readSettings(): Promise<RunnerSettings> {
  const fields = new Fields(JSON.parse(await text(process.stdin)), 'settings');
  return {
    runnerId: fields.text('runnerId', 256),
    socketPath: fields.text('socketPath', 107),
    token: fields.text('token', 1024),
    ...(fields.has('user') && { user: fields.text('user', 256) }),
  };
}

async function main(): Promise<void> {
  checkFlags();
  const { user, ...settings } = await readSettings();
  const host = await ModuleHost.open({ ...settings, buses: new LinuxBuses() });
  if (user !== undefined) dropPrivileges(user);
  process.chdir('/');
  const stop = (signal: string): void => {
    logLine('info', 'signal received', { signal });
    void host.shutdown(signalGraceMs);
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  process.on('SIGHUP', () => {}); // the terminal of whoever started it may close
  greet({ ok: true });
  await host.done;
  try {
    unlinkSync(settings.socketPath);
  } catch {
    // The server has removed it, or it may not: then the agent will.
  }
}

process.on('uncaughtException', (error) => {
  logLine('error', 'runner failed', { error: errorLine(error), stack: error.stack });
  process.exit(70);
});

try {
  await main();
  process.exit(0);
} catch (error) {
  greet({ ok: false, message: errorLine(error) });
  logLine('error', 'runner could not start', { error: errorLine(error) });
  process.exit(1);
}
