import { describe, expect, it } from 'vitest';
import { emptyGrant } from '../../../hostcalls/grant.ts';
import { transform } from '../../../src/precompile/transform.ts';
import { Executor } from '../../../src/runner/executor.ts';
import type { Ending } from '../../../src/runner/instance.ts';
import { StringBlock } from '../../../src/runner/string-block.ts';
import { wasiFunctions } from '../../../src/runner/wasi/index.ts';
import { assemble, i32, i64, op } from '../../support/assemble.ts';

/** Parameters by WASI's witx: `i` is i32, `I` is i64. */
const signatures: Readonly<Record<string, string>> = {
  args_get: 'ii',
  args_sizes_get: 'ii',
  environ_get: 'ii',
  environ_sizes_get: 'ii',
  clock_res_get: 'ii',
  clock_time_get: 'iIi',
  fd_advise: 'iIIi',
  fd_allocate: 'iII',
  fd_close: 'i',
  fd_datasync: 'i',
  fd_fdstat_get: 'ii',
  fd_fdstat_set_flags: 'ii',
  fd_fdstat_set_rights: 'iII',
  fd_filestat_get: 'ii',
  fd_filestat_set_size: 'iI',
  fd_filestat_set_times: 'iIIi',
  fd_pread: 'iiiIi',
  fd_prestat_get: 'ii',
  fd_prestat_dir_name: 'iii',
  fd_pwrite: 'iiiIi',
  fd_read: 'iiii',
  fd_readdir: 'iiiIi',
  fd_renumber: 'ii',
  fd_seek: 'iIii',
  fd_sync: 'i',
  fd_tell: 'ii',
  fd_write: 'iiii',
  path_create_directory: 'iii',
  path_filestat_get: 'iiiii',
  path_filestat_set_times: 'iiiiIIi',
  path_link: 'iiiiiii',
  path_open: 'iiiiiIIii',
  path_readlink: 'iiiiii',
  path_remove_directory: 'iii',
  path_rename: 'iiiiii',
  path_symlink: 'iiiii',
  path_unlink_file: 'iii',
  poll_oneoff: 'iiii',
  random_get: 'ii',
  sched_yield: '',
  sock_accept: 'iii',
  sock_recv: 'iiiiii',
  sock_send: 'iiiii',
  sock_shutdown: 'ii',
};
const withoutResult = ['proc_exit', 'proc_raise'];
const modules = ['wasi_snapshot_preview1', 'wasi_unstable'];

const executor = new Executor([]);

interface Outcome {
  readonly ending: Ending;
  readonly memory: DataView;
  readonly stdout: string;
}

/** Runs a program that calls one function once with `args` and exits with what it answers. */
async function call(
  module: string,
  name: string,
  args: readonly (number | bigint)[],
  data: readonly { at: number; bytes: Uint8Array }[] = [],
): Promise<Outcome> {
  const params = signatures[name]!.split('').map((type) => (type === 'I' ? i64 : i32));
  const bytes = assemble({
    imports: [
      { module, name, params, results: [i32] },
      { module, name: 'proc_exit', params: [i32] },
    ],
    memory: { min: 1 },
    data,
    functions: [
      {
        export: '_start',
        body: [
          ...args.flatMap((arg) => (typeof arg === 'bigint' ? op.i64(arg) : op.i32(arg))),
          ...op.call(0),
          ...op.call(1),
        ],
      },
    ],
  });
  const made = transform(bytes);
  const loaded = {
    module: new WebAssembly.Module(made.module as Uint8Array<ArrayBuffer>),
    description: made.description,
  };
  let stdout = '';
  let memory!: DataView;
  const ending = await new Promise<Ending>((onEnd) => {
    const instance = executor.start(loaded, {
      id: 'test',
      name: 'test',
      grant: emptyGrant,
      args: new StringBlock(['one', 'zwei-ü']),
      env: new StringBlock(['A=B']),
      output: { write: (_stream, text) => void (stdout += Buffer.from(text).toString()) },
      memoryLimitBytes: 65_536,
      onEnd,
    });
    memory = instance.view();
  });
  return { ending, memory, stdout };
}

describe.each(modules)('%s', (module) => {
  it('has every function of preview 1', () => {
    expect(Object.keys(wasiFunctions[module]!).toSorted()).toEqual(
      [...Object.keys(signatures), ...withoutResult].toSorted(),
    );
    expect(Object.keys(signatures).length + withoutResult.length).toBe(46);
  });

  it.each(Object.keys(signatures))('%s answers an errno to any pointer and descriptor', async (name) => {
    const wild = [0, 1, 2, 3, 65_535, 65_536, 0x7fff_ffff, -1, -8];
    for (const value of wild) {
      for (const fd of [0, 1, 3, -1, value]) {
        const args = signatures[name]!.split('').map((type, i) =>
          type === 'I' ? BigInt(value) : i === 0 ? fd : value,
        );
        const { ending } = await call(module, name, args);
        expect(ending, args.join(' ')).toMatchObject({ kind: 'exit' });
      }
    }
  });
});

describe('WASI', () => {
  const preview1 = 'wasi_snapshot_preview1';
  const text = (memory: DataView, at: number, length: number): string =>
    Buffer.from(memory.buffer as ArrayBuffer, at, length).toString();

  it('hands out arguments', async () => {
    const sizes = await call(preview1, 'args_sizes_get', [0, 4]);
    expect([sizes.memory.getUint32(0, true), sizes.memory.getUint32(4, true)]).toEqual([2, 4 + 8]);
    const { memory } = await call(preview1, 'args_get', [0, 100]);
    expect([memory.getUint32(0, true), memory.getUint32(4, true)]).toEqual([100, 104]);
    expect(text(memory, 100, 12)).toBe('one\0zwei-ü\0');
  });

  it('tells the wall time in nanoseconds', async () => {
    const before = BigInt(Date.now() - 5) * 1_000_000n;
    const { memory } = await call(preview1, 'clock_time_get', [0, 0n, 8]);
    const now = memory.getBigUint64(8, true);
    expect(now >= before && now <= BigInt(Date.now() + 5) * 1_000_000n).toBe(true);
  });

  it('writes several buffers in order, at any address', async () => {
    const buffers = Buffer.alloc(16);
    [33, 2, 40, 3].forEach((value, i) => buffers.writeUInt32LE(value, i * 4));
    const { stdout, memory } = await call(
      preview1,
      'fd_write',
      [1, 1, 2, 61],
      [
        { at: 1, bytes: buffers },
        { at: 33, bytes: Buffer.from('ab') },
        { at: 40, bytes: Buffer.from('cde') },
      ],
    );
    expect([stdout, memory.getUint32(61, true)]).toEqual(['abcde', 5]);
  });

  it('writes nothing when one of the buffers is not memory', async () => {
    const buffers = Buffer.alloc(16);
    [33, 2, 65_535, 3].forEach((value, i) => buffers.writeUInt32LE(value, i * 4));
    const { stdout, ending } = await call(preview1, 'fd_write', [1, 0, 2, 60], [{ at: 0, bytes: buffers }]);
    expect([stdout, ending]).toEqual(['', { kind: 'exit', code: 21 }]);
  });

  it.each([
    ['wasi_snapshot_preview1', 48, 16],
    ['wasi_unstable', 56, 24],
  ])('of %s fires the clock that is due first, beside a stream that is ready', async (module, size, clockAt) => {
    const subscriptions = Buffer.alloc(3 * size);
    const clock = (i: number, ms: number): void => {
      subscriptions.writeBigUInt64LE(BigInt(100 + i), i * size);
      subscriptions.writeUInt32LE(1, i * size + clockAt);
      subscriptions.writeBigUInt64LE(BigInt(ms) * 1_000_000n, i * size + clockAt + 8);
    };
    clock(0, 3_600_000);
    clock(1, 5);
    clock(2, 5);
    const clocks = await call(module, 'poll_oneoff', [0, 1024, 3, 2048], [{ at: 0, bytes: subscriptions }]);
    expect(clocks.memory.getUint32(2048, true)).toBe(2);
    expect([1024, 1056].map((at) => clocks.memory.getBigUint64(at, true))).toEqual([101n, 102n]);
    subscriptions.fill(0, size, 2 * size);
    subscriptions.writeUInt8(2, size + 8); // fd_write
    subscriptions.writeUInt32LE(1, size + 16);
    const stream = await call(module, 'poll_oneoff', [0, 1024, 2, 2048], [{ at: 0, bytes: subscriptions }]);
    expect([stream.memory.getUint32(2048, true), stream.memory.getUint8(1024 + 10)]).toEqual([1, 2]);
  });
});
