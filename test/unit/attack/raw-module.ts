/** Modules section by section, for what `assemble` refuses to write. */
import { i32, i64, op, unsigned } from '../../support/assemble.ts';

export const wasi = 'wasi_snapshot_preview1';
export const sensors = 'loamlet:host/sensors@0.1.0';
export const messaging = 'loamlet:host/messaging@0.1.0';

/** Imports with their types, for `assemble`. */
export const imports = {
  write: { module: wasi, name: 'fd_write', params: [i32, i32, i32, i32], results: [i32] },
  poll: { module: wasi, name: 'poll_oneoff', params: [i32, i32, i32, i32], results: [i32] },
  exit: { module: wasi, name: 'proc_exit', params: [i32] },
  yield: { module: wasi, name: 'sched_yield', results: [i32] },
  read: { module: sensors, name: '[method]sensor.read', params: [i32, i32] },
  describe: { module: sensors, name: '[method]sensor.describe', params: [i32, i32] },
  open: { module: sensors, name: 'open', params: [i32, i32, i32] },
  drop: { module: sensors, name: '[resource-drop]sensor', params: [i32] },
  publish: { module: messaging, name: 'publish', params: [i32, i32, i32, i32, i32] },
  setReady: { module: 'loamlet:host/lifecycle@0.1.0', name: 'set-ready', params: [i32] },
  reading: {
    module: messaging,
    name: 'publish-reading',
    params: [i32, i32, i32, i32, 0x7c, i32, i32, i64, i32, i32],
  },
} as const;

export const vector = (items: readonly (readonly number[])[]): number[] => [...unsigned(items.length), ...items.flat()];
export const name = (text: string): number[] => {
  const bytes = [...Buffer.from(text)];
  return [...unsigned(bytes.length), ...bytes];
};
export const section = (id: number, content: readonly number[]): number[] => [
  id,
  ...unsigned(content.length),
  ...content,
];
export const body = (code: readonly number[], locals: readonly number[] = []): number[] => {
  const bytes = [...vector(locals.map((type) => [1, type])), ...code, 0x0b];
  return [...unsigned(bytes.length), ...bytes];
};

export const moduleOf = (...sections: readonly (readonly number[])[]): Buffer<ArrayBuffer> =>
  Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...sections.flat()]);

/** `() -> ()` as type 0. */
export const voidType = [0x60, 0, 0];
export const startExported = section(7, vector([[...name('_start'), 0, 0]]));

/** A sleep of so many milliseconds by `poll_oneoff` at function index `poll`: subscription at 64, event at 128. */
export const sleep = (poll: number, ms: number): number[] => [
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
  ...op.call(poll),
  ...op.drop,
];

/** Prints `length` bytes at `address`; iovec at 0. */
export const print = (write: number, address: number, length: number): number[] => [
  ...op.i32(0),
  ...op.i32(address),
  ...op.store(),
  ...op.i32(4),
  ...op.i32(length),
  ...op.store(),
  ...op.i32(1),
  ...op.i32(0),
  ...op.i32(1),
  ...op.i32(8),
  ...op.call(write),
  ...op.drop,
];
