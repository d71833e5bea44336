/**
 * The canonical ABI of lowered imports, as far as our interfaces need it: arguments are lifted out of the guest's memory,
 * results stored into the area whose address is the last parameter. Whatever a guest passes that can't be true ends it.
 *
 * The order in every host call: lift (copying) before the first await; compute the whole result; allocate; store.
 */
import { GuestTrap, type Guest } from './guest.ts';

/** Longest error text a guest is given, in UTF-16 units; the rest is cut. */
const maxErrorText = 1024;

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const utf8 = new TextEncoder();

/** A string or list in guest memory. */
export interface Slice {
  readonly address: number;
  readonly length: number;
}

/** The address and length of a string or list parameter. @throws GuestTrap when it reaches outside memory. */
export function slice(guest: Guest, address: number, length: number): Slice {
  const from = address >>> 0;
  const bytes = length >>> 0;
  if (from + bytes > guest.bytes().byteLength) {
    throw new GuestTrap(`passed ${bytes} bytes at ${from} to a host call, which is outside its memory`);
  }
  return { address: from, length: bytes };
}

/** A copy of a `list<u8>`. */
export function liftBytes(guest: Guest, { address, length }: Slice): Uint8Array {
  return guest.bytes().slice(address, address + length);
}

/** A `string`. @throws GuestTrap when it is not UTF-8. */
export function liftString(guest: Guest, { address, length }: Slice): string {
  try {
    return strictUtf8.decode(guest.bytes().subarray(address, address + length));
  } catch (cause) {
    throw new GuestTrap('passed a string to a host call that is not UTF-8', { cause });
  }
}

/** An enum's case. @throws GuestTrap when there is no such case. */
export function liftEnum<T>(cases: readonly T[], value: number): T {
  const found = cases[value >>> 0];
  if (found === undefined)
    throw new GuestTrap(`passed ${value >>> 0} to a host call for an enum of ${cases.length} cases`);
  return found;
}

/** Checks the address of a result area of `size` bytes. @throws GuestTrap */
export function resultArea(guest: Guest, address: number, size: number, align: number): number {
  const at = slice(guest, address, size).address;
  if (at % align !== 0)
    throw new GuestTrap(`passed ${at} as the address of a result, which is not aligned to ${align}`);
  return at;
}

/** Puts a string into memory that the guest then owns. Memory may have moved after it: take a new view. */
export async function lowerString(guest: Guest, text: string): Promise<Slice> {
  const encoded = utf8.encode(text);
  const address = await guest.allocate(1, encoded.length);
  guest.bytes().set(encoded, address);
  return { address, length: encoded.length };
}

export function storeSlice(view: DataView, at: number, { address, length }: Slice): void {
  view.setUint32(at, address, true);
  view.setUint32(at + 4, length, true);
}

/** `result<_, E>`, ok. */
export function storeOk(guest: Guest, at: number): void {
  guest.view().setUint8(at, 0);
}

/** `result<own<T>, E>`, ok (shape H). */
export function storeHandle(guest: Guest, at: number, handle: number): void {
  const view = guest.view();
  view.setUint8(at, 0);
  view.setUint32(at + 4, handle, true);
}

/** A case of an error variant; `message` exactly in the cases that carry a string. */
export interface ErrorValue {
  readonly discriminant: number;
  readonly message?: string;
}

/** `result<_, E>`, err: the case at `caseAt` (4, or 8 where the ok side is aligned to 8), its string 4 bytes on. */
export async function storeError(guest: Guest, at: number, caseAt: 4 | 8, error: ErrorValue): Promise<void> {
  const text = error.message === undefined ? undefined : await lowerString(guest, error.message.slice(0, maxErrorText));
  const view = guest.view();
  view.setUint8(at, 1);
  view.setUint8(at + caseAt, error.discriminant);
  if (text !== undefined) storeSlice(view, at + caseAt + 4, text);
}

/** Milliseconds with fractions, as u64 nanoseconds; without the 256 ns that a double loses at today's date. */
export function toNanoseconds(milliseconds: number): bigint {
  const whole = Math.floor(milliseconds);
  return BigInt(whole) * 1_000_000n + BigInt(Math.round((milliseconds - whole) * 1e6));
}

/** A raw i64 that is a u64 of nanoseconds, in milliseconds. */
export function toMilliseconds(nanoseconds: bigint): number {
  const unsigned = BigInt.asUintN(64, nanoseconds);
  return Number(unsigned / 1_000_000n) + Number(unsigned % 1_000_000n) / 1e6;
}
