import { Fields } from './fields.ts';
import { FrameError, type Frame } from './frames.ts';
import { maxId } from './parse-agent-message.ts';
import type { ContainerExit, ContainerReport, LogEntry, PublishItem, RunnerMessage } from './protocol.ts';

const maxItems = 65_536;
const maxMessage = 4096;
/** Milliseconds since the epoch: to the end of the year 9999, where RFC 3339 ends. */
const maxTimeMs = 253_402_300_799_999;

/** Checks what a runner says, which may have been taken over by a module. @throws FrameError */
export function parseRunnerMessage({ head, tail }: Frame): RunnerMessage {
  const message = parse(new Fields(head, 'message'));
  let claimed = 0;
  if (message.type === 'logs') for (const { length } of message.entries) claimed += length;
  if (message.type === 'publish') for (const { length } of message.items) claimed += length;
  if (claimed !== tail.length)
    throw new FrameError(`a message with ${tail.length} bytes behind it that lays claim to ${claimed}`);
  return message;
}

function parse(fields: Fields): RunnerMessage {
  const type = fields.oneOf('type', [
    'welcome',
    'refused',
    'started',
    'startFailed',
    'exited',
    'logs',
    'publish',
    'device',
    'ready',
    'pong',
  ] as const);
  const id = (): string => fields.text('id', maxId);
  switch (type) {
    case 'welcome':
      return {
        type,
        version: fields.integer('version', 0, Number.MAX_SAFE_INTEGER),
        runnerId: fields.text('runnerId', maxId),
        pid: fields.integer('pid', 1, 2 ** 31),
        containers: fields.list('containers', maxItems, parseReport),
      };
    case 'refused': {
      const code = fields.oneOf('code', ['BadToken', 'BadVersion', 'Busy'] as const);
      return { type, code, message: line(fields, 'message') };
    }
    case 'started':
      return { type, id: id(), startedAtMs: fields.number('startedAtMs', 0, maxTimeMs) };
    case 'startFailed': {
      const reason = fields.oneOf('reason', ['GrantDenied', 'DeviceUnavailable', 'CreateContainerError'] as const);
      return { type, id: id(), reason, message: line(fields, 'message') };
    }
    case 'exited':
      return { type, id: id(), ...parseExit(fields) };
    case 'logs':
      return {
        type,
        seq: fields.integer('seq', 1, Number.MAX_SAFE_INTEGER),
        entries: fields.list('entries', maxItems, parseEntry),
      };
    case 'publish':
      return { type, items: fields.list('items', maxItems, parseItem) };
    case 'device':
      return {
        type,
        name: fields.text('name', 253),
        healthy: fields.boolean('healthy'),
        message: line(fields, 'message'),
      };
    case 'ready':
      return { type, id: id(), ready: fields.boolean('ready') };
    case 'pong':
      return { type, nonce: fields.integer('nonce', 0, Number.MAX_SAFE_INTEGER) };
    default:
      return type satisfies never;
  }
}

function parseReport(value: unknown, path: string): ContainerReport {
  const fields = new Fields(value, path);
  const id = fields.text('id', maxId);
  const state = fields.oneOf('state', ['running', 'exited'] as const);
  if (state === 'running') return { id, state, startedAtMs: fields.number('startedAtMs', 0, maxTimeMs) };
  return { id, state, ...parseExit(fields) };
}

function parseExit(fields: Fields): ContainerExit {
  return {
    startedAtMs: fields.number('startedAtMs', 0, maxTimeMs),
    finishedAtMs: fields.number('finishedAtMs', 0, maxTimeMs),
    exitCode: fields.integer('exitCode', 0, 255),
    reason: fields.oneOf('reason', ['Completed', 'Error', 'OOMKilled', 'Killed'] as const),
    message: line(fields, 'message'),
  };
}

function parseEntry(value: unknown, path: string): LogEntry {
  const fields = new Fields(value, path);
  return {
    id: fields.text('id', maxId),
    stream: fields.oneOf('stream', ['stdout', 'stderr'] as const),
    atMs: fields.number('atMs', 0, maxTimeMs),
    length: fields.integer('length', 0, 2 ** 31),
  };
}

function parseItem(value: unknown, path: string): PublishItem {
  const fields = new Fields(value, path);
  const item = {
    publishNo: fields.integer('publishNo', 1, Number.MAX_SAFE_INTEGER),
    id: fields.text('id', maxId),
    topic: fields.text('topic', 65_535),
    length: fields.integer('length', 0, 2 ** 31),
    atMs: fields.number('atMs', 0, maxTimeMs),
  };
  return fields.has('expiryMs') ? { ...item, expiryMs: fields.integer('expiryMs', 0, 2 ** 32) } : item;
}

/** Messages end up in statuses and Events: one line. */
function line(fields: Fields, name: string): string {
  // Not one pattern with the spaces around: on many spaces it would take the square of their number.
  return fields
    .text(name, maxMessage)
    .split(/[\r\n]+/)
    .map((part) => part.trim())
    .join(' ');
}
