import type { StringBlock } from '../string-block.ts';
import { errno } from './errno.ts';
import { inMemory, type WasiFunctions, type WasiGuest } from './guest.ts';

function sizes(guest: WasiGuest, block: StringBlock, countAt: number, sizeAt: number): number {
  if (!inMemory(guest, countAt, 4) || !inMemory(guest, sizeAt, 4)) return errno.fault;
  const view = guest.view();
  view.setUint32(countAt >>> 0, block.offsets.length, true);
  view.setUint32(sizeAt >>> 0, block.bytes.length, true);
  return errno.success;
}

function copy(guest: WasiGuest, block: StringBlock, pointersAt: number, bytesAt: number): number {
  if (!inMemory(guest, pointersAt, 4 * block.offsets.length) || !inMemory(guest, bytesAt, block.bytes.length)) {
    return errno.fault;
  }
  const view = guest.view();
  const base = bytesAt >>> 0;
  let at = pointersAt >>> 0;
  for (const offset of block.offsets) {
    view.setUint32(at, base + offset, true);
    at += 4;
  }
  guest.bytes().set(block.bytes, base);
  return errno.success;
}

/** Arguments and environment. */
export const stringFunctions: WasiFunctions = {
  args_sizes_get: {
    kind: 'plain',
    call: (guest, count: number, size: number) => sizes(guest, guest.args, count, size),
  },
  args_get: { kind: 'plain', call: (guest, argv: number, bytes: number) => copy(guest, guest.args, argv, bytes) },
  environ_sizes_get: {
    kind: 'plain',
    call: (guest, count: number, size: number) => sizes(guest, guest.env, count, size),
  },
  environ_get: {
    kind: 'plain',
    call: (guest, environ: number, bytes: number) => copy(guest, guest.env, environ, bytes),
  },
};
