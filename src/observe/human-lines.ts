import { writeSync } from 'node:fs';

const names: Record<number, string> = { 10: 'trace', 20: 'debug', 30: 'info ', 40: 'warn ', 50: 'error', 60: 'fatal' };

/** Turns pino's JSON lines into `21:04:05 info  message key=value` on a file descriptor, for a person at a terminal. */
export class HumanLines {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  write(line: string): void {
    writeAll(this.#fd, humanLine(line));
  }
}

/** One line for one JSON line of pino. */
export function humanLine(line: string): string {
  const { level, time, msg, err, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const parts = [clock(time), names[Number(level)] ?? String(level)];
  if (msg !== undefined) parts.push(plain(shown(msg, true)));
  for (const [key, value] of Object.entries(fields)) parts.push(`${key}=${plain(shown(value))}`);
  const { text, stack } = errorText(err);
  if (text !== undefined) parts.push(`error=${plain(JSON.stringify(text))}`);
  return `${parts.join(' ')}\n${stack === undefined ? '' : `${stack}\n`}`;
}

function clock(time: unknown): string {
  const at = new Date(time as string | number);
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':');
}

/** A word as it is, everything else as JSON; `bare` leaves all text as it is. */
function shown(value: unknown, bare = false): string {
  if (typeof value === 'string' && (bare || /^[^\s"=]+$/.test(value))) return value;
  return JSON.stringify(value) ?? 'undefined';
}

/** Topics, names and messages come from strangers: no control character reaches the terminal. */
function plain(text: string): string {
  return text.replace(/\p{Cc}/gu, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

function errorText(err: unknown): { text?: string; stack?: string } {
  if (err === undefined) return {};
  if (typeof err !== 'object' || err === null) return { text: shown(err, true) };
  const { message, stack } = err as { message?: unknown; stack?: unknown };
  return { text: shown(message, true), ...(typeof stack === 'string' ? { stack } : {}) };
}

/** A log that waits for a slow reader is better than one that loses lines; a reader that is gone is no reason to end. */
function writeAll(fd: number, text: string): void {
  let bytes = Buffer.from(text);
  while (bytes.length > 0) {
    try {
      bytes = bytes.subarray(writeSync(fd, bytes));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}
