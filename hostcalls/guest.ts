/**
 * Where host calls and executor meet. An interface (`hostcalls/sensors.ts`, ...) is a table of functions over a `Guest`;
 * the executor (`src/runner`) makes WebAssembly imports of them, once per process, shared by all instances.
 */
import type { Grant } from './grant.ts';

/** The running instance a host call works for. */
export interface Guest {
  /** For messages: `namespace/pod/container`. */
  readonly name: string;
  readonly grant: Grant;
  /** Aborts when the instance ends or is killed; waiting host calls pass it on. */
  readonly signal: AbortSignal;
  /** Resources the instance holds; closed by the executor when the instance ends, however it ends. */
  readonly handles: HandleTable;
  /** True from the moment the container is asked to stop. */
  readonly stopping: boolean;
  /** All of memory now. Never keep it over an `await` or an `allocate`: growth detaches it. */
  bytes(): Uint8Array;
  view(): DataView;
  /**
   * Calls the guest's `cabi_realloc(0, 0, align, size)` and checks the range it gives back. Resolves to the address; to
   * `align` for size 0. @throws GuestTrap when the module has no such export or answers outside its memory.
   */
  allocate(align: number, size: number): Promise<number>;
  /** `lifecycle.set-ready` and `lifecycle.alive`. */
  setReady(ready: boolean): void;
  alive(): void;
}

/** Ends the guest as a trap does; the message is what its log and its container status show. */
export class GuestTrap extends Error {
  override name = 'GuestTrap';
}

/**
 * One import. `plain` returns at once; `suspending` parks the guest until the promise settles, whatever it resolves to
 * is ignored: results are stored to memory. Arguments are raw core values: i32 as signed number, i64 as BigInt.
 * A `suspending` call copies what it needs from memory before its first `await`.
 * Throwing (or rejecting with) anything ends the guest with a trap.
 */
export type HostFunction =
  | { readonly kind: 'plain'; call(guest: Guest, ...args: never[]): number | void }
  | { readonly kind: 'suspending'; call(guest: Guest, ...args: never[]): Promise<void> };

export interface HostInterface {
  /** The import's module name: `loamlet:host/sensors@0.1.0`. */
  readonly module: string;
  readonly functions: Readonly<Record<string, HostFunction>>;
}

/** Resources by handle; handles are never 0 or 0xffffffff and bounded in number (`hostcalls/handles.ts`). */
export interface HandleTable {
  /** @throws GuestTrap at the bound. */
  add(kind: string, resource: AsyncDisposable | Disposable | object): number;
  /** @throws GuestTrap for a handle that was dropped, never given, or is of another kind. */
  get<T>(kind: string, handle: number): T;
  drop(kind: string, handle: number): void;
  closeAll(): Promise<void>;
}
