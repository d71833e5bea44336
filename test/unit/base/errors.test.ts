import { describe, expect, it } from 'vitest';
import { LoamletError, errorLine, systemCode } from '../../../src/base/errors.ts';

describe('the line a person sees of an error', () => {
  it('has the remedy', () =>
    expect(errorLine(new LoamletError('X', 'operator', 'no broker', { remedy: 'set mqtt.url' }))).toBe(
      'no broker: set mqtt.url',
    ));
  it('is one line', () => expect(errorLine(new Error('first\n    at second'))).toBe('first'));
  it('is the name of an error without words', () => expect(errorLine(new TypeError(''))).toBe('TypeError'));
  it('is the first of several', () =>
    expect(errorLine(new AggregateError([new Error('refused'), new Error('other')]))).toBe('refused'));
  it('is there for anything thrown', () =>
    expect([undefined, 'text', 7].map(errorLine)).toEqual(['undefined', 'text', '7']));
  it('is one line also when a part of the message came from elsewhere', () =>
    expect(errorLine(new LoamletError('X', 'world', 'the registry says: a\nb', { remedy: 'wait' }))).not.toContain(
      '\n',
    ));
});

it('a system error has its code', () => {
  expect(systemCode(Object.assign(new Error('gone'), { code: 'ENOENT' }))).toBe('ENOENT');
  expect(systemCode(new Error('gone'))).toBeUndefined();
  expect(systemCode('ENOENT')).toBeUndefined();
});
