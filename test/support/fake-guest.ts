import type { Grant } from '../../hostcalls/grant.ts';
import { emptyGrant } from '../../hostcalls/grant.ts';
import type { Guest, HostInterface } from '../../hostcalls/guest.ts';
import { GuestHandles } from '../../hostcalls/handles.ts';

/** A guest that is nothing but memory, for calling host functions with raw values as a module would. */
export class FakeGuest implements Guest {
  readonly name = 'default/fake/fake';
  readonly grant: Grant;
  readonly handles = new GuestHandles();
  readonly readiness: boolean[] = [];
  readonly ending = new AbortController();
  lives = 0;
  stopping = false;
  /** Grow, and with that move, memory at each allocation: what a careless host call trips over. */
  growing = true;
  readonly #memory = new WebAssembly.Memory({ initial: 1 });
  /** Arguments from here up, results at `result`, allocations in the pages that `allocate` adds. */
  #next = 1024;
  readonly result = 64;

  constructor(grant: Grant = emptyGrant) {
    this.grant = grant;
  }

  get signal(): AbortSignal {
    return this.ending.signal;
  }

  bytes(): Uint8Array {
    return new Uint8Array(this.#memory.buffer);
  }

  view(): DataView {
    return new DataView(this.#memory.buffer);
  }

  allocate(align: number, size: number): Promise<number> {
    if (size === 0) return Promise.resolve(align);
    if (this.growing) return Promise.resolve(this.#memory.grow(Math.ceil(size / 65_536)) * 65_536);
    this.#next = Math.ceil(this.#next / align) * align + size;
    return Promise.resolve(this.#next - size);
  }

  setReady(ready: boolean): void {
    this.readiness.push(ready);
  }

  alive(): void {
    this.lives++;
  }

  /** Puts bytes into memory; the address and length to pass on. */
  put(content: string | Uint8Array): [address: number, length: number] {
    const bytes = Buffer.from(content);
    const address = this.#next;
    this.bytes().set(bytes, address);
    this.#next += bytes.length;
    return [address, bytes.length];
  }

  /** The string whose address and length are at `at`, from the result on. */
  text(at: number): string {
    const view = this.view();
    const address = view.getUint32(this.result + at, true);
    return Buffer.from(this.bytes().slice(address, address + view.getUint32(this.result + at + 4, true))).toString();
  }

  /** Calls a function with raw core values, as the import would be. */
  async call(table: HostInterface, name: string, ...args: (number | bigint)[]): Promise<number | void> {
    const found = table.functions[name];
    if (found === undefined) throw new Error(`${table.module} has no ${name}`);
    return await found.call(this, ...(args as never[]));
  }

  /** The case at `caseAt` of a result that must be an error. */
  errorCase(caseAt: 4 | 8 = 4): number {
    if (this.view().getUint8(this.result) !== 1) throw new Error('the result is ok, not an error');
    return this.view().getUint8(this.result + caseAt);
  }
}
