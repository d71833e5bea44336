/** Guests of a few instructions. */
import { assemble, i32, i64, op, type ModuleSource } from './assemble.ts';

const wasi = 'wasi_snapshot_preview1';
const memory = { min: 1 };

/** Of WASI, in the order they are imported here. */
const imports = {
  fd_write: { module: wasi, name: 'fd_write', params: [i32, i32, i32, i32], results: [i32] },
  poll_oneoff: { module: wasi, name: 'poll_oneoff', params: [i32, i32, i32, i32], results: [i32] },
  proc_exit: { module: wasi, name: 'proc_exit', params: [i32] },
  clock_time_get: { module: wasi, name: 'clock_time_get', params: [i32, i64, i32], results: [i32] },
} as const;

/** A program of `body`, with the text at 1024 written by `print`. */
export function program(
  body: (calls: {
    print: number[];
    sleep: (ms: number) => number[];
    exit: (code: number) => number[];
  }) => readonly number[],
  more: Partial<ModuleSource> & { text?: string } = {},
): Buffer<ArrayBuffer> {
  const { text = 'hello\n', ...rest } = more;
  const print = [
    ...op.i32(0),
    ...op.i32(1024),
    ...op.store(),
    ...op.i32(4),
    ...op.i32(Buffer.byteLength(text)),
    ...op.store(),
    ...op.i32(1),
    ...op.i32(0),
    ...op.i32(1),
    ...op.i32(8),
    ...op.call(0),
    ...op.drop,
  ];
  // A subscription at 64: clock monotonic, relative; its event at 128.
  const sleep = (ms: number): number[] => [
    ...op.i32(80),
    ...op.i32(1),
    ...op.store(),
    ...op.i32(88),
    ...op.i64(BigInt(ms) * 1_000_000n),
    0x37,
    3,
    0,
    ...op.i32(64),
    ...op.i32(128),
    ...op.i32(1),
    ...op.i32(12),
    ...op.call(1),
    ...op.drop,
  ];
  const exit = (code: number): number[] => [...op.i32(code), ...op.call(2)];
  return assemble({
    imports: [imports.fd_write, imports.poll_oneoff, imports.proc_exit],
    memory,
    functions: [{ export: '_start', body: body({ print, sleep, exit }) }],
    data: [{ at: 1024, bytes: text }],
    ...rest,
  });
}

export const hello = program(({ print }) => print);
export const sleeper = program(({ print, sleep }) => [...print, ...sleep(3_600_000)]);
export const trapping = program(({ print }) => [...print, ...op.unreachable]);
export const exiting = (code: number): Buffer<ArrayBuffer> => program(({ exit }) => exit(code));
/** Catches whatever ends its sleep, for ever. */
export const stubborn = program(({ print, sleep }) => [...print, ...op.loop(op.tryCatchAll(sleep(3_600_000)))]);
export const spinning = program(({ print }) => [...print, ...op.loop([])]);
/** Works in its start section, as AssemblyScript does without --exportStart. */
export const startSection = assemble({
  imports: [imports.fd_write, imports.poll_oneoff, imports.proc_exit],
  memory,
  functions: [
    {
      body: [
        ...op.i32(80),
        ...op.i32(1),
        ...op.store(),
        ...op.i32(64),
        ...op.i32(128),
        ...op.i32(1),
        ...op.i32(12),
        ...op.call(1),
        ...op.drop,
        ...op.i32(9),
        ...op.call(2),
      ],
    },
  ],
  start: 3,
});
