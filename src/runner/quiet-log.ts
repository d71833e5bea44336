import { writeSync } from 'node:fs';

/** Bytes of log in the life of a process that nobody rotates the log of. */
const maxBytes = 1 << 20;
let written = 0;

/** One JSON line on standard error: what the runner says of itself, which is little. */
export function logLine(
  level: 'info' | 'warn' | 'error',
  message: string,
  fields: Readonly<Record<string, unknown>> = {},
): void {
  const line = `${JSON.stringify({ level, time: new Date().toISOString(), ...fields, msg: message })}\n`;
  if (written + line.length > maxBytes) return;
  written += line.length;
  try {
    writeSync(2, line);
  } catch {
    // There is no one left to tell.
  }
}
