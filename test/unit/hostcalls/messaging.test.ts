import { describe, expect, test } from 'vitest';
import type { Grant } from '../../../hostcalls/grant.ts';
import { lifecycleInterface } from '../../../hostcalls/lifecycle.ts';
import {
  maxPayloadBytes,
  messagingInterface,
  type Publication,
  type PublishOutcome,
} from '../../../hostcalls/messaging.ts';
import { FakeGuest } from '../../support/fake-guest.ts';

const grant: Grant = {
  devices: [],
  messaging: { publish: [{ filter: 'own/#', qos: 1, retain: true }], prefix: 'own/' },
};
const takenAt = 1_795_000_000_123_456_789n;

function world(outcome?: PublishOutcome): {
  guest: FakeGuest;
  table: ReturnType<typeof messagingInterface>;
  sent: Publication[];
} {
  const sent: Publication[] = [];
  const table = messagingInterface({
    publish(_guest, publication) {
      sent.push(publication);
      return Promise.resolve(outcome);
    },
  });
  return { guest: new FakeGuest(grant), table, sent };
}

describe('publish', () => {
  test('hands the topic on as the module gave it, with a copy of the payload', async () => {
    const { guest, table, sent } = world();
    await guest.call(table, 'publish', ...guest.put('soil'), ...guest.put('41.5'), guest.result);
    guest.bytes().fill(0);
    expect(sent).toEqual([{ topic: 'soil', payload: Uint8Array.from(Buffer.from('41.5')) }]);
  });

  test('says ok only when the publication is committed', async () => {
    const { guest, table } = world();
    guest.view().setUint8(guest.result, 7);
    await guest.call(table, 'publish', ...guest.put('soil'), ...guest.put(''), guest.result);
    expect(guest.view().getUint8(guest.result)).toBe(0);
  });

  test.each([
    ['timeout', 0, undefined],
    ['connection', 1, 'away'],
    ['permission-denied', 2, 'away'],
    ['other', 3, 'away'],
    ['full', 4, undefined],
  ] as const)('answers %s as case %i', async (name, discriminant, text) => {
    const { guest, table } = world({ case: name, message: 'away' });
    await guest.call(table, 'publish', ...guest.put('soil'), ...guest.put('x'), guest.result);
    expect(guest.errorCase()).toBe(discriminant);
    if (text !== undefined) expect(guest.text(8)).toBe(text);
  });

  test('refuses a payload over the bound, naming the bound, and takes one at it', async () => {
    const { guest, table, sent } = world();
    const address = await guest.allocate(1, maxPayloadBytes + 1);
    await guest.call(table, 'publish', ...guest.put('soil'), address, maxPayloadBytes + 1, guest.result);
    expect(guest.errorCase()).toBe(3);
    expect(guest.text(8)).toContain(String(maxPayloadBytes));
    await guest.call(table, 'publish', ...guest.put('soil'), address, maxPayloadBytes, guest.result);
    expect(sent.map(({ payload }) => payload.length)).toEqual([maxPayloadBytes]);
  });

  test.each([
    ['soil/+', 3],
    ['', 3],
    ['x'.repeat(2000), 3],
  ])('refuses the topic %s without asking anybody', async (topic, discriminant) => {
    const { guest, table, sent } = world();
    await guest.call(table, 'publish', ...guest.put(topic), ...guest.put('x'), guest.result);
    expect(guest.errorCase()).toBe(discriminant);
    expect(sent).toEqual([]);
  });

  test('refuses a topic that is not granted', async () => {
    const { table, sent } = world();
    const guest = new FakeGuest({
      devices: [],
      messaging: { publish: [{ filter: 'garden/#', qos: 1, retain: false }] },
    });
    await guest.call(table, 'publish', ...guest.put('kitchen'), ...guest.put('x'), guest.result);
    expect(guest.errorCase()).toBe(2);
    expect(guest.text(8)).toBe('topic kitchen is not granted: garden/#');
    expect(sent).toEqual([]);
  });

  test('traps on a payload outside memory, however long it claims to be', async () => {
    const { guest, table } = world();
    const call = guest.call(table, 'publish', ...guest.put('soil'), 65_000, -1, guest.result);
    await expect(call).rejects.toThrow('outside its memory');
  });
});

describe('publish-with', () => {
  const call = async (options: (number | bigint)[]) => {
    const { guest, table, sent } = world();
    await guest.call(table, 'publish-with', ...guest.put('soil'), ...guest.put('x'), ...options, guest.result);
    return { guest, sent };
  };

  test('passes time and expiry on', async () => {
    const { sent } = await call([1, takenAt, 1, 1, -1]);
    expect(sent[0]).toMatchObject({ takenAtMs: 1_795_000_000_123.4568, expiryMs: 0xffff_ffff });
  });

  test('passes neither on when they are none', async () => {
    const { sent } = await call([0, 5n, 1, 0, 5]);
    expect(Object.keys(sent[0] ?? {})).toEqual(['topic', 'payload']);
  });

  test('refuses what may be lost, since no grant gives leave for it', async () => {
    const { guest, sent } = await call([0, 0n, 0, 0, 0]);
    expect(guest.errorCase()).toBe(2);
    expect(guest.text(8)).toContain('durab');
    expect(sent).toEqual([]);
  });
});

describe('publish-reading', () => {
  const call = async (value: number, quality: number, sensor = 'soil "moisture"') => {
    const { guest, table, sent } = world();
    const unit = guest.put('%');
    const args = [...guest.put('soil'), ...guest.put(sensor), value, ...unit, takenAt, quality];
    await guest.call(table, 'publish-reading', ...args, guest.result);
    return { guest, sent };
  };

  test('publishes JSON', async () => {
    const { sent } = await call(41.5, 2);
    expect(JSON.parse(Buffer.from(sent[0]?.payload ?? []).toString())).toEqual({
      sensor: 'soil "moisture"',
      value: 41.5,
      unit: '%',
      takenAt: '2026-11-18T11:06:40.123Z',
      quality: 'stale',
    });
    expect(sent[0]?.takenAtMs).toBeCloseTo(1_795_000_000_123.4568, 3);
  });

  test('refuses what JSON has no number for', async () => {
    const { guest, sent } = await call(NaN, 0);
    expect(guest.errorCase()).toBe(3);
    expect(sent).toEqual([]);
  });

  test('refuses a sensor name without end', async () => {
    expect((await call(1, 0, 'x'.repeat(256))).guest.errorCase()).toBe(3);
  });

  test('traps on a quality that does not exist', async () => {
    await expect(call(1, 3)).rejects.toThrow('enum');
  });
});

describe('subscribe', () => {
  test('is refused in words', async () => {
    const { guest, table } = world();
    await guest.call(table, 'subscribe', ...guest.put('garden/#'), guest.result);
    expect(guest.errorCase()).toBe(2);
    expect(guest.text(8)).toBe("can't subscribe to garden/#: this version of Loamlet grants no subscriptions");
  });

  test('leaves no handle that could be received on', async () => {
    const { guest, table } = world();
    await expect(guest.call(table, '[method]subscription.receive', 1, 0, 0, guest.result)).rejects.toThrow(
      'does not hold',
    );
    expect(() =>
      (table.functions['[resource-drop]subscription'] as { call(...args: unknown[]): void }).call(guest, 1),
    ).toThrow('does not hold');
  });
});

test('lifecycle speaks to the guest', async () => {
  const guest = new FakeGuest();
  await guest.call(lifecycleInterface, 'alive');
  await guest.call(lifecycleInterface, 'set-ready', 0);
  await guest.call(lifecycleInterface, 'set-ready', 5);
  expect(guest).toMatchObject({ lives: 1, readiness: [false, true] });
  expect(await guest.call(lifecycleInterface, 'stopping')).toBe(0);
  guest.stopping = true;
  expect(await guest.call(lifecycleInterface, 'stopping')).toBe(1);
});
