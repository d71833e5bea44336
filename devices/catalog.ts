/** Every kind of device, and how one is declared: in the node's config file and on the command line. */
import { isDnsLabel } from '../src/base/names.ts';
import { nearest } from '../src/base/nearest.ts';
import { DeviceConfigError, type DeviceConfig, type Driver } from './contract.ts';
import { ads1115 } from './drivers/ads1115.ts';
import { simulated } from './drivers/simulated.ts';
import { show } from './settings.ts';

/** A new driver is one file in `drivers/` and one word here. */
export const drivers = [simulated, ads1115] as readonly Driver[];

/** @throws DeviceConfigError with the driver the name may have meant */
export function driverNamed(name: string): Driver {
  const driver = drivers.find((candidate) => candidate.name === name);
  if (driver !== undefined) return driver;
  const names = drivers.map((candidate) => candidate.name);
  const near = nearest(name, names);
  throw new DeviceConfigError('driver', `there is no driver ${show(name)}`, {
    remedy: near === undefined ? `choose from ${names.join(', ')}` : `did you mean ${near}?`,
  });
}

/**
 * One entry of `devices` in the config file: `name`, `resource`, `driver` and the driver's own keys. What is measured
 * (`quantity`) is the resource unless it is given.
 * @throws DeviceConfigError
 */
export function parseDevice(settings: Readonly<Record<string, unknown>>): DeviceConfig {
  const { name, resource, driver, ...own } = settings;
  // The driver first: without it nothing is known about the keys.
  const kind = driverNamed(text('driver', driver));
  const checked = { name: label('name', name), resource: label('resource', resource), driver: kind.name };
  return { ...checked, options: kind.parse({ quantity: checked.resource, ...own }) };
}

/**
 * `NAME=DRIVER[:VALUE...][,KEY=VALUE...]` of `loamlet run --device`; bare values are the driver's positional keys. The
 * name is what the module opens, and resource and device at once. Numbers may be hexadecimal; no value holds a comma.
 * @throws DeviceConfigError
 */
export function parseDeviceArgument(argument: string): DeviceConfig {
  const [, name, driver, rest = ''] = /^([^=:]*)=([^:]*)(?::(.*))?$/s.exec(argument) ?? [];
  if (name === undefined || driver === undefined) {
    throw new DeviceConfigError('', `${show(argument)} is not NAME=DRIVER:KEY=VALUE,...`, {
      remedy: 'write it like soil-moisture=simulated or soil-moisture=ads1115:1,0x48,0,dry=2.8V,wet=1.2V',
    });
  }
  const kind = driverNamed(driver);
  const settings: Record<string, unknown> = { name, resource: name, driver };
  const positional = [...kind.positional];
  for (const part of rest === '' ? [] : rest.split(',')) {
    const at = part.indexOf('=');
    const key = at < 0 ? positional.shift() : part.slice(0, at).trim();
    if (key === undefined || key === '')
      throw new DeviceConfigError('', `${show(part)} is not KEY=VALUE`, { remedy: kind.usage });
    if (Object.hasOwn(settings, key)) throw new DeviceConfigError(key, `${key} is given twice`);
    settings[key] = argumentValue(part.slice(at + 1).trim());
  }
  return parseDevice(settings);
}

/** `41.5`, `0x48`, `true`; anything else is text. */
function argumentValue(value: string): unknown {
  if (/^-?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?$/i.test(value) || /^0x[0-9a-f]+$/i.test(value)) return Number(value);
  return value === 'true' ? true : value === 'false' ? false : value;
}

function text(key: string, value: unknown): string {
  if (typeof value === 'string' && value !== '') return value;
  throw new DeviceConfigError(key, value === undefined ? `${key} is missing` : `${key} is ${show(value)}, not a name`);
}

function label(key: string, value: unknown): string {
  const name = text(key, value);
  if (isDnsLabel(name)) return name;
  throw new DeviceConfigError(key, `${key} ${show(name)} is not a DNS label`, {
    remedy: 'use lower case letters, digits and -, at most 63',
  });
}
