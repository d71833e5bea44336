import { FrameError } from './frames.ts';

/** Reads one JSON object field by field, each held against its type and bound. Names the field in its errors. */
export class Fields {
  readonly #value: Readonly<Record<string, unknown>>;
  readonly #path: string;

  /** @throws FrameError when `value` is no object */
  constructor(value: unknown, path: string) {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new FrameError(`${path} is not an object`);
    this.#value = value as Readonly<Record<string, unknown>>;
    this.#path = path;
  }

  fail(name: string, what: string): never {
    throw new FrameError(`${this.#path}.${name} is not ${what}`);
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#value, name) && this.#value[name] !== undefined;
  }

  any(name: string): unknown {
    return Object.hasOwn(this.#value, name) ? this.#value[name] : undefined;
  }

  text(name: string, maxLength: number): string {
    const value = this.any(name);
    return typeof value === 'string' && value.length <= maxLength
      ? value
      : this.fail(name, `text of up to ${maxLength}`);
  }

  boolean(name: string): boolean {
    const value = this.any(name);
    return typeof value === 'boolean' ? value : this.fail(name, 'true or false');
  }

  /** A finite number within bounds. */
  number(name: string, min: number, max: number): number {
    const value = this.any(name);
    return typeof value === 'number' && value >= min && value <= max
      ? value
      : this.fail(name, `a number of ${min} to ${max}`);
  }

  integer(name: string, min: number, max: number): number {
    const value = this.number(name, min, max);
    return Number.isSafeInteger(value) ? value : this.fail(name, 'a whole number');
  }

  oneOf<const T extends string | number>(name: string, values: readonly T[]): T {
    const value = this.any(name);
    return values.find((known) => known === value) ?? this.fail(name, `one of ${values.join(', ')}`);
  }

  list<T>(name: string, maxItems: number, read: (item: unknown, path: string) => T): T[] {
    const value = this.any(name);
    if (!Array.isArray(value) || value.length > maxItems) this.fail(name, `a list of up to ${maxItems}`);
    return value.map((item, i) => read(item, `${this.#path}.${name}[${i}]`));
  }

  texts(name: string, maxItems: number, maxLength: number): string[] {
    return this.list(name, maxItems, (item, path) => {
      if (typeof item !== 'string' || item.length > maxLength)
        throw new FrameError(`${path} is not text of up to ${maxLength}`);
      return item;
    });
  }

  object(name: string): Fields {
    return new Fields(this.any(name), `${this.#path}.${name}`);
  }
}
