import { describe, expect, it } from 'vitest';
import { formatBytes, parseQuantity } from '../../../src/base/quantity.ts';

describe('a quantity', () => {
  it.each([
    ['0', 0],
    ['64Mi', 67_108_864],
    ['1.5Gi', 1_610_612_736],
    ['250m', 0.25],
    ['1e3', 1000],
    ['1E3', 1000],
    ['2E', 2e18],
    ['12e-2', 0.12],
    ['.5', 0.5],
    ['5.', 5],
    ['100k', 100_000],
    ['1Ei', 2 ** 60],
    [17, 17],
  ])('%s is %d', (text, value) => expect(parseQuantity(text)).toBeCloseTo(value, 9));

  it.each(['', ' 1', '1 ', '-1', '+1', '64mb', '1MiB', '0x10', 'e3', '.', '1e', 'Infinity', '9'.repeat(400), NaN, -1])(
    '%s is none',
    (text) => expect(parseQuantity(text)).toBeUndefined(),
  );

  it('is written as a person writes it', () => {
    expect([64 * 2 ** 20, 1.5 * 2 ** 30, 2 ** 10, 1023].map(formatBytes)).toEqual(['64Mi', '1.5Gi', '1Ki', '1023']);
  });
});
