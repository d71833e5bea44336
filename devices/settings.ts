import { nearest } from '../src/base/nearest.ts';
import { DeviceConfigError } from './contract.ts';

type Values = Readonly<Record<string, unknown>>;

export interface NumberRule {
  readonly min?: number;
  readonly max?: number;
  readonly integer?: boolean;
}

/**
 * The settings of one device, read key by key. `finish` refuses what was not read, so a driver that reads its keys and
 * calls it has checked them all. Every method throws DeviceConfigError with the path of the key.
 */
export class Settings {
  readonly #values: Values;
  readonly #path: string;
  readonly #known = new Set<string>();

  constructor(values: Values, path = '') {
    this.#values = values;
    this.#path = path;
  }

  has(key: string): boolean {
    this.#known.add(key);
    return this.#values[key] !== undefined;
  }

  /** Whatever is there. */
  raw(key: string): unknown {
    this.#known.add(key);
    return this.#values[key];
  }

  number(key: string, rule: NumberRule, fallback?: number): number {
    const value = this.raw(key) ?? fallback;
    if (value === undefined) throw this.missing(key, 'a number');
    if (typeof value !== 'number' || !Number.isFinite(value)) throw this.wrong(key, `is ${show(value)}, not a number`);
    if (rule.integer === true && !Number.isInteger(value)) throw this.wrong(key, `is ${value}, not a whole number`);
    if (value < (rule.min ?? -Infinity) || value > (rule.max ?? Infinity)) {
      throw this.wrong(key, `is ${value}, not ${range(rule)}`);
    }
    return value;
  }

  text(key: string, fallback?: string): string {
    const value = this.raw(key) ?? fallback;
    if (value === undefined) throw this.missing(key, 'a text');
    if (typeof value !== 'string' || value === '' || value.length > 1024) {
      throw this.wrong(key, `is ${show(value)}, not a text`);
    }
    return value;
  }

  flag(key: string, fallback: boolean): boolean {
    const value = this.raw(key) ?? fallback;
    if (typeof value !== 'boolean') throw this.wrong(key, `is ${show(value)}, not true or false`);
    return value;
  }

  choice<T extends string | number>(key: string, choices: readonly T[], fallback?: T): T {
    const value = this.raw(key) ?? fallback;
    if (value === undefined) throw this.missing(key, `one of ${choices.join(', ')}`);
    const found = choices.find((choice) => choice === value || String(choice) === value);
    if (found !== undefined) return found;
    const near = typeof value === 'string' ? nearest(value, choices.map(String)) : undefined;
    const hint = near === undefined ? `choose from ${choices.join(', ')}` : `did you mean ${near}?`;
    throw this.wrong(key, `is ${show(value)}: ${hint}`);
  }

  /** A group of settings below a key; undefined when it is absent. */
  group(key: string): Settings | undefined {
    const value = this.raw(key);
    if (value === undefined) return undefined;
    if (!isRecord(value)) throw this.wrong(key, `is ${show(value)}, not a group of settings`);
    return new Settings(value, this.at(key));
  }

  /** @throws DeviceConfigError for a key nobody has read, with the one it may have meant */
  finish(): void {
    for (const key of Object.keys(this.#values)) {
      if (this.#known.has(key)) continue;
      const near = nearest(key, this.#known);
      const remedy =
        near === undefined ? `known keys: ${[...this.#known].toSorted().join(', ')}` : `did you mean ${near}?`;
      throw new DeviceConfigError(this.at(key), `unknown key ${key}`, { remedy });
    }
  }

  at(key: string): string {
    return this.#path === '' ? key : `${this.#path}.${key}`;
  }

  wrong(key: string, message: string): DeviceConfigError {
    return new DeviceConfigError(this.at(key), `${key} ${message}`);
  }

  missing(key: string, what: string): DeviceConfigError {
    return new DeviceConfigError(this.at(key), `${key} is missing`, { remedy: `give it ${what}` });
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

function range({ min, max }: NumberRule): string {
  if (min === undefined) return `at most ${max}`;
  return max === undefined ? `at least ${min}` : `from ${min} to ${max}`;
}
