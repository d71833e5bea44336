import { Fields } from './fields.ts';
import { FrameError, type Frame } from './frames.ts';
import { parseGrant } from './parse-grant.ts';
import type { AgentMessage, ContainerStart, PublishResult } from './protocol.ts';

export const maxId = 256;
const maxMessage = 4096;
const maxMs = Number.MAX_SAFE_INTEGER;

/** Checks what an agent says. @throws FrameError */
export function parseAgentMessage({ head, tail }: Frame): AgentMessage {
  if (tail.length > 0) throw new FrameError('an agent message with bytes behind it');
  const fields = new Fields(head, 'message');
  const type = fields.oneOf('type', [
    'hello',
    'start',
    'stop',
    'forget',
    'published',
    'logged',
    'ping',
    'shutdown',
  ] as const);
  switch (type) {
    case 'hello':
      return { type, version: fields.integer('version', 0, maxMs), token: fields.text('token', 1024) };
    case 'start':
      return { type, container: parseContainer(fields.object('container')) };
    case 'stop':
      return { type, id: fields.text('id', maxId), graceMs: fields.number('graceMs', 0, maxMs) };
    case 'forget':
      return { type, id: fields.text('id', maxId) };
    case 'published':
      return { type, results: fields.list('results', 65_536, parseResult) };
    case 'logged':
      return { type, seq: fields.integer('seq', 0, maxMs) };
    case 'ping':
      return { type, nonce: fields.integer('nonce', 0, maxMs) };
    case 'shutdown':
      return { type, graceMs: fields.number('graceMs', 0, maxMs) };
    default:
      return type satisfies never;
  }
}

function parseContainer(fields: Fields): ContainerStart {
  return {
    id: fields.text('id', maxId),
    name: fields.text('name', 1024),
    modulePath: fields.text('modulePath', 4096),
    moduleDigest: fields.text('moduleDigest', 256),
    args: fields.texts('args', 65_536, 1 << 20),
    env: fields.texts('env', 65_536, 1 << 20),
    memoryLimitBytes: fields.number('memoryLimitBytes', 0, Number.MAX_SAFE_INTEGER),
    grant: parseGrant(fields.object('grant')),
  };
}

function parseResult(value: unknown, path: string): PublishResult {
  const fields = new Fields(value, path);
  const publishNo = fields.integer('publishNo', 0, maxMs);
  if (!fields.has('error')) return { publishNo };
  const error = fields.object('error');
  const kind = error.oneOf('case', ['timeout', 'connection', 'permission-denied', 'other', 'full'] as const);
  return {
    publishNo,
    error: error.has('message') ? { case: kind, message: error.text('message', maxMessage) } : { case: kind },
  };
}
