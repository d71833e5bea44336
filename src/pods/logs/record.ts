/**
 * One record of a container's log file, in the format of the container runtime interface that log collectors read
 * (kubernetes/cri-api, `2016-10-06T00:17:09.669794202Z stdout P content`). `F` ends a line, `P` says that the line goes
 * on in the stream's next record. Time and stream have one width, so the content begins at one offset.
 */
import type { LogStream } from '../../runner/protocol.ts';

/** Longest content of a record; longer lines are split, as containerd does. */
export const maxRecordContent = 16 << 10;

const timeLength = '2026-11-22T21:00:00.123456789Z'.length;
const contentOffset = timeLength + ' stdout F '.length;

/** Longest record with its line feed. */
export const maxRecordBytes = contentOffset + maxRecordContent + 1;

export const lineFeed = 0x0a;
const full = 0x46;
const partial = 0x50;
const space = 0x20;

/** RFC 3339 with nine decimals, UTC. A time that no calendar of ours has (a runner may send anything) becomes the epoch. */
export function recordTime(atMs: number): string {
  const valid = Number.isFinite(atMs) && atMs >= 0 && atMs < 253_402_300_800_000;
  const ms = valid ? Math.floor(atMs) : 0;
  const nanoseconds = valid ? Math.floor((atMs - ms) * 1000) * 1000 : 0;
  return `${new Date(ms).toISOString().slice(0, -1)}${String(nanoseconds).padStart(6, '0')}Z`;
}

export function formatRecord(atMs: number, stream: LogStream, tag: 'F' | 'P', content: Uint8Array): Buffer {
  const record = Buffer.allocUnsafe(contentOffset + content.byteLength + 1);
  record.write(`${recordTime(atMs)} ${stream} ${tag} `, 'latin1');
  record.set(content, contentOffset);
  record[record.byteLength - 1] = lineFeed;
  return record;
}

export interface LogRecord {
  readonly time: string;
  readonly stream: LogStream;
  readonly partial: boolean;
  /** A view into the bytes it was parsed from. */
  readonly content: Uint8Array;
}

/** Parses a record given without its line feed; undefined for anything else (a torn write after a power cut). */
export function parseRecord(bytes: Uint8Array): LogRecord | undefined {
  if (bytes.byteLength < contentOffset || bytes[timeLength] !== space || bytes[contentOffset - 1] !== space)
    return undefined;
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, contentOffset).toString('latin1');
  const stream = head.slice(timeLength + 1, timeLength + 7);
  const tag = bytes[contentOffset - 2];
  if ((stream !== 'stdout' && stream !== 'stderr') || (tag !== full && tag !== partial)) return undefined;
  if (head.charCodeAt(4) !== 0x2d || !head.startsWith('Z', timeLength - 1)) return undefined;
  return { time: head.slice(0, timeLength), stream, partial: tag === partial, content: bytes.subarray(contentOffset) };
}
