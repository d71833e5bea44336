/** WASI and host functions with addresses, lengths and types that can't be true. */
import { describe, expect, it } from 'vitest';
import { assemble, i32, i64, op } from '../../support/assemble.ts';
import { wasiFunctions } from '../../../src/runner/wasi/index.ts';
import { hostInterfaces } from '../../../hostcalls/interfaces.ts';
import { HostileWorld } from './hostile-world.ts';

const preview1 = 'wasi_snapshot_preview1';
const f64 = 0x7c;
const funcref = 0x70;
const externref = 0x6f;
const constants: Readonly<Record<number, (value: number) => number[]>> = {
  [i32]: (value) => op.i32(value),
  [i64]: (value) => op.i64(BigInt(value)),
  [f64]: (value) => {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleLE(value);
    return [0x44, ...bytes];
  },
  [funcref]: () => [0xd0, 0x70],
  [externref]: () => [0xd0, 0x6f],
};
/** Around 2^16 (the memory's end), 2^31 and 2^32, and what is no whole number. */
const values = [0, 1, 2, 65_533, 65_536, -1, -8, 0x7fff_ffff, -0x8000_0000, 1025];

const functions = [
  ...Object.entries(wasiFunctions).flatMap(([module, table]) =>
    Object.entries(table)
      // The older name has the same functions but for a few.
      .filter(([name, fn]) => module === preview1 || fn !== wasiFunctions[preview1]![name])
      .map(([name, fn]) => ({ module, name, fn, results: [i32] })),
  ),
  ...hostInterfaces({
    devices: { sensor: () => Promise.reject(new Error('none')) },
    publisher: { publish: () => Promise.resolve(undefined) },
  }).flatMap(({ module, functions: table }) =>
    Object.entries(table).map(([name, fn]) => ({ module, name, fn, results: name === 'stopping' ? [i32] : [] })),
  ),
].filter(({ name }) => name !== 'proc_exit' && name !== 'proc_raise');

/** Each call in a module of its own, since a bad one ends it; the sum tells that nothing else ends. */
async function call(types: readonly number[], wanted: (typeof functions)[number], value: number): Promise<string> {
  const world = new HostileWorld();
  const args = types.flatMap((type, i) => constants[type]!(type === f64 ? value + i / 2 : value));
  const { ended } = world.start(
    assemble({
      imports: [{ module: wanted.module, name: wanted.name, params: types, results: wanted.results }],
      memory: { min: 1 },
      functions: [
        { export: '_start', body: [...args, ...op.call(0), ...wanted.results.flatMap(() => op.drop)] },
        { export: 'cabi_realloc', params: [i32, i32, i32, i32], results: [i32], body: op.i32(0) },
      ],
    }),
  );
  const ending = await ended;
  expect(world.executor.running).toBe(0);
  if (ending.kind === 'trap') expect(ending.message).not.toMatch(/\n|\bat \S+:\d+|\.ts\b/);
  return ending.kind;
}

describe.each(functions)('$module $name', (wanted) => {
  const parameters = wanted.fn.call.length - 1;

  it('takes any number for an address, length or handle', async () => {
    // A huge delay is no error: what would only be slow is left out.
    if (wanted.name === 'poll_oneoff') return expect(await call([i32, i32, i32, i32], wanted, 65_536)).toBe('exit');
    for (const value of values)
      expect(
        await call(
          Array.from({ length: parameters }, () => i32),
          wanted,
          value,
        ).catch((error) => error),
      ).toMatch(/exit|trap/);
  });

  it.each([
    ['64-bit integers', i64],
    ['fractions', f64],
    ['functions', funcref],
    ['references', externref],
  ])('takes %s for its arguments', async (_, type) => {
    for (const value of [1, -1])
      expect(
        await call(
          Array.from({ length: parameters }, () => type),
          wanted,
          value,
        ),
      ).toMatch(/exit|trap/);
  });

  it('takes too few arguments', async () => {
    expect(await call([], wanted, 0)).toMatch(/exit|trap/);
  });
});
