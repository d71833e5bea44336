import { expect, test } from 'vitest';
import { BadRequest, parseLogOptions, parseLogPath } from '../../../src/kubelet/log-request.ts';

const now = Date.parse('2026-11-22T12:00:00Z');
const options = (query: string) => parseLogOptions(new URLSearchParams(query), now);

test('reads what kubectl asks', () => {
  expect(parseLogPath('/containerLogs/default/soil-6b7f.x/c')).toEqual({
    namespace: 'default',
    pod: 'soil-6b7f.x',
    container: 'c',
  });
  expect(options('')).toEqual({
    follow: false,
    tailLines: undefined,
    since: undefined,
    timestamps: false,
    limitBytes: undefined,
    previous: false,
  });
  expect(options('follow=true&tailLines=0&sinceSeconds=60&timestamps=true&limitBytes=1000&previous=false')).toEqual({
    follow: true,
    tailLines: 0,
    since: new Date('2026-11-22T11:59:00Z'),
    timestamps: true,
    limitBytes: 1000,
    previous: false,
  });
  expect(options('sinceTime=2026-11-22T19:00:00%2B01:00').since).toEqual(new Date('2026-11-22T18:00:00Z'));
});

test('a parameter of a later version is passed over', () => {
  expect(options('colour=green').follow).toBe(false);
});

test.each([
  'tailLines=-1',
  'tailLines=1e3',
  'tailLines=99999999999999999',
  'limitBytes=0',
  'sinceSeconds=0',
  'sinceSeconds=1&sinceTime=2026-11-22T19:00:00Z',
  'sinceTime=yesterday',
  'sinceTime=2026-13-45T19:00:00Z',
  'follow=maybe',
  'tailLines=1&tailLines=2',
  'stream=Stderr',
])('refuses ?%s', (query) => {
  expect(() => options(query)).toThrow(BadRequest);
});

test.each([
  '/containerLogs',
  '/containerLogs/a/b',
  '/containerLogs/a/b/c/d',
  '/containerLogs/../b/c',
  '/containerLogs/a/b/%2e%2e',
  '/containerLogs/A/b/c',
  '/containerLogs/a//c',
])('refuses %s', (path) => {
  expect(() => parseLogPath(path)).toThrow(BadRequest);
});

test('another path is not its business', () => {
  expect(parseLogPath('/containerLogsX/a/b/c')).toBeUndefined();
  expect(parseLogPath('/healthz')).toBeUndefined();
});
