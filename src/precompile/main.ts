/**
 * The precompiler: reads a module from standard input, writes the module that runners run to standard output and one JSON
 * value to file descriptor 3, then ends. It opens no file and runs no module.
 */
import { readSync, writeSync } from 'node:fs';
import { errorLine } from '../base/errors.ts';
import { dropPrivileges } from '../base/user.ts';
import { PrecompileError } from './errors.ts';
import { printable } from '../base/printable.ts';
import { expectCoreModule } from './recognise.ts';
import type { ChildAnswer } from './child-answer.ts';
import { transform } from './transform.ts';

/** Bytes, and who to become before anything is read. */
const [maxBytes, user] = [Number(process.argv[2]), process.argv[3]];

function readInput(): Uint8Array {
  const chunks: Buffer[] = [];
  let length = 0;
  for (;;) {
    const chunk = Buffer.allocUnsafe(1 << 20);
    const count = readSync(0, chunk, 0, chunk.length, null);
    if (count === 0) return Buffer.concat(chunks, length);
    length += count;
    if (length > maxBytes) {
      throw new PrecompileError('ErrModuleUnsupported', `the module is larger than ${maxBytes >> 20} MiB`, {
        remedy: 'strip it (wasm-strip, -ldflags="-s -w", strip = true) or leave parts out',
      });
    }
    chunks.push(chunk.subarray(0, count));
  }
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1); // the pipe is full: its reader needs a moment
    }
  }
}

/** V8 has the last word on validity; its message names the function and the byte. */
function expectValid(bytes: Uint8Array<ArrayBuffer>): void {
  try {
    new WebAssembly.Module(bytes);
  } catch (error) {
    const why = printable(errorLine(error).replace(/^WebAssembly\.Module\(\): /, ''));
    throw new PrecompileError('ErrModuleInvalid', `the module is not valid: ${why}`, {
      remedy: 'build it again; features V8 does not have on by default must be off',
    });
  }
}

function answer(): ChildAnswer {
  try {
    if (user !== undefined) dropPrivileges(user);
    const input = readInput() as Uint8Array<ArrayBuffer>;
    expectCoreModule(input);
    const { module, description } = transform(input);
    expectValid(input);
    try {
      new WebAssembly.Module(module as Uint8Array<ArrayBuffer>);
    } catch (error) {
      throw new PrecompileError('ErrPrecompile', `preparing the module broke it: ${printable(errorLine(error))}`);
    }
    writeAll(1, module);
    return { ok: true, size: module.length, description };
  } catch (error) {
    if (error instanceof PrecompileError) {
      return { ok: false, code: error.code, message: error.message, remedy: error.remedy ?? null };
    }
    return { ok: false, code: 'ErrPrecompile', message: printable(errorLine(error)), remedy: null };
  }
}

writeAll(3, Buffer.from(JSON.stringify(answer())));
