import type { StringBlock } from '../string-block.ts';

/** Where standard output and error go. */
export interface Output {
  /** Copies what it keeps: the bytes are the guest's memory. */
  write(stream: 'stdout' | 'stderr', bytes: Uint8Array): void;
}

/** Where standard input comes from. */
export interface Input {
  /** Resolves to at least one byte and at most `length`; to none at the end. */
  read(length: number, signal: AbortSignal): Promise<Uint8Array>;
}

/** What WASI needs of the running instance. */
export interface WasiGuest {
  readonly args: StringBlock;
  readonly env: StringBlock;
  readonly output: Output;
  /** Absent: at its end. */
  readonly input: Input | undefined;
  readonly signal: AbortSignal;
  /** Bits 0, 1 and 2: which of the standard streams are open. */
  openFds: number;
  bytes(): Uint8Array;
  view(): DataView;
  /** For `parking` functions: they return this promise, and no other. */
  sleep(ms: number): Promise<unknown>;
  yieldNow(): Promise<unknown>;
  exit(code: number): never;
  trap(message: string): never;
}

/**
 * One WASI function, over raw core values. `parking` returns an errno at once or a promise of the scheduler;
 * `suspending` an errno at once or any promise of one.
 */
export type WasiFunction =
  | { readonly kind: 'plain'; call(guest: WasiGuest, ...args: never[]): number }
  | { readonly kind: 'parking'; call(guest: WasiGuest, ...args: never[]): number | Promise<unknown> }
  | { readonly kind: 'suspending'; call(guest: WasiGuest, ...args: never[]): number | Promise<number> };

export type WasiFunctions = Readonly<Record<string, WasiFunction>>;

/** True when `length` bytes at `address` (a raw i32) are memory of the guest. */
export function inMemory(guest: WasiGuest, address: number, length: number): boolean {
  return (address >>> 0) + length <= guest.bytes().length;
}
