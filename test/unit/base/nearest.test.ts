import { describe, expect, it } from 'vitest';
import { nearest } from '../../../src/base/nearest.ts';

describe('the name that was meant', () => {
  it.each([
    ['soil-moistur', 'soil-moisture'],
    ['sol-moisture', 'soil-moisture'],
    ['stateDirektory', 'stateDirectory'],
    ['ulr', undefined],
    ['urls', 'url'],
    ['humidity', undefined],
    ['', undefined],
  ])('of %s is %s', (name, meant) =>
    expect(nearest(name, ['soil-moisture', 'stateDirectory', 'url', 'air-temperature'])).toBe(meant),
  );

  it('is the nearest of several', () => expect(nearest('publich', ['publisher', 'publish'])).toBe('publish'));

  it('is not looked for in names of any length', () => {
    const started = process.cpuUsage().user;
    expect(nearest('x'.repeat(1_000_000), ['y'.repeat(64)])).toBeUndefined();
    expect(process.cpuUsage().user - started).toBeLessThan(1_000_000);
  });
});
