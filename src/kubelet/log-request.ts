import { isDnsLabel } from '../base/names.ts';
import type { ContainerRef, LogOptions } from './container-logs.ts';

/** What is wrong with a request, in words for the person who made it. */
export class BadRequest extends Error {}

/** `/containerLogs/<namespace>/<pod>/<container>`; undefined for any other path. @throws BadRequest */
export function parseLogPath(path: string): ContainerRef | undefined {
  const [empty, root, ...rest] = path.split('/');
  if (empty !== '' || root !== 'containerLogs') return undefined;
  const [namespace = '', pod = '', container = ''] = rest;
  if (rest.length !== 3 || !isDnsLabel(namespace) || !isSubdomain(pod) || !isDnsLabel(container)) {
    throw new BadRequest('the path is not /containerLogs/NAMESPACE/POD/CONTAINER');
  }
  return { namespace, pod, container };
}

/**
 * The query of a log request. Parameters we don't know are passed over, as a kubelet does: newer API servers may send
 * more.
 * @param now milliseconds since 1970; `sinceSeconds` counts from it
 * @throws BadRequest
 */
export function parseLogOptions(query: URLSearchParams, now: number): LogOptions {
  const sinceSeconds = integer(query, 'sinceSeconds', 1);
  const sinceTime = single(query, 'sinceTime');
  if (sinceSeconds !== undefined && sinceTime !== undefined)
    throw new BadRequest('only one of sinceSeconds and sinceTime may be given');
  const stream = single(query, 'stream');
  if (stream !== undefined && stream !== 'All')
    throw new BadRequest('this node keeps stdout and stderr in one log: stream must be All');
  return {
    follow: flag(query, 'follow'),
    tailLines: integer(query, 'tailLines', 0),
    since: sinceSeconds === undefined ? time(sinceTime) : new Date(Math.max(0, now - sinceSeconds * 1000)),
    timestamps: flag(query, 'timestamps'),
    limitBytes: integer(query, 'limitBytes', 1),
    previous: flag(query, 'previous'),
  };
}

function single(query: URLSearchParams, name: string): string | undefined {
  const values = query.getAll(name);
  if (values.length > 1) throw new BadRequest(`${name} is given more than once`);
  return values[0] === '' ? undefined : values[0];
}

function flag(query: URLSearchParams, name: string): boolean {
  const value = single(query, name);
  if (value === undefined || value === 'false' || value === '0') return false;
  if (value === 'true' || value === '1') return true;
  throw new BadRequest(`${name} must be true or false`);
}

function integer(query: URLSearchParams, name: string, least: number): number | undefined {
  const value = single(query, name);
  if (value === undefined) return undefined;
  const number = /^\d{1,16}$/.test(value) ? Number(value) : NaN;
  if (!(number >= least && number <= Number.MAX_SAFE_INTEGER))
    throw new BadRequest(`${name} must be a whole number of at least ${least}`);
  return number;
}

function time(value: string | undefined): Date | undefined {
  if (value === undefined) return undefined;
  const date = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/.test(value)
    ? new Date(value)
    : undefined;
  if (date === undefined || Number.isNaN(date.getTime()))
    throw new BadRequest('sinceTime must be a time like 2026-11-22T19:00:00Z');
  return date;
}

const isSubdomain = (text: string): boolean => text.length <= 253 && text.split('.').every(isDnsLabel);
