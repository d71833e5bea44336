import { describe, expect, it } from 'vitest';
import { PrecompileError } from '../../../src/precompile/errors.ts';
import { expectCoreModule } from '../../../src/precompile/recognise.ts';
import { transform } from '../../../src/precompile/transform.ts';
import { assemble, i32, op, sectionBoundaries } from '../../support/assemble.ts';

const full = assemble({
  imports: [{ module: 'env', name: 'f', params: [i32], results: [i32] }],
  memory: { min: 1, max: 10 },
  functions: [
    { export: '_start', body: [...op.i32(3), ...op.grow, ...op.drop] },
    { export: 'grow', params: [i32], results: [i32], body: [...op.get(0), ...op.grow] },
    { export: 'peek', params: [i32], results: [i32], body: [...op.get(0), ...op.load()] },
  ],
  data: [{ at: 8, bytes: 'data' }],
  custom: [
    { name: 'producers', bytes: 'clang' },
    { name: '.debug_info', bytes: 'x'.repeat(1000) },
  ],
});

function instantiate(
  source: Uint8Array,
  maximum: number,
): { exports: Record<string, unknown>; memory: WebAssembly.Memory } {
  const { module, description } = transform(source);
  const memory = new WebAssembly.Memory({ initial: description.memory!.minPages, maximum });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module as Uint8Array<ArrayBuffer>), {
    env: { f: (n: number) => n },
    loamlet: { memory },
  });
  return { exports, memory };
}

describe('a precompiled module', () => {
  it('has the memory the host gives it, and still exports it', () => {
    const { exports, memory } = instantiate(full, 5);
    expect(exports['memory']).toBe(memory);
    expect(Buffer.from(memory.buffer, 8, 4).toString()).toBe('data');
    expect((exports['peek'] as (at: number) => number)(8)).toBe(Buffer.from('data').readUInt32LE());
  });

  it('notes that its memory could not grow', () => {
    const { exports } = instantiate(full, 5);
    const grow = exports['grow'] as (pages: number) => number;
    const refused = exports['loamlet:refused'] as WebAssembly.Global;
    expect([grow(2), refused.value, grow(3), refused.value]).toEqual([1, 0, -1, 1]);
    expect(grow(1)).toBe(3);
  });

  it('is described by what it asks for', () => {
    expect(transform(full).description).toMatchObject({
      imports: [{ module: 'env', name: 'f', kind: 'function' }],
      memory: { minPages: 1, maxPages: 10 },
      kind: 'command',
      hasStart: false,
      hasRealloc: false,
    });
  });

  it('has its start section as an export, and runs nothing before that is called', () => {
    const source = assemble({
      memory: { min: 1 },
      functions: [{ body: [...op.i32(0), ...op.i32(7), ...op.store()] }],
      start: 0,
    });
    const { exports, memory } = instantiate(source, 1);
    expect(new Uint8Array(memory.buffer)[0]).toBe(0);
    (exports['loamlet:start'] as () => void)();
    expect(new Uint8Array(memory.buffer)[0]).toBe(7);
  });

  it('carries its description and no debug sections', () => {
    const module = new WebAssembly.Module(transform(full).module as Uint8Array<ArrayBuffer>);
    expect(WebAssembly.Module.customSections(module, 'loamlet')).toHaveLength(1);
    expect(WebAssembly.Module.customSections(module, '.debug_info')).toHaveLength(0);
  });
});

describe('a module that is refused', () => {
  const refusal = (bytes: Uint8Array): PrecompileError => {
    try {
      expectCoreModule(bytes);
      transform(bytes);
    } catch (error) {
      expect(error).toBeInstanceOf(PrecompileError);
      expect((error as PrecompileError).line).not.toMatch(/[\n\r]/);
      return error as PrecompileError;
    }
    throw new Error('it was not refused');
  };

  it.each([
    ['ELF', [0x7f, 0x45, 0x4c, 0x46, 2], 'an ELF file'],
    ['gzip', [0x1f, 0x8b, 8], 'a gzip file'],
    ['HTML', [...Buffer.from('\n<!DOCTYPE html><html>')], 'an HTML page'],
    ['JSON', [...Buffer.from('{"errors":[]}')], 'JSON'],
    ['WebAssembly text', [...Buffer.from('(module)')], 'wat2wasm'],
    ['nothing', [], 'empty'],
  ])('is named when it is %s', (_what, bytes, words) => {
    expect(refusal(Buffer.from(bytes))).toMatchObject({
      code: 'ErrImageNotWasm',
      message: expect.stringContaining(words),
    });
  });

  it('is a component, with what to do', () => {
    const error = refusal(Buffer.from([0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0]));
    expect(error).toMatchObject({ code: 'ErrModuleUnsupported', message: expect.stringContaining('component') });
    expect(error.remedy).toContain('wasm32-wasi');
  });

  it('has another version', () => {
    expect(refusal(Buffer.from([0, 0x61, 0x73, 0x6d, 2, 0, 0, 0]))).toMatchObject({ code: 'ErrModuleInvalid' });
  });

  it.each([
    ['shared memory', { min: 1, max: 1, flags: 3 }, 'shared'],
    ['a 64-bit memory', { min: 1, flags: 4 }, '64-bit'],
  ])('has %s', (_what, memory, words) => {
    expect(refusal(assemble({ memory }))).toMatchObject({
      code: 'ErrModuleUnsupported',
      message: expect.stringContaining(words),
    });
  });

  it('is cut anywhere but between sections', () => {
    const boundaries = new Set([...sectionBoundaries(full), full.length]);
    for (let length = 0; length < full.length; length++) {
      if (boundaries.has(length)) continue;
      const { code, message } = refusal(full.subarray(0, length));
      expect(code).toBe(length === 0 ? 'ErrImageNotWasm' : 'ErrModuleInvalid');
      if (length > 8) expect(message).toMatch(/section|module is truncated/);
    }
  });

  it('or has any one byte changed is refused with one line, or accepted', () => {
    for (let at = 8; at < full.length; at++) {
      for (const value of [0, 1, 0x7f, 0x80, 0xff, full[at]! ^ 1]) {
        const changed = Buffer.from(full);
        changed[at] = value;
        try {
          transform(changed);
        } catch (error) {
          expect(error).toBeInstanceOf(PrecompileError);
          expect((error as PrecompileError).line).not.toMatch(/[\n\r]/);
        }
      }
    }
  });
});
