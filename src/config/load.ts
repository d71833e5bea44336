import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { parse as parseYaml } from 'yaml';
import type { z } from 'zod';
import { DeviceConfigError, type DeviceConfig } from '../../devices/contract.ts';
import { LoamletError, errorLine, systemCode } from '../base/errors.ts';
import { nearest } from '../base/nearest.ts';
import { configSchema, type RawConfig } from './schema.ts';

/** The config as the node uses it: every default filled in, devices checked by their drivers. */
export interface NodeConfig extends Omit<RawConfig, 'devices' | 'nodeName'> {
  readonly nodeName: string;
  readonly devices: readonly DeviceConfig[];
}

/** ConfigUnreadable: the file is not there, too large or not YAML. ConfigInvalid: a key or value in it is wrong. */
export class ConfigError extends LoamletError<'ConfigUnreadable' | 'ConfigInvalid'> {}

export const defaultConfigPath = '/etc/loamlet/config.yaml';
const maxConfigBytes = 1 << 20;

/**
 * @param parseDevice the device catalog's check of one entry of `devices`
 * @throws ConfigError with the file, the path of the key and what to write instead
 */
export function loadConfig(path: string, parseDevice: (settings: Record<string, unknown>) => DeviceConfig): NodeConfig {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    const reason = systemCode(cause) === 'ENOENT' ? 'does not exist' : `can't be read (${errorLine(cause)})`;
    throw new ConfigError('ConfigUnreadable', 'operator', `the config file ${path} ${reason}`, {
      cause,
      remedy: 'name one with --config FILE',
    });
  }
  return parseConfig(text, path, parseDevice);
}

/** As `loadConfig`, of text. `path` is for messages. */
export function parseConfig(
  text: string,
  path: string,
  parseDevice: (settings: Record<string, unknown>) => DeviceConfig,
): NodeConfig {
  if (text.length > maxConfigBytes) {
    throw new ConfigError('ConfigUnreadable', 'operator', `${path} is larger than 1Mi`, {
      remedy: 'is it a config file?',
    });
  }
  let document: unknown;
  try {
    document = parseYaml(text, { maxAliasCount: 100, logLevel: 'error' });
  } catch (cause) {
    // The library's line ends where a drawing of the place follows, and tells programmers which function to call.
    const reason = errorLine(cause)
      .replace(/:$/, '')
      .replace(/; please use YAML\.\w+\(\)/, '');
    throw new ConfigError('ConfigUnreadable', 'operator', `${path} is not YAML: ${reason}`, { cause });
  }
  const result = configSchema.safeParse(document);
  if (!result.success) throw invalid(path, result.error.issues[0], document);
  const { devices, nodeName, ...rest } = result.data;
  return { ...rest, nodeName: nodeName ?? defaultNodeName(path), devices: checkDevices(path, devices, parseDevice) };
}

function defaultNodeName(path: string): string {
  const name = hostname().toLowerCase();
  const checked = configSchema.shape.nodeName.safeParse(name);
  if (checked.success && checked.data !== undefined) return checked.data;
  throw new ConfigError('ConfigInvalid', 'operator', `the host name ${name} can't be a node name`, {
    remedy: `set nodeName in ${path}`,
  });
}

function checkDevices(
  path: string,
  devices: readonly Record<string, unknown>[],
  parseDevice: (settings: Record<string, unknown>) => DeviceConfig,
): DeviceConfig[] {
  const names = new Set<string>();
  return devices.map((settings, index) => {
    try {
      const device = parseDevice(settings);
      if (names.has(device.name))
        throw new DeviceConfigError('name', `${device.name} is the name of an earlier device too`);
      names.add(device.name);
      return device;
    } catch (cause) {
      if (!(cause instanceof DeviceConfigError)) throw cause;
      const where = cause.path === '' ? `devices[${index}]` : `devices[${index}].${cause.path}`;
      throw new ConfigError('ConfigInvalid', 'operator', `${path}: ${where}: ${cause.line}`, { cause });
    }
  });
}

function invalid(path: string, issue: z.core.$ZodIssue | undefined, document: unknown): ConfigError {
  if (issue === undefined) return new ConfigError('ConfigInvalid', 'operator', `${path} is not a valid config`);
  const where = formatPath(issue.path);
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0] ?? '';
    const full = where === '' ? key : `${where}.${key}`;
    const keys = knownKeys(issue.path);
    const known = nearest(key, keys);
    return new ConfigError('ConfigInvalid', 'operator', `${path}: unknown key ${full}`, {
      remedy: known === undefined ? `known keys: ${keys.toSorted().join(', ')}` : `did you mean ${known}?`,
    });
  }
  const found = issue.path.reduce<unknown>(
    (value, key) =>
      typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined,
    document,
  );
  // The schema's own messages begin in lower case already.
  const reason = issue.message.charAt(0).toLowerCase() + issue.message.slice(1);
  const missing = found === undefined && (issue.code === 'invalid_type' || issue.code === 'invalid_value');
  const message = missing
    ? reason.replace(/^invalid input: expected (.*?)(, received undefined)?$/, 'is missing: expected $1')
    : reason;
  return new ConfigError('ConfigInvalid', 'operator', `${path}: ${where === '' ? 'the file' : where}: ${message}`);
}

function formatPath(path: readonly PropertyKey[]): string {
  return path
    .map((key, index) => (typeof key === 'number' ? `[${key}]` : `${index === 0 ? '' : '.'}${String(key)}`))
    .join('');
}

/** The keys the schema knows at a path, for suggestions. */
function knownKeys(path: readonly PropertyKey[]): string[] {
  let schema: z.core.$ZodType | undefined = configSchema;
  for (const key of path) {
    schema = unwrap(schema);
    if (schema === undefined) return [];
    const definition = schema._zod.def as { shape?: Record<string, z.core.$ZodType>; element?: z.core.$ZodType };
    schema = typeof key === 'number' ? definition.element : definition.shape?.[String(key)];
  }
  const definition = unwrap(schema)?._zod.def as { shape?: Record<string, unknown> } | undefined;
  return Object.keys(definition?.shape ?? {});
}

function unwrap(schema: z.core.$ZodType | undefined): z.core.$ZodType | undefined {
  let inner = schema;
  for (;;) {
    const next = (inner?._zod.def as { innerType?: z.core.$ZodType } | undefined)?.innerType;
    if (next === undefined) return inner;
    inner = next;
  }
}
