import type { Grant } from '../../hostcalls/grant.ts';
import { GuestTrap, type Guest } from '../../hostcalls/guest.ts';
import { GuestHandles } from '../../hostcalls/handles.ts';
import { scheduler, type Task } from './scheduler.ts';
import type { StringBlock } from './string-block.ts';
import type { WheelEntry } from './timer-wheel.ts';
import { uncatchable } from './uncatchable.ts';
import type { Input, Output, WasiGuest } from './wasi/guest.ts';

/** Why an instance ended, decided before its stack unwinds; the first cause stays. */
export type Ending =
  | { readonly kind: 'exit'; readonly code: number }
  | { readonly kind: 'trap'; readonly message: string }
  /** A trap after its memory could not grow. */
  | { readonly kind: 'outOfMemory'; readonly message: string }
  | { readonly kind: 'killed'; readonly code: number; readonly message: string };

export interface InstanceOptions {
  /** Of the container it runs. */
  readonly id: string;
  /** For messages: `namespace/pod/container`. */
  readonly name: string;
  readonly grant: Grant;
  readonly args: StringBlock;
  readonly env: StringBlock;
  readonly output: Output;
  /** Absent: at its end from the start. */
  readonly input?: Input;
  onReady?(ready: boolean): void;
  onAlive?(): void;
}

const noBytes = new Uint8Array(0);
/** Calls of one instance that wait within each other's `cabi_realloc`; each holds a stack. Go needs a few. */
const maxNestedAllocations = 16;
const noView = new DataView(new ArrayBuffer(0));

/**
 * One running module: what host calls and WASI see of it, and what the scheduler keeps of it. Thousands of these exist, so
 * what few need is made on first use.
 */
export class Instance implements Guest, WasiGuest, Task {
  readonly id: string;
  readonly name: string;
  readonly grant: Grant;
  readonly args: StringBlock;
  readonly env: StringBlock;
  readonly output: Output;
  readonly input: Input | undefined;
  openFds = 0b111;
  stopping = false;
  /** Set once instantiated. */
  exports: WebAssembly.Instance['exports'] = {};
  ending: Ending | undefined = undefined;
  finished = false;

  resolve: ((value: unknown) => void) | null = null;
  reject: ((error: unknown) => void) | null = null;
  result: number | void = undefined;
  outerWaits: { resolve: (value: unknown) => void; reject: (error: unknown) => void }[] | null = null;
  due = 0;
  wheelSlot = -1;
  wheelNext: WheelEntry | null = null;
  wheelPrev: WheelEntry | null = null;

  readonly #options: InstanceOptions;
  readonly #memory: WebAssembly.Memory | null;
  #bytes: Uint8Array<ArrayBuffer> = noBytes;
  #view = noView;
  #abort: AbortController | undefined;
  #handles: GuestHandles | undefined;
  #realloc: ((...args: number[]) => Promise<unknown>) | undefined;
  #allocating = 0;

  constructor(options: InstanceOptions, memory: WebAssembly.Memory | null) {
    this.id = options.id;
    this.name = options.name;
    this.grant = options.grant;
    this.args = options.args;
    this.env = options.env;
    this.output = options.output;
    this.input = options.input;
    this.#options = options;
    this.#memory = memory;
  }

  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController();
      if (this.ending || this.finished) this.#abort.abort(uncatchable);
    }
    return this.#abort.signal;
  }

  get handles(): GuestHandles {
    return (this.#handles ??= new GuestHandles());
  }

  get memoryBytes(): number {
    return this.#memory?.buffer.byteLength ?? 0;
  }

  bytes(): Uint8Array {
    if (this.#bytes.length === 0) this.#refresh();
    return this.#bytes;
  }

  view(): DataView {
    if (this.#bytes.length === 0) this.#refresh();
    return this.#view;
  }

  /** Growing memory detaches its old buffer, which leaves views of length 0. */
  #refresh(): void {
    if (!this.#memory) return;
    this.#bytes = new Uint8Array(this.#memory.buffer);
    this.#view = new DataView(this.#memory.buffer);
  }

  async allocate(align: number, size: number): Promise<number> {
    if (size === 0) return align;
    // Never before the host call that asks has parked its guest: what the allocator waits for must be the innermost wait.
    await Promise.resolve();
    // Whatever the host call waited for, its guest may have ended meanwhile: none of its code runs again.
    if (this.ending || this.finished) throw uncatchable;
    if (this.#allocating >= maxNestedAllocations) {
      throw new GuestTrap(
        `made host calls within its cabi_realloc, ${maxNestedAllocations} deep, which is the most allowed`,
      );
    }
    this.#allocating++;
    let address: number;
    try {
      address = Number(await this.#callRealloc(align, size)) >>> 0;
    } finally {
      this.#allocating--;
    }
    if (this.ending) throw uncatchable;
    if (address % align !== 0 || address + size > this.bytes().length) {
      throw new GuestTrap(`its cabi_realloc answered address ${address} for ${size} bytes, which is not usable memory`);
    }
    return address;
  }

  /** Through `promising`: a Go guest may reach a suspending import from within its allocator. */
  #callRealloc(align: number, size: number): Promise<unknown> {
    if (!this.#realloc) {
      const { cabi_realloc: realloc } = this.exports;
      if (typeof realloc !== 'function')
        throw new GuestTrap('exports no cabi_realloc, which the host call it made needs');
      this.#realloc = WebAssembly.promising(realloc);
    }
    const before = scheduler.current;
    scheduler.current = this;
    try {
      return this.#realloc(0, 0, align, size);
    } finally {
      scheduler.current = before;
    }
  }

  setReady(ready: boolean): void {
    this.#options.onReady?.(ready);
  }

  alive(): void {
    this.#options.onAlive?.();
  }

  sleep(ms: number): Promise<unknown> {
    return scheduler.sleep(this, ms);
  }

  /** Lets the others run first. */
  yieldNow(): Promise<unknown> {
    const parked = scheduler.park(this);
    scheduler.wake(this, 0);
    return parked;
  }

  exit(code: number): never {
    this.ending ??= { kind: 'exit', code };
    throw uncatchable;
  }

  trap(message: string): never {
    this.ending ??= { kind: 'trap', message };
    throw uncatchable;
  }

  /** Ends it from outside. One that waits ends now; one that runs, at its next host call. */
  kill(code: number, message: string): void {
    if (this.finished) return;
    this.ending ??= { kind: 'killed', code, message };
    this.#abort?.abort(uncatchable);
    scheduler.end(this);
  }

  /** A host call failed beyond what the guest can be told. */
  fail(error: unknown): void {
    this.ending ??= { kind: 'trap', message: trapMessage(error) };
    this.#abort?.abort(uncatchable);
    scheduler.end(this);
  }

  /** Once its stack is gone: closes what it held. */
  async close(): Promise<void> {
    this.finished = true;
    this.#abort?.abort(uncatchable);
    scheduler.end(this);
    await this.#handles?.closeAll();
  }
}

/** What ended a guest, in one line, from the error that came out of its stack. */
export function trapMessage(error: unknown): string {
  if (error instanceof GuestTrap) return `the module ${error.message}`;
  if (error instanceof WebAssembly.RuntimeError) return `wasm trap: ${error.message}`;
  if (error instanceof RangeError) return 'wasm trap: call stack exhausted';
  if (error instanceof WebAssembly.Exception) return 'wasm trap: uncaught exception';
  return `a host call failed: ${error instanceof Error ? error.message.split('\n', 1)[0] : String(error)}`;
}
