import { createHash } from 'node:crypto';
import { readdir, stat, truncate, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { PrecompileError } from '../../../src/precompile/errors.ts';
import { Precompiler, type PrecompiledModule, type PrecompilerOptions } from '../../../src/precompile/precompiler.ts';
import { assemble, i32, op, sectionBoundaries } from '../../support/assemble.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { hello } from '../../support/tiny-guests.ts';

async function world(options: Partial<PrecompilerOptions> = {}) {
  const folder = await tempFolder();
  const directory = join(folder.path, 'modules');
  const open = (): Promise<Precompiler> => Precompiler.open({ directory, ...options });
  let precompiler = await open();
  return {
    directory,
    restart: async () => void (precompiler = await open()),
    precompile: async (bytes: Uint8Array, signal = AbortSignal.timeout(60_000)): Promise<PrecompiledModule> => {
      const hash = createHash('sha256').update(bytes).digest('hex');
      const path = join(folder.path, `${hash}.wasm`);
      await writeFile(path, bytes);
      return await precompiler.precompile(path, `sha256:${hash}`, signal);
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

describe('the precompiler', () => {
  it('makes a file that others may read, and describes it', async () => {
    await using it = await world();
    const { path, description } = await it.precompile(hello);
    expect((await stat(path)).mode & 0o777).toBe(0o644);
    expect(description).toMatchObject({ kind: 'command', memory: { minPages: 1, maxPages: null } });
  });

  it('does its work once, also over a restart, and again for a file that was damaged', async () => {
    await using it = await world();
    const first = await it.precompile(hello);
    const made = (await stat(first.path)).ino;
    await it.restart();
    expect(await it.precompile(hello)).toEqual(first);
    expect((await stat(first.path)).ino).toBe(made);
    const { size } = await stat(first.path);
    await truncate(first.path, 10);
    expect(await it.precompile(hello)).toEqual(first);
    expect((await stat(first.path)).size).toBe(size);
  });

  it('serves many calls at once, one child at a time', async () => {
    await using it = await world();
    const made = await Promise.all(Array.from({ length: 20 }, () => it.precompile(hello)));
    expect(new Set(made.map(({ path }) => path)).size).toBe(1);
  });

  it('keeps nothing of a module that is refused', async () => {
    await using it = await world();
    await expect(it.precompile(Buffer.from('#!/bin/sh\n'))).rejects.toMatchObject({ code: 'ErrImageNotWasm' });
    expect(await readdir(it.directory)).toEqual([]);
  });

  it('takes the least recently used away when its folder is full', async () => {
    const sized = (n: number): Uint8Array =>
      assemble({ memory: { min: 1 }, data: [{ at: n, bytes: 'x'.repeat(60_000) }] });
    await using it = await world({ maxCacheBytes: 130_000 });
    for (const n of [1, 2]) await it.precompile(sized(n));
    const first = await it.precompile(sized(1));
    const third = await it.precompile(sized(3));
    const kept = (await readdir(it.directory)).filter((file) => file.endsWith('.wasm'));
    expect(new Set(kept)).toEqual(new Set([first, third].map(({ path }) => basename(path))));
  });

  it('refuses a module over its limit', async () => {
    await using it = await world({ maxModuleBytes: 1 << 20 });
    await expect(it.precompile(Buffer.concat([hello, Buffer.alloc(2 << 20)]))).rejects.toMatchObject({
      code: 'ErrModuleUnsupported',
    });
  });

  it('gives up at its time limit, and is fit for the next', async () => {
    await using it = await world({ timeoutMs: 1 });
    await expect(it.precompile(hello)).rejects.toMatchObject({
      code: 'ErrPrecompile',
      message: expect.stringContaining('did not finish'),
    });
    await expect(it.precompile(hello)).rejects.toBeInstanceOf(PrecompileError);
  });

  it('stops when nobody wants it any more', async () => {
    await using it = await world();
    const reason = new Error('the pod is gone');
    await expect(it.precompile(hello, AbortSignal.abort(reason))).rejects.toBe(reason);
    const controller = new AbortController();
    const call = it.precompile(hello, controller.signal);
    setImmediate(() => controller.abort(reason));
    await expect(call).rejects.toBe(reason);
    expect(await it.precompile(hello)).toMatchObject({ description: { kind: 'command' } });
  });

  it('says what V8 finds wrong in a module that is well formed', async () => {
    await using it = await world();
    const untyped = assemble({ functions: [{ results: [i32], body: [] }] });
    await expect(it.precompile(untyped)).rejects.toMatchObject({
      code: 'ErrModuleInvalid',
      message: expect.stringContaining('function #0'),
    });
  });

  it('refuses or accepts a module cut between two sections, as V8 does, in one line', async () => {
    await using it = await world();
    const whole = assemble({
      memory: { min: 1 },
      functions: [{ export: '_start', body: [...op.i32(1), ...op.grow, ...op.drop] }],
      data: [{ at: 0, bytes: 'data' }],
    });
    for (const length of sectionBoundaries(whole)) {
      const cut = whole.subarray(0, length);
      const outcome = await it.precompile(cut).catch((error: unknown) => error);
      let valid = true;
      try {
        new WebAssembly.Module(cut);
      } catch {
        valid = false;
      }
      if (valid) expect(outcome).toMatchObject({ description: expect.anything() });
      else expect(outcome).toMatchObject({ code: 'ErrModuleInvalid' });
    }
  });
});
