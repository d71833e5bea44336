/** Mutated modules through the precompiler's own parser, and a child that lies. */
import { describe, expect, it } from 'vitest';
import { parseAnswer } from '../../../src/precompile/child-answer.ts';
import { hostModule } from '../../../src/precompile/description.ts';
import { PrecompileError } from '../../../src/precompile/errors.ts';
import { expectCoreModule } from '../../../src/precompile/recognise.ts';
import { transform } from '../../../src/precompile/transform.ts';
import { assemble, i32, op } from '../../support/assemble.ts';
import { stubborn } from '../../support/tiny-guests.ts';
import { imports, moduleOf, name, section, vector } from './raw-module.ts';

const seeds = [
  stubborn,
  assemble({
    imports: [imports.publish, imports.read, imports.write],
    memory: { min: 1, max: 4 },
    functions: [
      { export: '_start', locals: [i32], body: [...op.loop(op.tryCatchAll([...op.i32(1), ...op.grow, ...op.set(0)]))] },
      { export: 'cabi_realloc', params: [i32, i32, i32, i32], results: [i32], body: [...op.get(3), ...op.grow] },
      { body: [] },
    ],
    start: 5,
    data: [{ at: 8, bytes: 'hello' }],
    custom: [
      { name: 'name', bytes: [0, 2, 1, 97] as unknown as Uint8Array },
      { name: 'loamlet', bytes: '{"version":3,"imports":[]}' },
    ],
  }),
  // A table of functions, globals and an element.
  moduleOf(
    section(1, vector([[0x60, 0, 0]])),
    section(3, vector([[0]])),
    section(4, vector([[0x70, 1, 1, 2]])),
    section(5, [1, 1, 1, 2]),
    section(6, vector([[0x7f, 1, ...op.i32(1), 0x0b]])),
    section(7, vector([[...name('_start'), 0, 0]])),
    section(9, vector([[0, ...op.i32(0), 0x0b, 1, 0]])),
    section(10, vector([[9, 0, ...op.i32(0), 0x11, 0, 0, 0x01, 0x01, 0x0b]])),
  ),
];

/** Numbers that are the same at each run (mulberry32). */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** A refusal of ours, or a module that V8 takes, with the imports that V8 finds in the source. Says which. */
function judge(bytes: Uint8Array<ArrayBuffer>): 'refused' | 'taken' | 'left to V8' {
  let source: WebAssembly.Module | undefined;
  try {
    source = new WebAssembly.Module(bytes);
  } catch {
    // The child asks V8 too, after this.
  }
  let made: ReturnType<typeof transform>;
  try {
    expectCoreModule(bytes);
    made = transform(bytes);
  } catch (error) {
    expect(error).toBeInstanceOf(PrecompileError);
    expect((error as PrecompileError).line).toMatch(/^[\x20-\x7e]+$/);
    // What V8 takes is refused only for what Loamlet does not run.
    if (source) expect((error as PrecompileError).code).toBe('ErrModuleUnsupported');
    return 'refused';
  }
  if (!source) return 'left to V8';
  const module = new WebAssembly.Module(new Uint8Array(made.module));
  const found = WebAssembly.Module.imports(module);
  const own = found.filter((wanted) => wanted.module === hostModule);
  expect(own).toEqual(made.description.memory ? [{ module: hostModule, name: 'memory', kind: 'memory' }] : []);
  expect(found.slice(0, found.length - own.length)).toEqual(WebAssembly.Module.imports(source));
  expect(made.description.imports).toEqual(WebAssembly.Module.imports(source));
  return 'taken';
}

describe('a mutated module', () => {
  it('is refused by name or comes out with the imports it came in with', () => {
    const below = random(20_261_122);
    const counts = { refused: 0, taken: 0, 'left to V8': 0 };
    for (let n = 0; n < 6_000; n++) {
      const seed = seeds[n % seeds.length]!;
      let bytes = Uint8Array.from(seed);
      for (let edits = below(3) + 1; edits > 0; edits--) bytes = mutate(bytes, below);
      counts[judge(bytes)]++;
    }
    // Neither is this a test of refusals only, nor one of modules nobody touched.
    expect(Math.min(...Object.values(counts))).toBeGreaterThan(50);
  });

  it('is judged wherever it is cut', () => {
    for (const seed of seeds) for (let at = 0; at < seed.length; at++) judge(Uint8Array.from(seed.subarray(0, at)));
  });
});

function mutate(bytes: Uint8Array<ArrayBuffer>, below: (n: number) => number): Uint8Array<ArrayBuffer> {
  const at = 8 + below(Math.max(1, bytes.length - 8));
  switch (below(6)) {
    case 0: // a bit
      bytes[at]! ^= 1 << below(8);
      return bytes;
    case 1: // a byte that means much
      bytes[at] = [0, 0x7f, 0x80, 0xff, 0x40, 0x0b, 0x60, 0x70, 0xfb, 0xfc][below(10)]!;
      return bytes;
    case 2: // bytes left out
      return new Uint8Array(Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + below(4))]));
    case 3: // a number longer than it may be
      return new Uint8Array(
        Buffer.concat([bytes.subarray(0, at), Buffer.alloc(1 + below(10), 0x80 + below(128)), bytes.subarray(at)]),
      );
    case 4: {
      // the length of a section
      const starts = sections(bytes);
      if (starts.length > 0) bytes[starts[below(starts.length)]! + 1] = below(256);
      return bytes;
    }
    default: {
      // a section twice, or elsewhere
      const starts = sections(bytes);
      if (starts.length < 2) return bytes;
      const from = below(starts.length - 1);
      const to = starts[below(starts.length)]!;
      const piece = bytes.subarray(starts[from], starts[from + 1]);
      return new Uint8Array(Buffer.concat([bytes.subarray(0, to), piece, bytes.subarray(to)]));
    }
  }
}

/** Where sections seem to start, as far as their lengths can be read in one byte. */
function sections(bytes: Uint8Array): number[] {
  const starts: number[] = [];
  for (let at = 8; at + 1 < bytes.length; at += 2 + bytes[at + 1]!) starts.push(at);
  return starts;
}

it('a name with a byte order mark is another name, for us as for V8', () => {
  const wasm = assemble({ imports: [{ module: '\ufeffwasi_snapshot_preview1', name: 'sched_yield' }] });
  expect(transform(wasm).description.imports).toEqual(WebAssembly.Module.imports(new WebAssembly.Module(wasm)));
  expect(() => transform(assemble({ imports: [{ module: '\ufeffloamlet', name: 'memory' }] }))).not.toThrow();
});

describe('a child that lies', () => {
  const answer = {
    ok: false,
    code: 'ErrModuleInvalid',
    message: 'm',
    remedy: null,
  };
  const description = {
    version: 3,
    imports: [],
    memory: { minPages: 1, maxPages: null },
    kind: 'command',
    hasStart: false,
    hasRealloc: false,
  };

  it('gets no line break, escape or endless text through, and takes nobody long', () => {
    const message = `\u001b[2Jfine\r\n    at main.ts:1\n${' '.repeat(1 << 20)}x`;
    const started = performance.now();
    const parsed = parseAnswer(JSON.stringify({ ...answer, message, remedy: message }));
    expect(performance.now() - started).toBeLessThan(1_000);
    expect(parsed).toMatchObject({ message: expect.stringMatching(/^[\x20-\x7e]{1,500}$/) });
    expect(parsed).toMatchObject({ remedy: expect.stringMatching(/^[\x20-\x7e]{1,500}$/) });
  });

  it.each([
    ['a code of its own', { ...answer, code: 'Fine' }],
    ['a code from the prototype', { ...answer, code: '__proto__' }],
    ['no message', { ...answer, message: 5 }],
    ['a size that is none', { ok: true, size: 1e300, description }],
    ['a description of another version', { ok: true, size: 1, description: { ...description, version: 1 } }],
    [
      'impossible memory',
      { ok: true, size: 1, description: { ...description, memory: { minPages: -1, maxPages: 1 } } },
    ],
    ['imports that are no list', { ok: true, size: 1, description: { ...description, imports: { length: 1 } } }],
    [
      'an import of no kind',
      { ok: true, size: 1, description: { ...description, imports: [{ module: 'a', name: 'b' }] } },
    ],
    ['nothing', null],
  ])('with %s has not answered', (_, value) => {
    expect(parseAnswer(JSON.stringify(value))).toBeUndefined();
  });
});
