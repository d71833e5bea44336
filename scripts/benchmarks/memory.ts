import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

export interface ProcessMemory {
  readonly rssBytes: number;
  readonly pssBytes: number;
  readonly privateBytes: number;
}

export function processMemory(pid: number | 'self'): ProcessMemory {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]) * 1024;
  return {
    rssBytes: field('Rss'),
    pssBytes: field('Pss'),
    privateBytes: field('Private_Clean') + field('Private_Dirty'),
  };
}

const pageBytes = 4096;
const present = 1n << 63n;
const ofFile = 1n << 61n;

/**
 * Resident bytes of some processes together, as if nothing else ran on the machine: a page of a file that two of them map
 * counts once, and one that others map too counts in full. (The kernel's PSS divides it among all: another Node.js
 * process beside them makes it smaller.) Needs the right to trace them, as their owner has it.
 */
export function residentTogether(pids: readonly number[]): { readonly bytes: number; readonly fileBytes: number } {
  const filePages = new Set<string>();
  let ownPages = 0;
  for (const pid of pids) {
    const pagemap = openSync(`/proc/${pid}/pagemap`, 'r');
    try {
      for (const { start, end, offset, file } of mappings(pid)) {
        const entries = readEntries(pagemap, start, end);
        entries.forEach((entry, page) => {
          if ((entry & present) === 0n) return;
          if ((entry & ofFile) === 0n || file === undefined) ownPages++;
          else filePages.add(`${file}:${offset / pageBytes + page}`);
        });
      }
    } finally {
      closeSync(pagemap);
    }
  }
  return { bytes: (ownPages + filePages.size) * pageBytes, fileBytes: filePages.size * pageBytes };
}

interface Mapping {
  readonly start: number;
  readonly end: number;
  readonly offset: number;
  /** Device and inode. */
  readonly file: string | undefined;
}

/** Those with resident pages. */
function mappings(pid: number): Mapping[] {
  const found: Mapping[] = [];
  let last: Mapping | undefined;
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'latin1').split('\n')) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) (\S+) (\d+)/.exec(line);
    if (head) {
      const [, start, end, offset, device, inode] = head as unknown as [string, string, string, string, string, string];
      last = {
        start: Number.parseInt(start, 16),
        end: Number.parseInt(end, 16),
        offset: Number.parseInt(offset, 16),
        file: inode === '0' ? undefined : `${device} ${inode}`,
      };
    } else if (last && /^Rss:\s+[1-9]/.test(line)) found.push(last);
  }
  return found;
}

function readEntries(pagemap: number, start: number, end: number): BigUint64Array {
  const bytes = new Uint8Array(((end - start) / pageBytes) * 8);
  const read = readSync(pagemap, bytes, 0, bytes.length, (start / pageBytes) * 8);
  return new BigUint64Array(bytes.buffer, 0, Math.floor(read / 8));
}
