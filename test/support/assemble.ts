/** A very small WebAssembly assembler: modules of a few instructions, for tests that need no compiler. */

/** Value types. */
export const i32 = 0x7f;
export const i64 = 0x7e;

export interface FunctionType {
  readonly params?: readonly number[];
  readonly results?: readonly number[];
}

export interface ModuleSource {
  readonly imports?: readonly ({ readonly module: string; readonly name: string } & FunctionType)[];
  readonly functions?: readonly ({
    /** Instructions, without the last `end`. */
    readonly body: readonly number[];
    readonly locals?: readonly number[];
    readonly export?: string;
  } & FunctionType)[];
  /** Pages of 64 KiB; exported as `memory`. */
  readonly memory?: { readonly min: number; readonly max?: number; readonly flags?: number };
  /** Index among all functions, imports first. */
  readonly start?: number;
  readonly data?: readonly { readonly at: number; readonly bytes: Uint8Array | string }[];
  readonly custom?: readonly { readonly name: string; readonly bytes: Uint8Array | string }[];
}

/** Instructions. */
export const op = {
  unreachable: [0x00],
  drop: [0x1a],
  i32: (value: number): number[] => [0x41, ...signed(BigInt(value))],
  i64: (value: bigint): number[] => [0x42, ...signed(value)],
  call: (index: number): number[] => [0x10, ...unsigned(index)],
  get: (local: number): number[] => [0x20, ...unsigned(local)],
  set: (local: number): number[] => [0x21, ...unsigned(local)],
  load: (offset = 0): number[] => [0x28, 2, ...unsigned(offset)],
  store: (offset = 0): number[] => [0x36, 2, ...unsigned(offset)],
  grow: [0x40, 0],
  add: [0x6a],
  /** `body` for ever; `again` as its last instruction. */
  loop: (body: readonly number[]): number[] => [0x03, 0x40, ...body, 0x0c, 0, 0x0b],
  /** Runs `body` and, when it throws anything that can be caught, goes on. */
  tryCatchAll: (body: readonly number[]): number[] => [0x06, 0x40, ...body, 0x19, 0x0b],
} as const;

export function assemble(source: ModuleSource): Buffer<ArrayBuffer> {
  const { imports = [], functions = [], memory, start, data = [], custom = [] } = source;
  const types = [...imports, ...functions].map(({ params = [], results = [] }) => [
    0x60,
    ...vector(params),
    ...vector(results),
  ]);
  const exported = functions.flatMap((fn, i) =>
    fn.export === undefined ? [] : [[...text(fn.export), 0, ...unsigned(imports.length + i)]],
  );
  if (memory) exported.push([...text('memory'), 2, 0]);
  const flags = memory && (memory.flags ?? (memory.max === undefined ? 0 : 1));
  const out = [
    [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    section(1, types),
    section(
      2,
      imports.map(({ module, name }, i) => [...text(module), ...text(name), 0, ...unsigned(i)]),
    ),
    section(
      3,
      functions.map((_, i) => unsigned(imports.length + i)),
    ),
    section(
      5,
      memory ? [[flags!, ...unsigned(memory.min), ...(memory.max === undefined ? [] : unsigned(memory.max))]] : [],
    ),
    section(7, exported),
    start === undefined ? [] : [8, ...vector(unsigned(start))],
    section(
      10,
      functions.map(({ body, locals = [] }) =>
        vector([...unsigned(locals.length), ...locals.flatMap((type) => [1, type]), ...body, 0x0b]),
      ),
    ),
    section(
      11,
      data.map(({ at, bytes }) => [0, ...op.i32(at), 0x0b, ...vector([...Buffer.from(bytes)])]),
    ),
    ...custom.map(({ name, bytes }) => [0, ...vector([...text(name), ...Buffer.from(bytes)])]),
  ];
  return Buffer.from(out.flat());
}

/** Where each section of a module starts, and where the file ends: places to cut it. */
export function sectionBoundaries(module: Uint8Array): number[] {
  const boundaries: number[] = [];
  let at = 8;
  while (at < module.length) {
    boundaries.push(at);
    let size = 0;
    let cursor = at + 1;
    for (let shift = 0; ; shift += 7) {
      const byte = module[cursor++]!;
      size += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    at = cursor + size;
  }
  return boundaries;
}

export function unsigned(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  do {
    const byte = rest % 128;
    rest = Math.floor(rest / 128);
    bytes.push(rest > 0 ? byte | 0x80 : byte);
  } while (rest > 0);
  return bytes;
}

function signed(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (;;) {
    const byte = Number(rest & 0x7fn);
    rest >>= 7n;
    if ((rest === 0n && !(byte & 0x40)) || (rest === -1n && byte & 0x40)) return [...bytes, byte];
    bytes.push(byte | 0x80);
  }
}

function vector(bytes: readonly number[]): number[] {
  return [...unsigned(bytes.length), ...bytes];
}

function text(value: string): number[] {
  return vector([...Buffer.from(value)]);
}

function section(id: number, elements: readonly (readonly number[])[]): number[] {
  if (elements.length === 0) return [];
  return [id, ...vector([...unsigned(elements.length), ...elements.flat()])];
}
