import { describe, expect, test } from 'vitest';
import { LinuxBuses } from '../../../devices/linux/i2c.ts';
import { busError, openError } from '../../../devices/linux/i2c-errors.ts';

const failure = (code?: string) => Object.assign(new Error('i/o'), code === undefined ? {} : { code });

describe('what the kernel says of a transfer', () => {
  test.each([
    ['ENXIO', 'not-found'],
    ['ENODEV', 'not-found'],
    ['EREMOTEIO', 'not-found'],
    [undefined, 'not-found'],
    ['', 'not-found'],
    ['ENOENT', 'not-found'],
    ['EACCES', 'not-permitted'],
    ['EBUSY', 'not-permitted'],
    ['EAGAIN', 'unavailable'],
    ['ETIMEDOUT', 'unavailable'],
    ['EIO', 'unavailable'],
    ['EINVAL', 'other'],
  ])('%s is %s, and names address and bus', (code, expected) => {
    const error = busError(1, 0x48, failure(code));
    expect(error.code).toBe(expected);
    expect(error.message).toMatch(/i2c-1/);
  });
});

describe('a bus that can not be opened', () => {
  test('names the buses there are', () => {
    expect(openError(1, 'ENOENT', ['i2c-0', 'i2c-20'], failure()).line).toBe(
      'there is no I2C bus 1 (/dev/i2c-1): there are i2c-0, i2c-20',
    );
  });

  test('says how to switch I2C on when there is none', () => {
    expect(openError(1, 'ENOENT', [], failure()).line).toContain('dtparam=i2c_arm=on');
  });

  test('says how to be let in', () => {
    expect(openError(1, 'EACCES', [], failure())).toMatchObject({
      code: 'not-permitted',
      remedy: expect.stringContaining('usermod'),
    });
  });

  test('is found missing on this machine too', async () => {
    await expect(new LinuxBuses().i2c(250)).rejects.toMatchObject({
      code: 'not-found',
      message: expect.stringContaining('/dev/i2c-250'),
    });
  });
});
