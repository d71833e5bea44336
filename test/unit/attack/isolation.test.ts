/** Host functions are shared by all instances and work for whoever runs: is that always the right one? */
import { expect, it } from 'vitest';
import { assemble, i32, op } from '../../support/assemble.ts';
import { transform } from '../../../src/precompile/transform.ts';
import { HostileWorld } from './hostile-world.ts';
import { imports, print, sleep } from './raw-module.ts';

const guests = 12;
const rounds = 8;
const reallocType = { export: 'cabi_realloc', params: [i32, i32, i32, i32], results: [i32] } as const;

/**
 * Takes its own name from its arguments into 3000, then prints it, publishes it to topic `t`, and is refused topic `+`,
 * with waits of all kinds between and within its allocator.
 */
const argsGet = { module: imports.write.module, name: 'args_get', params: [i32, i32], results: [i32] } as const;
const name = [3000, 8] as const; // `guest-10`
const publish = (topic: number): number[] =>
  [topic, 1, ...name, 256].flatMap((value) => op.i32(value)).concat(op.call(2));
const yieldNow = [...op.call(3), ...op.drop];
const module = assemble({
  imports: [imports.write, imports.poll, imports.publish, imports.yield, argsGet, imports.describe, imports.open],
  memory: { min: 1 },
  data: [
    { at: 1024, bytes: '+t' },
    { at: 2048, bytes: 'soil' },
  ],
  functions: [
    {
      export: '_start',
      locals: [i32, i32],
      body: [
        ...op.i32(512),
        ...op.i32(3000),
        ...op.call(4),
        ...op.drop,
        ...op.i32(2048),
        ...op.i32(4),
        ...op.i32(256),
        ...op.call(6),
        ...op.i32(260),
        ...op.load(),
        ...op.set(1),
        ...op.i32(rounds),
        ...op.set(0),
        0x03,
        0x40,
        ...print(0, ...name),
        ...publish(1025),
        ...print(0, ...name),
        ...sleep(1, 1),
        ...publish(1024),
        ...print(0, ...name),
        ...yieldNow,
        ...op.get(1),
        ...op.i32(320),
        ...op.call(5),
        ...print(0, ...name),
        ...op.get(0),
        ...op.i32(1),
        0x6b,
        0x22,
        0,
        0x0d,
        0,
        0x0b,
      ],
    },
    { ...reallocType, body: [...yieldNow, ...print(0, ...name), ...sleep(1, 1), ...yieldNow, ...op.i32(4096)] },
  ],
});

it('no instance speaks for another, whatever waits within what', async () => {
  const world = new HostileWorld();
  // Answers come in another order than the questions, some at once, some in a later turn.
  let count = 0;
  world.publish = async () => {
    for (let turns = (count++ * 7) % 5; turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
    return count % 3 === 0 ? { case: 'other', message: 'no' } : undefined;
  };
  const { module: bytes, description } = transform(module);
  const loaded = { module: new WebAssembly.Module(new Uint8Array(bytes)), description };
  for (let n = 0; n < 9; n++) world.startCompiled(loaded).instance.kill(137, ''); // names with one digit are too short
  const runs = Array.from({ length: guests }, () => world.startCompiled(loaded));
  for (const { instance, ended, output } of runs) {
    expect(await ended).toEqual({ kind: 'exit', code: 0 });
    expect(new Set(output().match(/.{8}/g))).toEqual(new Set([instance.id]));
  }
  const published = world.published.filter(({ id }) => id.length === 8);
  expect(published).toHaveLength(guests * rounds);
  expect(published.filter(({ id, text }) => id !== text)).toEqual([]);
});

it('instances that end at every moment of their calls leave the others as they are', async () => {
  const world = new HostileWorld();
  world.publish = async () => {
    await new Promise((resolve) => setImmediate(resolve));
    return undefined;
  };
  const { module: bytes, description } = transform(module);
  const loaded = { module: new WebAssembly.Module(new Uint8Array(bytes)), description };
  for (let n = 0; n < 9; n++) world.startCompiled(loaded).instance.kill(137, '');
  const survivor = world.startCompiled(loaded);
  const runs = Array.from({ length: 30 }, () => world.startCompiled(loaded));
  for (const { instance } of runs) {
    await new Promise((resolve) => setImmediate(resolve));
    instance.kill(137, '');
  }
  for (const { instance, ended, output } of runs) {
    expect(await ended).toMatchObject({ kind: expect.stringMatching(/killed|exit/) });
    expect(instance.handles.size).toBe(0);
    expect(new Set(output().match(/.{8}/g) ?? [instance.id])).toEqual(new Set([instance.id]));
  }
  expect(await survivor.ended).toEqual({ kind: 'exit', code: 0 });
  expect(new Set(survivor.output().match(/.{8}/g))).toEqual(new Set([survivor.instance.id]));
  expect(world.executor.running).toBe(0);
});

it('two instances of one module share neither memory nor globals nor tables', async () => {
  // Exit code: its global and its memory word, both of which it then adds to.
  const counter = assemble({
    imports: [imports.exit, imports.yield],
    memory: { min: 1 },
    functions: [
      {
        export: '_start',
        body: [
          ...op.i32(0),
          ...op.i32(0),
          ...op.load(),
          ...op.i32(1),
          ...op.add,
          ...op.store(),
          ...op.call(1),
          ...op.drop,
          ...op.i32(0),
          ...op.load(),
          ...op.call(0),
        ],
      },
    ],
  });
  const { module: bytes, description } = transform(counter);
  const loaded = { module: new WebAssembly.Module(new Uint8Array(bytes)), description };
  const world = new HostileWorld();
  const runs = [world.startCompiled(loaded), world.startCompiled(loaded), world.startCompiled(loaded)];
  expect(await Promise.all(runs.map(({ ended }) => ended))).toEqual(runs.map(() => ({ kind: 'exit', code: 1 })));
});
