import { describe, expect, test } from 'vitest';
import { Backoff } from '../../../src/mqtt/backoff.ts';
import { parseBrokerUrl } from '../../../src/mqtt/broker-address.ts';
import { elapsedMs, systemClock, type Moment } from '../../../src/mqtt/clock.ts';
import { MqttError } from '../../../src/mqtt/errors.ts';
import { connackError, networkError } from '../../../src/mqtt/reason.ts';
import { Suspicion } from '../../../src/mqtt/suspicion.ts';
import type { WaitingMessage } from '../../../src/mqtt/source.ts';

const attempt = { address: parseBrokerUrl('mqtts://broker.example'), username: 'pi', clientId: 'loamlet-pi' };

test('waits double from 1 s to 60 s, half of it at random, and start again after a success', () => {
  const longest = new Backoff({ random: () => 0 });
  expect([1, 2, 3, 4, 5, 6, 7, 8].map(() => longest.next())).toEqual([
    1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000,
  ]);
  longest.reset();
  expect(longest.next()).toBe(1_000);
  expect(new Backoff({ random: () => 0.999_999 }).next()).toBe(500);
});

describe('a broker URL', () => {
  test.each([
    ['mqtt://broker', { host: 'broker', port: 1883, tls: false, shown: 'mqtt://broker:1883' }],
    ['mqtts://broker', { host: 'broker', port: 8883, tls: true }],
    ['mqtt://[::1]:1884', { host: '::1', port: 1884, shown: 'mqtt://[::1]:1884' }],
    ['mqtt://us%40er:p%23ss@broker', { urlUser: 'us@er', urlPassword: 'p#ss', shown: 'mqtt://broker:1883' }],
  ])('%s is read', (url, expected) => {
    expect(parseBrokerUrl(url)).toMatchObject(expected);
  });

  test.each(['http://broker', 'broker:1883', 'mqtt://', '', 'mqtt://user:se%ZZcret@broker'])(
    '%j is refused with the form to write',
    (url) => {
      let error: unknown;
      try {
        parseBrokerUrl(url);
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toBeInstanceOf(MqttError);
      expect((error as MqttError).line).toContain('mqtt://host:1883');
      expect((error as MqttError).line).not.toContain('cret');
    },
  );
});

describe('what a person reads', () => {
  test.each([
    [
      connackError(0x86, 'Bad User Name or Password', attempt),
      'Refused',
      /mqtts:\/\/broker\.example:8883 refused the login as user "pi" .*mqtt\.passwordFile/,
    ],
    [
      connackError(5, 'Not authorized', { ...attempt, username: undefined }),
      'Refused',
      /without a user name .*set mqtt\.username/,
    ],
    [connackError(0x85, 'Client Identifier not valid', attempt), 'Refused', /client id loamlet-pi/],
    [connackError(0x84, 'Unsupported Protocol Version', attempt), 'VersionRefused', /version/],
    [connackError(0x89, 'Server busy', attempt), 'Unreachable', /Server busy/],
    [
      networkError(Object.assign(new Error('x'), { code: 'ECONNREFUSED' }), attempt),
      'Unreachable',
      /ECONNREFUSED.*is it running/,
    ],
    [networkError(Object.assign(new Error('x'), { code: 'ENOTFOUND' }), attempt), 'Unreachable', /check the host name/],
    [
      networkError(Object.assign(new Error('x'), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }), attempt),
      'Unreachable',
      /set mqtt\.caFile/,
    ],
  ])('%s', (error, code, line) => {
    expect(error.code).toBe(code);
    expect(error.line).toMatch(line);
  });
});

describe('the age of a message', () => {
  const then: Moment = { bootId: 'a', monotonicMs: 1_000, wallMs: 50, clockSet: false };

  test('is monotonic within a boot, whatever the wall clock did', () => {
    expect(elapsedMs(then, { ...then, monotonicMs: 4_000, wallMs: 1_800_000_000_000, clockSet: true })).toBe(3_000);
  });

  test('over a reboot is by the wall clock, and unknown when it was not set', () => {
    const now: Moment = { bootId: 'b', monotonicMs: 10, wallMs: 2_050, clockSet: true };
    expect(elapsedMs(then, now)).toBeUndefined();
    expect(elapsedMs({ ...then, clockSet: true }, now)).toBe(2_000);
  });

  test("is measured by this machine's boot", () => {
    const clock = systemClock();
    const first = clock.now();
    expect(first.bootId).toMatch(/^[0-9a-f-]{36}$/);
    expect(elapsedMs(first, clock.now())).toBeLessThan(60_000);
  });
});

describe('the message to blame for a connection that ends', () => {
  const message = (seq: number): WaitingMessage => ({ seq }) as WaitingMessage;

  test('is one that ended three connections it had to itself', () => {
    const suspicion = new Suspicion();
    expect(suspicion.alone).toBe(false);
    expect(suspicion.ended([message(4), message(5)])).toBeUndefined();
    expect(suspicion.alone).toBe(true);
    expect(suspicion.ended([message(4)])).toBeUndefined();
    expect(suspicion.ended([message(4)])).toBeUndefined();
    expect(suspicion.ended([message(4)])).toEqual(message(4));
    expect(suspicion.alone).toBe(false);
  });

  test('is none when others were in flight, it moved on, or nothing was', () => {
    const suspicion = new Suspicion();
    for (let time = 0; time < 10; time += 1) expect(suspicion.ended([message(4), message(5)])).toBeUndefined();
    for (let seq = 5; seq < 15; seq += 1) expect(suspicion.ended([message(seq)])).toBeUndefined();
    for (let time = 0; time < 10; time += 1) expect(suspicion.ended([])).toBeUndefined();
  });
});
