import { GuestTrap, type HandleTable } from './guest.ts';

interface Entry {
  readonly kind: string;
  readonly resource: object;
}

/** Largest handle given out: 0 means "none" to Go, 0xffffffff is asserted against by Rust. */
const lastHandle = 0x7fff_ffff;

/** The resources of one instance. A number is not given out again before all others were. */
export class GuestHandles implements HandleTable {
  readonly #entries = new Map<number, Entry>();
  readonly #closing = new Set<Promise<void>>();
  readonly #limit: number;
  #next = 1;

  /** @param limit open handles at most; the next one traps. @default 256 */
  constructor(limit = 256) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#entries.size;
  }

  add(kind: string, resource: AsyncDisposable | Disposable | object): number {
    if (this.#entries.size >= this.#limit) {
      throw new GuestTrap(
        `holds ${this.#limit} host resources, which is the most allowed: drop those it has done with`,
      );
    }
    while (this.#entries.has(this.#next)) this.#advance();
    const handle = this.#next;
    this.#advance();
    this.#entries.set(handle, { kind, resource });
    return handle;
  }

  get<T>(kind: string, handle: number): T {
    return this.#entry(kind, handle).resource as T;
  }

  drop(kind: string, handle: number): void {
    const { resource } = this.#entry(kind, handle);
    this.#entries.delete(handle >>> 0);
    this.#close(resource);
  }

  async closeAll(): Promise<void> {
    const open = [...this.#entries.values()].reverse();
    this.#entries.clear();
    for (const { resource } of open) this.#close(resource);
    await Promise.all(this.#closing);
  }

  #entry(kind: string, handle: number): Entry {
    const entry = this.#entries.get(handle >>> 0);
    if (entry === undefined) throw new GuestTrap(`used handle ${handle >>> 0}, which it does not hold`);
    if (entry.kind !== kind) throw new GuestTrap(`used handle ${handle >>> 0} as a ${kind}, but it is a ${entry.kind}`);
    return entry;
  }

  #advance(): void {
    this.#next = this.#next === lastHandle ? 1 : this.#next + 1;
  }

  /** Dropping does not wait and can't fail for the guest; `closeAll` waits for what is still closing. */
  #close(resource: object): void {
    if (Symbol.asyncDispose in resource) {
      const closing = Promise.resolve((resource as AsyncDisposable)[Symbol.asyncDispose]())
        .catch(() => undefined)
        .then(() => void this.#closing.delete(closing));
      this.#closing.add(closing);
    } else if (Symbol.dispose in resource) {
      (resource as Disposable)[Symbol.dispose]();
    }
  }
}
