import { readFileSync } from 'node:fs';
import { systemCode } from '../base/errors.ts';

/** What has to be known of a runner to find it again; the agent keeps it on disk. */
export interface RunnerRecord {
  /** Unique for ever. */
  readonly id: string;
  readonly socketPath: string;
  readonly token: string;
  readonly pid: number;
  /** Milliseconds since the epoch. */
  readonly startedAtMs: number;
}

/** True while the process of `record` lives; another one that has come by its number does not count. */
export function isAlive({ pid }: RunnerRecord): boolean {
  try {
    const [command = ''] = /disable-wasm-trap-handler/.exec(readFileSync(`/proc/${pid}/cmdline`, 'latin1')) ?? [];
    // A process that has ended, but that its parent has not asked about, has no command line.
    return command !== '';
  } catch (error) {
    return systemCode(error) === 'EACCES' || systemCode(error) === 'EPERM';
  }
}

/** Ends it at once, whatever it does. Safe to call for one that is gone. */
export function killRunner(record: RunnerRecord): void {
  if (!isAlive(record)) return;
  try {
    process.kill(record.pid, 'SIGKILL');
  } catch (error) {
    if (systemCode(error) !== 'ESRCH') throw error;
  }
}
