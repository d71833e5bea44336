/** Modules that attack the host through what they import, export and allocate. */
import { describe, expect, it } from 'vitest';
import { emptyGrant } from '../../../hostcalls/grant.ts';
import { transform } from '../../../src/precompile/transform.ts';
import { assemble, i32, i64, op } from '../../support/assemble.ts';
import { HostileWorld } from './hostile-world.ts';
import { body, imports, moduleOf, name, print, section, sleep, startExported, vector, voidType } from './raw-module.ts';

const reallocType = { export: 'cabi_realloc', params: [i32, i32, i32, i32], results: [i32] } as const;
/** A topic no broker takes: the refusal has a text, which is allocated within the call itself. */
const refusedPublish = [1024, 1, 1024, 1, 256].flatMap((value) => op.i32(value));
/** Opens the sensor granted and leaves its handle on the stack. */
const openSensor = (open: number): number[] => [
  ...op.i32(2048),
  ...op.i32(4),
  ...op.i32(256),
  ...op.call(open),
  ...op.i32(260),
  ...op.load(),
];
const data = [
  { at: 1024, bytes: '+' },
  { at: 1032, bytes: 'main\n' },
  { at: 1040, bytes: 'realloc\n' },
  { at: 2048, bytes: 'soil' },
];
const memory = { min: 1 };

describe('an allocator', () => {
  it.each(['yield', 'poll'] as const)('that waits (%s) has its answer before its caller goes on', async (wait) => {
    const pause = wait === 'yield' ? [...op.call(2), ...op.drop] : sleep(2, 1);
    const module = assemble({
      imports: [imports.publish, imports.write, imports[wait]],
      memory,
      data,
      functions: [
        { export: '_start', body: [...refusedPublish, ...op.call(0), ...print(1, 1032, 5), ...pause] },
        { ...reallocType, body: [...pause, ...print(1, 1040, 8), ...op.i32(512)] },
      ],
    });
    const { ended, output } = new HostileWorld().start(module);
    expect(await ended).toEqual({ kind: 'exit', code: 0 });
    expect(output()).toBe('realloc\nmain\n');
  });

  it.each([
    ['a refused publish', [...refusedPublish, ...op.call(0)]],
    ['a reading', [...op.i32(1), ...op.i32(256), ...op.call(1)]],
    ['a description', [...op.i32(1), ...op.i32(256), ...op.call(2)]],
  ])('that asks for %s again and again ends at a bound', async (_, call) => {
    const module = assemble({
      imports: [imports.publish, imports.read, imports.describe, imports.open],
      memory,
      data,
      functions: [
        { export: '_start', body: [...openSensor(3), ...op.drop, ...call] },
        { ...reallocType, body: [...call, ...op.i32(512)] },
      ],
    });
    const { ended } = new HostileWorld().start(module);
    expect(await ended).toMatchObject({ kind: 'trap', message: expect.stringContaining('cabi_realloc, 16 deep') });
  });

  it.each([
    ['an address outside of memory', op.i32(-8), 'not usable memory'],
    ['the end of memory', op.i32(65_536), 'not usable memory'],
    ['the last byte', op.i32(65_535), 'not usable memory'],
    ['a trap', op.unreachable, 'unreachable'],
  ])('that answers with %s ends its module', async (_, answer, message) => {
    const module = assemble({
      imports: [imports.publish],
      memory,
      data,
      functions: [
        { export: '_start', body: [...refusedPublish, ...op.call(0)] },
        { ...reallocType, body: [...answer] },
      ],
    });
    expect(await new HostileWorld().start(module).ended).toMatchObject({
      kind: 'trap',
      message: expect.stringContaining(message),
    });
  });

  it('that takes or gives 64 bits, or is no function, ends its module with one line', async () => {
    const attempt = async (realloc: object): Promise<unknown> =>
      await new HostileWorld().start(
        assemble({
          imports: [imports.publish],
          memory,
          data,
          functions: [
            { export: '_start', body: [...refusedPublish, ...op.call(0)] },
            { export: 'cabi_realloc', body: [...op.i64(-1n)], ...realloc },
          ],
        }),
      ).ended;
    expect(await attempt({ params: [i64, i64, i64, i64], results: [i64] })).toMatchObject({ kind: 'trap' });
    expect(await attempt({ results: [i64] })).toMatchObject({ kind: 'trap' });
    expect(await attempt({ export: 'realloc', results: [i64] })).toMatchObject({
      message: 'the module exports no cabi_realloc, which the host call it made needs',
    });
  });

  it('that ends its module is not called again, and its caller is not heard', async () => {
    const module = assemble({
      imports: [imports.publish, imports.write, imports.exit],
      memory,
      data,
      functions: [
        { export: '_start', body: [...op.tryCatchAll([...refusedPublish, ...op.call(0)]), ...print(1, 1032, 5)] },
        { ...reallocType, body: [...op.i32(7), ...op.call(2), ...op.i32(512)] },
      ],
    });
    const { ended, output } = new HostileWorld().start(module);
    expect(await ended).toEqual({ kind: 'exit', code: 7 });
    expect(output()).toBe('');
  });

  it('may grow memory under the call that asked', async () => {
    const module = assemble({
      imports: [imports.publish, imports.write],
      memory,
      data,
      functions: [
        {
          export: '_start',
          // Prints the refusal: its address at 264, its length at 268.
          body: [
            ...refusedPublish,
            ...op.call(0),
            ...op.i32(0),
            ...op.i32(264),
            ...op.load(),
            ...op.store(),
            ...op.i32(4),
            ...op.i32(268),
            ...op.load(),
            ...op.store(),
            ...op.i32(1),
            ...op.i32(0),
            ...op.i32(1),
            ...op.i32(8),
            ...op.call(1),
            ...op.drop,
          ],
        },
        { ...reallocType, body: [...op.i32(1), ...op.grow, ...op.i32(65_536), 0x6c] },
      ],
    });
    const { ended, output } = new HostileWorld().start(module);
    expect(await ended).toEqual({ kind: 'exit', code: 0 });
    expect(output()).toContain('wildcard');
  });
});

describe('a module that was killed', () => {
  it('runs no code of its own when the device answers after all', async () => {
    const world = new HostileWorld();
    const answer = Promise.withResolvers<number>();
    const asked = Promise.withResolvers<void>();
    world.read = () => {
      asked.resolve();
      return answer.promise; // pays no heed to its signal
    };
    const { instance, ended, output } = world.start(
      assemble({
        imports: [imports.read, imports.write, imports.open],
        memory,
        data,
        functions: [
          { export: '_start', body: [...openSensor(2), ...op.i32(256), ...op.call(0), ...print(1, 1032, 5)] },
          { ...reallocType, body: [...print(1, 1040, 8), ...op.i32(512)] },
        ],
      }),
    );
    await asked.promise;
    instance.kill(137, 'gone');
    expect(await ended).toMatchObject({ kind: 'killed', code: 137 });
    answer.resolve(1);
    await new Promise((resolve) => setImmediate(resolve));
    expect(output()).toBe('');
    expect(instance.handles.size).toBe(0);
  });

  it.each([
    ['catch_all', op.tryCatchAll],
    // block; try_table (catch_all 0)
    ['catch_all of try_table', (inner: readonly number[]) => [0x02, 0x40, 0x1f, 0x40, 1, 2, 0, ...inner, 0x0b, 0x0b]],
  ])('does not live on in a loop of %s', async (_, guard) => {
    const world = new HostileWorld();
    const { instance, ended } = world.start(
      assemble({
        imports: [imports.poll, imports.yield],
        memory,
        functions: [
          { export: '_start', body: op.loop([...guard(sleep(0, 3_600_000)), ...guard([...op.call(1), ...op.drop])]) },
        ],
      }),
    );
    instance.kill(143, '');
    expect(await ended).toMatchObject({ kind: 'killed', code: 143 });
  });

  it('does not live on by host calls that fail in V8, whatever type it says they give', async () => {
    const { instance, ended } = new HostileWorld().start(
      assemble({
        imports: [
          { ...imports.write, results: [i64] },
          { ...imports.yield, results: [i32, i32] },
          { ...imports.yield, results: [i32] },
        ],
        memory,
        functions: [
          {
            export: '_start',
            body: op.loop([
              ...op.tryCatchAll([...op.i32(9), ...op.i32(0), ...op.i32(0), ...op.i32(0), ...op.call(0), ...op.drop]),
              ...op.tryCatchAll([...op.call(1), ...op.drop, ...op.drop]),
              ...op.call(2),
              ...op.drop,
            ]),
          },
        ],
      }),
    );
    await new Promise((resolve) => setImmediate(resolve));
    instance.kill(137, 'gone');
    expect(await ended).toMatchObject({ kind: 'killed' });
  });
});

describe('what a module exports', () => {
  it.each([
    ['an integer of 64 bits', [i64]],
    ['a vector', [0x7b]],
  ])('_start that wants %s ends as a trap, told once', async (_, params) => {
    const world = new HostileWorld();
    const { ended } = world.start(assemble({ functions: [{ export: '_start', params, body: [] }] }));
    expect(await ended).toMatchObject({ kind: 'trap' });
    expect(world.executor.running).toBe(0);
  });

  it('_start that is a host function itself runs as its own module', async () => {
    for (const which of ['yield', 'exit', 'write', 'poll'] as const) {
      const { module, name: field, ...type } = imports[which];
      const { params = [], results = [] } = type as { params?: readonly number[]; results?: readonly number[] };
      const wasm = moduleOf(
        section(1, vector([[0x60, ...vector(params.map((p) => [p])), ...vector(results.map((p) => [p]))]])),
        section(2, vector([[...name(module), ...name(field), 0, 0]])),
        section(5, [1, 0, 1]),
        startExported,
      );
      expect(await new HostileWorld().start(wasm).ended).toEqual({ kind: 'exit', code: 0 });
    }
  });

  it.each([
    ['_start as a global', [...name('_start'), 3, 0]],
    ['_start as its memory', [...name('_start'), 2, 0]],
    ['__proto__', [...name('__proto__'), 0, 0]],
    ['constructor', [...name('constructor'), 0, 0]],
  ])('%s is no _start', (_, exported) => {
    const wasm = moduleOf(
      section(1, vector([voidType])),
      section(3, vector([[0]])),
      section(5, [1, 0, 1]),
      section(6, vector([[0x7f, 0, ...op.i32(1), 0x0b]])),
      section(7, vector([exported])),
      section(10, vector([body([])])),
    );
    expect(() => new HostileWorld().start(wasm)).toThrow('no _start function');
  });
});

describe('what a module does not hold', () => {
  const using = (call: readonly number[]): Buffer<ArrayBuffer> =>
    assemble({
      imports: [imports.read, imports.describe, imports.drop, imports.open],
      memory,
      data,
      functions: [
        { export: '_start', body: [...call] },
        { ...reallocType, body: op.i32(512) },
      ],
    });

  it.each([
    ['a handle it never had', [...op.i32(1), ...op.i32(256), ...op.call(0)]],
    ['handle 0', [...op.i32(0), ...op.call(2)]],
    ['handle -1', [...op.i32(-1), ...op.call(2)]],
    ['a handle it dropped', [...openSensor(3), ...op.call(2), ...op.i32(1), ...op.i32(256), ...op.call(1)]],
  ])('%s traps', async (_, call) => {
    expect(await new HostileWorld().start(using(call)).ended).toMatchObject({
      kind: 'trap',
      message: expect.stringContaining('which it does not hold'),
    });
  });

  it("another instance's handle traps", async () => {
    const world = new HostileWorld();
    const asked = Promise.withResolvers<void>();
    world.read = () => {
      asked.resolve();
      return new Promise(() => {});
    };
    const holder = world.start(using([...openSensor(3), ...op.i32(256), ...op.call(0)]));
    await asked.promise;
    expect(holder.instance.handles.size).toBe(1);
    expect(await world.start(using([...op.i32(1), ...op.i32(256), ...op.call(0)])).ended).toMatchObject({
      message: expect.stringContaining('which it does not hold'),
    });
    holder.instance.kill(137, '');
    await holder.ended;
  });

  it('a sensor and a topic it was not granted answer so at run time too', async () => {
    const world = new HostileWorld();
    const module = assemble({
      imports: [imports.open, imports.publish, imports.exit],
      memory,
      data,
      functions: [
        {
          export: '_start',
          // Exit code: case of open (not-found 0) + 16 * is it an error + case of publish (permission-denied 2).
          body: [
            ...op.i32(2048),
            ...op.i32(4),
            ...op.i32(256),
            ...op.call(0),
            ...op.i32(2048),
            ...op.i32(4),
            ...op.i32(2048),
            ...op.i32(4),
            ...op.i32(272),
            ...op.call(1),
            ...op.i32(256),
            0x2d,
            0,
            0,
            ...op.i32(16),
            0x6c,
            ...op.i32(276),
            0x2d,
            0,
            0,
            ...op.add,
            ...op.call(2),
          ],
        },
        { ...reallocType, body: op.i32(512) },
      ],
    });
    expect(await world.start(module, { grant: emptyGrant }).ended).toEqual({ kind: 'exit', code: 18 });
    expect(world.published).toEqual([]);
  });
});

describe('memory that no limit counts', () => {
  const grows = [
    [
      'garbage-collected arrays without a memory',
      moduleOf(
        section(1, vector([voidType, [0x5e, i64, 1]])),
        section(3, vector([[0]])),
        startExported,
        section(10, vector([body([...op.i32(1000), 0xfb, 0x07, 1, ...op.drop])])),
      ),
      'garbage-collected',
    ],
    [
      'a garbage-collected array as a global, without code',
      moduleOf(
        section(1, vector([voidType, [0x5e, i64, 1]])),
        section(5, [1, 0, 1]),
        section(6, vector([[0x63, 1, 0, ...op.i32(1000), 0xfb, 0x07, 1, 0x0b]])),
      ),
      'garbage-collected',
    ],
    [
      'a list of exceptions',
      moduleOf(section(1, vector([[0x60, 1, 0x69, 0]])), section(13, vector([[0, 0]]))),
      'exceptions that carry exceptions',
    ],
    [
      'a list of exceptions, by the long name of their type',
      moduleOf(section(1, vector([[0x60, 1, 0x63, 0x69, 0]])), section(13, vector([[0, 0]]))),
      'exceptions that carry exceptions',
    ],
    ['a large table', moduleOf(section(4, vector([[0x70, 0, 0x80, 0xad, 0xe2, 0x04]]))), 'entries'],
    ['many tables', moduleOf(section(4, vector(Array.from({ length: 17 }, () => [0x70, 0, 1])))), '17 tables'],
  ] as const;

  it.each(grows)('%s is refused, though V8 takes it', (_, wasm, why) => {
    expect(() => new WebAssembly.Module(wasm)).not.toThrow();
    expect(() => transform(wasm)).toThrow(why);
  });

  it('a table does not grow past its bound, and what it starts with stays', async () => {
    const wasm = moduleOf(
      section(1, vector([voidType, [0x60, 1, i32, 0]])),
      section(2, vector([[...name(imports.exit.module), ...name(imports.exit.name), 0, 1]])),
      section(3, vector([[0]])),
      section(4, vector([[0x70, 0, 10]])),
      section(7, vector([[...name('_start'), 0, 1]])),
      // Grown by 16,374 gives the old size, 10; by one more, -1.
      section(
        10,
        vector([
          body([
            0xd0,
            0x70,
            ...op.i32(16_374),
            0xfc,
            0x0f,
            0,
            0xd0,
            0x70,
            ...op.i32(1),
            0xfc,
            0x0f,
            0,
            ...op.add,
            ...op.call(0),
          ]),
        ]),
      ),
    );
    expect(await new HostileWorld().start(wasm).ended).toEqual({ kind: 'exit', code: 9 });
  });
});
