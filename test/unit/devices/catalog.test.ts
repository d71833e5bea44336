import { describe, expect, test } from 'vitest';
import { drivers, driverNamed, parseDevice, parseDeviceArgument } from '../../../devices/catalog.ts';
import { DeviceConfigError } from '../../../devices/contract.ts';

const bed = { name: 'bed-3', resource: 'soil-moisture', driver: 'ads1115', i2c: { bus: 1, address: 0x48 } };
const failure = (settings: Record<string, unknown>): DeviceConfigError => {
  try {
    parseDevice(settings);
  } catch (error) {
    if (error instanceof DeviceConfigError) return error;
    throw error;
  }
  throw new Error('it was accepted');
};

describe('a device of the config file', () => {
  test('becomes plain data with every default filled in', () => {
    const device = parseDevice({ ...bed, calibration: { 26_000: 0, 12_000: 100 } });
    expect(device).toEqual({
      name: 'bed-3',
      resource: 'soil-moisture',
      driver: 'ads1115',
      options: {
        bus: 1,
        address: 0x48,
        channel: 0,
        fullScale: 4.096,
        samplesPerSecond: 128,
        quantity: 'soil-moisture',
        unit: '%',
        calibration: [[1.5, 100], [3.25, 0]], // prettier-ignore
      },
    });
    expect(driverNamed('ads1115').bus(device.options)).toBe('i2c-1');
  });

  test('measures what its resource is named, in volts without a calibration', () => {
    expect(driverNamed('ads1115').describe(parseDevice(bed).options)).toEqual([
      { quantity: 'soil-moisture', unit: 'V', model: 'TI ADS1115', range: [0, 4.096], intervalMs: 9 },
    ]);
  });

  test.each<[string, Record<string, unknown>, string, RegExp]>([
    [
      'a mistyped driver',
      { ...bed, driver: 'ads1151' },
      'driver',
      /there is no driver "ads1151": did you mean ads1115\?/,
    ],
    ['no driver', { name: 'x', resource: 'y' }, 'driver', /driver is missing/],
    ['a mistyped key', { ...bed, chanel: 1 }, 'chanel', /unknown key chanel: did you mean channel\?/],
    ['a mistyped key below', { ...bed, i2c: { bus: 1, adress: 72 } }, 'i2c.adress', /did you mean address\?/],
    ['an address out of range', { ...bed, i2c: { bus: 1, address: 0x20 } }, 'i2c.address', /is 32, not from 72 to 75/],
    ['an address that is text', { ...bed, i2c: { bus: 1, address: 'x48' } }, 'i2c.address', /"x48", not a number/],
    ['a bus that is missing', { ...bed, i2c: {} }, 'i2c.bus', /bus is missing: give it a number/],
    ['a bus that is no group', { ...bed, i2c: 1 }, 'i2c', /not a group/],
    ['half a channel', { ...bed, channel: 0.5 }, 'channel', /whole number/],
    ['a gain the chip has not', { ...bed, gain: 3.3 }, 'gain', /choose from 6.144, 4.096/],
    ['a calibration that is a list', { ...bed, calibration: [1, 2] }, 'calibration', /points such as/],
    ['a point that is no number', { ...bed, calibration: { 1: 'wet', 2: 3 } }, 'calibration.1', /"wet", not a number/],
    [
      'raw values in no unit it knows',
      { ...bed, calibration: { '2.8mV': 0, 1: 1 } },
      'calibration',
      /neither raw steps/,
    ],
    ['points that are not monotonic', { ...bed, calibration: { 1: 0, 2: 5, 3: 1 } }, 'calibration', /not monotonic/],
    ['a calibration twice', { ...bed, calibration: { 1: 0, 2: 1 }, dry: 1, wet: 2 }, 'calibration', /choose one/],
    ['dry without wet', { ...bed, dry: 26_000 }, 'wet', /wet is missing/],
    ['a name that is no DNS label', { ...bed, name: 'Bed 3' }, 'name', /not a DNS label/],
    [
      'a mistyped profile',
      { name: 'a', resource: 'b', driver: 'simulated', profile: 'rump' },
      'profile',
      /did you mean ramp\?/,
    ],
    [
      'a key of another profile',
      { name: 'a', resource: 'b', driver: 'simulated', profile: 'ramp', seed: 1 },
      'seed',
      /unknown key/,
    ],
    [
      'an object that is no plain value',
      { name: 'a', resource: 'b', driver: 'simulated', unit: {} },
      'unit',
      /not a text/,
    ],
  ])('is refused with the path of the key: %s', (_, settings, path, line) => {
    const error = failure(settings);
    expect(error.path).toBe(path);
    expect(error.line).toMatch(line);
  });
});

describe('a device of the command line', () => {
  test('takes bare values by position and the rest by name', () => {
    const short = parseDeviceArgument('soil-moisture=ads1115:1,0x49,2,gain=2.048,dry=1.8V,wet=0.9V');
    const long = parseDevice({
      name: 'soil-moisture',
      resource: 'soil-moisture',
      driver: 'ads1115',
      i2c: { bus: 1, address: 0x49 },
      channel: 2,
      gain: 2.048,
      calibration: { '1.8V': 0, '0.9V': 100 },
    });
    expect(short).toEqual(long);
  });

  test('needs nothing but a driver where that has defaults', () => {
    expect(parseDeviceArgument('air=simulated')).toMatchObject({ name: 'air', resource: 'air', driver: 'simulated' });
  });

  test.each([
    ['soil-moisture', /is not NAME=DRIVER/],
    ['=simulated', /name is "", not a name/],
    ['soil=simulatd', /did you mean simulated\?/],
    ['soil=ads1115:1,72,0,7', /is not KEY=VALUE: ads1115:BUS/],
    ['soil=ads1115:1,bus=2', /bus is given twice/],
    ['soil=ads1115:1,driver=x', /driver is given twice/],
    ['soil=simulated:constant,value=wet', /"wet", not a number/],
  ])('is refused: %s', (argument, line) => {
    expect(() => parseDeviceArgument(argument)).toThrow(DeviceConfigError);
    try {
      parseDeviceArgument(argument);
    } catch (error) {
      expect((error as DeviceConfigError).line).toMatch(line);
    }
  });

  test('has a usage for every driver that its own parser takes', () => {
    for (const driver of drivers) {
      const example = /such as (\S+?)[.,]? /.exec(driver.usage)?.[1] ?? '';
      expect(parseDeviceArgument(`x=${example.replace(/\.$/, '')}`).driver).toBe(driver.name);
    }
  });
});
