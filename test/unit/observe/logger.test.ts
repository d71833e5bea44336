import { closeSync, openSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { LoamletError } from '../../../src/base/errors.ts';
import { humanLine } from '../../../src/observe/human-lines.ts';
import { createLogger, type Logger, type LoggerOptions } from '../../../src/observe/logger.ts';
import { StateFolder } from '../../support/state-folder.ts';

function written(options: LoggerOptions, work: (log: Logger) => void): string {
  using folder = new StateFolder();
  const fd = openSync(folder.file('log'), 'w');
  try {
    work(createLogger({ ...options, fd }));
    return readFileSync(folder.file('log'), 'utf8');
  } finally {
    closeSync(fd);
  }
}

const refused = new LoamletError('Refused', 'operator', 'the broker refused the login', {
  remedy: 'check the password',
});

test('json is one object a line, with level, time, fields and message', () => {
  const text = written({ format: 'json' }, (log) =>
    log.child({ pod: 'garden/probe' }).info({ port: 1883 }, 'connected'),
  );
  expect(JSON.parse(text)).toEqual({
    level: 'info',
    time: expect.stringMatching(/^\d{4}-.*Z$/),
    pod: 'garden/probe',
    port: 1883,
    msg: 'connected',
  });
});

test('human lines are short: time, level, message, fields', () => {
  const text = written({ format: 'human' }, (log) =>
    log.warn({ pod: 'garden/probe', what: 'two words', count: 3, err: refused }, 'no broker'),
  );
  expect(text).toMatch(
    /^\d\d:\d\d:\d\d warn {2}no broker pod=garden\/probe what="two words" count=3 error="the broker refused the login: check the password"\n$/,
  );
});

test('an error has its one line and code, and no stack unless the level is debug', () => {
  const line = JSON.parse(written({ format: 'json' }, (log) => log.error({ err: refused }, 'failed'))) as {
    err: unknown;
  };
  expect(line.err).toEqual({ message: 'the broker refused the login: check the password', code: 'Refused' });
  expect(
    written({ format: 'human' }, (log) => log.error({ err: new Error('x\ny') }, 'failed'))
      .trimEnd()
      .split('\n'),
  ).toHaveLength(1);
  expect(written({ format: 'json', level: 'debug' }, (log) => log.error({ err: refused }, 'failed'))).toContain(
    'logger.test.ts',
  );
  expect(written({ format: 'human', level: 'debug' }, (log) => log.error({ err: refused }, 'failed'))).toContain(
    '    at ',
  );
});

test('below the level nothing is written', () => {
  const text = written({ level: 'warn', format: 'json' }, (log) => {
    log.info('quiet');
    log.debug('quieter');
  });
  expect(text).toBe('');
});

test('what a stranger wrote cannot steer the terminal', () => {
  const line = humanLine(
    JSON.stringify({ level: 30, time: 0, topic: 'a\u001b[2Jb\u009b', msg: 'got\u0007 it\nfake line' }),
  );
  // oxlint-disable-next-line no-control-regex
  expect(line.trimEnd()).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
  expect(line).toContain('got\\u0007 it\\u000afake line');
});
