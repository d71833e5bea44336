/** What the kernel says of a bus, in words of the device contract. */
import { errorLine, systemCode } from '../../src/base/errors.ts';
import { DeviceError } from '../contract.ts';

/** `/dev/i2c-N` can't be opened. `present` are the buses that exist: `i2c-1`. */
export function openError(
  bus: number,
  code: string | undefined,
  present: readonly string[],
  cause: unknown,
): DeviceError {
  if (code === 'EACCES' || code === 'EPERM') {
    return new DeviceError('not-permitted', `/dev/i2c-${bus} may not be opened`, {
      cause,
      remedy: 'add the user to the group i2c: usermod -aG i2c USER, then log in again',
    });
  }
  if (code !== 'ENOENT' && code !== 'ENXIO' && code !== 'ENODEV') {
    return new DeviceError('other', `/dev/i2c-${bus} can't be opened (${code ?? errorLine(cause)})`, { cause });
  }
  return new DeviceError('not-found', `there is no I2C bus ${bus} (/dev/i2c-${bus})`, {
    cause,
    remedy:
      present.length > 0
        ? `there are ${present.join(', ')}`
        : 'enable I2C: dtparam=i2c_arm=on in /boot/firmware/config.txt, load the module i2c-dev, reboot',
  });
}

/**
 * A transfer failed. Drivers of adapters differ in what they answer when nobody acknowledges the address: ENXIO and
 * EREMOTEIO (Documentation/i2c/fault-codes.rst), ENODEV, and on some paths an error without any code.
 */
export function busError(bus: number, address: number, cause: unknown): DeviceError {
  const at = `0x${address.toString(16)} on i2c-${bus}`;
  const code = systemCode(cause) ?? '';
  switch (code) {
    case '':
    case 'ENXIO':
    case 'ENODEV':
    case 'EREMOTEIO':
      return new DeviceError('not-found', `nothing answers at ${at}`, {
        cause,
        remedy: 'check its wiring, power and address',
      });
    case 'ENOENT':
      return new DeviceError('not-found', `the bus i2c-${bus} is gone`, {
        cause,
        remedy: 'was its adapter unplugged?',
      });
    case 'EACCES':
    case 'EPERM':
      return openError(bus, code, [], cause);
    case 'EBUSY':
      return new DeviceError('not-permitted', `a driver of the kernel uses ${at}`, {
        cause,
        remedy: `unbind it, or remove its overlay from config.txt (ls /sys/bus/i2c/devices)`,
      });
    case 'EAGAIN':
      return new DeviceError('unavailable', `another master keeps winning the bus from ${at}`, { cause });
    case 'ETIMEDOUT':
      return new DeviceError('unavailable', `the bus was held while talking to ${at}`, {
        cause,
        remedy: 'a stuck device or missing pull-ups hold a line low: check the wiring',
      });
    case 'EIO':
      return new DeviceError('unavailable', `a transfer with ${at} failed on the wire`, { cause });
    default:
      return new DeviceError('other', `a transfer with ${at} failed (${code})`, { cause });
  }
}
