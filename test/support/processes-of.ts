import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface FoundProcess {
  readonly pid: number;
  /** Its arguments, for a failing test. */
  readonly command: string;
}

/** Every process that names a folder in its arguments or has a file in it open, with agents, runners and precompilers so. */
export function processesOf(folder: string): FoundProcess[] {
  const inside = `${folder}/`;
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((name) => {
      try {
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
        const open = readdirSync(`/proc/${name}/fd`).some((fd) => linkOf(`/proc/${name}/fd/${fd}`).startsWith(inside));
        return command !== '' && (open || command.includes(inside)) ? [{ pid: Number(name), command }] : [];
      } catch {
        return []; // it has ended meanwhile
      }
    });
}

/** Ends them all now. Safe to call when there are none. */
export function killProcessesOf(folder: string): void {
  for (const { pid } of processesOf(folder)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It was faster.
    }
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
