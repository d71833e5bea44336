/** Hostile modules in the real precompiler and the real runner, beside an innocent one. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { assemble, i32, i64, op } from '../../support/assemble.ts';
import { RunnerWorld } from '../../support/runner-world.ts';
import { hello, sleeper, stubborn } from '../../support/tiny-guests.ts';
import { imports, moduleOf, section, vector, voidType } from '../../unit/attack/raw-module.ts';

let world: RunnerWorld;
let innocent: string;
beforeAll(async () => {
  world = (await RunnerWorld.open()).listen();
  innocent = await world.start(sleeper);
  await world.receiver.heard(innocent, 'started');
});
afterAll(() => world[Symbol.asyncDispose]());

const grant = { devices: [], messaging: { publish: [], prefix: 'own/' } };
const memory = { min: 1 };
const reallocType = { export: 'cabi_realloc', params: [i32, i32, i32, i32], results: [i32] } as const;
const refusedPublish = [1024, 1, 1024, 1, 256].flatMap((value) => op.i32(value));
const data = [{ at: 1024, bytes: '+' }];

it.each([
  ['_start with parameters', assemble({ functions: [{ export: '_start', params: [i64], body: [] }] })],
  [
    'an allocator that calls itself through the host',
    assemble({
      imports: [imports.publish],
      memory,
      data,
      functions: [
        { export: '_start', body: [...refusedPublish, ...op.call(0)] },
        { ...reallocType, body: [...refusedPublish, ...op.call(0), ...op.i32(512)] },
      ],
    }),
  ],
  ['recursion without end', assemble({ functions: [{ export: '_start', body: op.call(0) }] })],
  ['a trap in its start section', assemble({ functions: [{ export: '_start', body: op.unreachable }], start: 0 })],
])('%s ends as a trap, and is told once', async (_, module) => {
  const id = await world.start(module, { grant });
  expect(await world.receiver.exit(id)).toMatchObject({ exitCode: 134, reason: 'Error' });
  expect(world.receiver.messages.filter((message) => message.id === id).map(({ type }) => type)).toEqual([
    'started',
    'exited',
  ]);
});

it.each([
  ['outgrows memory by arrays', moduleOf(section(1, vector([voidType, [0x5e, i64, 1]])))],
  ['outgrows memory by tables', moduleOf(section(4, vector([[0x70, 0, 0x80, 0xad, 0xe2, 0x04]])))],
])('the precompiler refuses what %s', async (_, module) => {
  await expect(world.container(module)).rejects.toMatchObject({ code: 'ErrModuleUnsupported' });
});

it('a module that says a million times that it is ready costs nobody memory', async () => {
  const body = [
    ...op.i32(1_000_000),
    ...op.set(0),
    0x03,
    0x40,
    ...op.get(0),
    ...op.i32(1),
    0x71,
    ...op.call(0),
    ...op.get(0),
    ...op.i32(1),
    0x6b,
    0x22,
    0,
    0x0d,
    0,
    0x0b,
  ];
  const id = await world.start(
    assemble({ imports: [imports.setReady], functions: [{ export: '_start', locals: [i32], body }] }),
  );
  await world.receiver.exit(id);
  expect(
    world.receiver.messages.filter((message) => message.id === id && message.type === 'ready').length,
  ).toBeLessThanOrEqual(1);
});

it('the innocent one is there after all of them, and new ones run', async () => {
  const kept = await world.start(stubborn);
  await world.receiver.heard(kept, 'started');
  world.client.stop(kept, 0);
  expect(await world.receiver.exit(kept)).toMatchObject({ reason: 'Killed' });
  expect(await world.receiver.exit(await world.start(hello))).toMatchObject({ exitCode: 0 });
  expect(world.receiver.messages.filter(({ id }) => id === innocent).map(({ type }) => type)).toEqual(['started']);
});
