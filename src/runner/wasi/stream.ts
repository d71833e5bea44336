import { errno } from './errno.ts';
import { inMemory, type WasiFunctions, type WasiGuest } from './guest.ts';

/** The only descriptors there are: 0 standard input, 1 output, 2 error. */
export function isOpen(guest: WasiGuest, fd: number): boolean {
  return fd >= 0 && fd <= 2 && (guest.openFds & (1 << fd)) !== 0;
}

/** Most buffers in one read or write, as Linux has it. */
const maxBuffers = 1024;
const characterDevice = 2;
const right = { read: 1 << 1, write: 1 << 6, stat: 1 << 21, poll: 1 << 27 };

function write(guest: WasiGuest, fd: number, buffers: number, count: number, writtenAt: number): number {
  if (!isOpen(guest, fd) || fd === 0) return errno.badf;
  if (count >>> 0 > maxBuffers) return errno.inval;
  if (!inMemory(guest, buffers, 8 * count) || !inMemory(guest, writtenAt, 4)) return errno.fault;
  const view = guest.view();
  const memory = guest.bytes();
  const start = buffers >>> 0;
  for (let at = start; at < start + 8 * count; at += 8) {
    if (!inMemory(guest, view.getUint32(at, true), view.getUint32(at + 4, true))) return errno.fault;
  }
  const stream = fd === 1 ? 'stdout' : 'stderr';
  let written = 0;
  for (let at = start; at < start + 8 * count; at += 8) {
    const address = view.getUint32(at, true);
    const length = view.getUint32(at + 4, true);
    if (length > 0) guest.output.write(stream, memory.subarray(address, address + length));
    written += length;
  }
  view.setUint32(writtenAt >>> 0, written, true);
  return errno.success;
}

function read(guest: WasiGuest, fd: number, buffers: number, count: number, readAt: number): number | Promise<number> {
  if (!isOpen(guest, fd) || fd !== 0) return errno.badf;
  if (count >>> 0 > maxBuffers) return errno.inval;
  if (!inMemory(guest, buffers, 8 * count) || !inMemory(guest, readAt, 4)) return errno.fault;
  const view = guest.view();
  const start = buffers >>> 0;
  for (let at = start; at < start + 8 * count; at += 8) {
    const address = view.getUint32(at, true);
    const length = view.getUint32(at + 4, true);
    if (!inMemory(guest, address, length)) return errno.fault;
    // The first buffer with room is enough: a read may always be short.
    if (length > 0 && guest.input) return fill(guest, guest.input, address, length, readAt >>> 0);
  }
  view.setUint32(readAt >>> 0, 0, true);
  return errno.success;
}

async function fill(
  guest: WasiGuest,
  input: NonNullable<WasiGuest['input']>,
  address: number,
  length: number,
  readAt: number,
): Promise<number> {
  const bytes = await input.read(length, guest.signal);
  guest.bytes().set(bytes.subarray(0, length), address);
  guest.view().setUint32(readAt, Math.min(bytes.length, length), true);
  return errno.success;
}

/** A character device that can't seek is what libraries take for a terminal, and so write line by line: right for logs. */
function fdstat(guest: WasiGuest, fd: number, at: number): number {
  if (!isOpen(guest, fd)) return errno.badf;
  if (!inMemory(guest, at, 24)) return errno.fault;
  const start = at >>> 0;
  guest.bytes().fill(0, start, start + 24);
  guest.view().setUint8(start, characterDevice);
  guest.view().setUint32(start + 8, (fd === 0 ? right.read : right.write) | right.stat | right.poll, true);
  return errno.success;
}

/** @param size of the structure: 64 bytes, 56 in `wasi_unstable`, where the number of links has 4 bytes, not 8 */
function filestat(guest: WasiGuest, fd: number, at: number, size: 56 | 64): number {
  if (!isOpen(guest, fd)) return errno.badf;
  if (!inMemory(guest, at, size)) return errno.fault;
  const start = at >>> 0;
  guest.bytes().fill(0, start, start + size);
  guest.view().setUint8(start + 16, characterDevice);
  guest.view().setUint32(start + (size === 64 ? 24 : 20), 1, true);
  return errno.success;
}

/** For an operation that a stream does not have. */
function refused(error: number): WasiFunctions[string] {
  return { kind: 'plain', call: (guest: WasiGuest, fd: number) => (isOpen(guest, fd) ? error : errno.badf) };
}

export const streamFunctions: WasiFunctions = {
  fd_write: { kind: 'plain', call: write },
  fd_read: { kind: 'suspending', call: read },
  fd_close: {
    kind: 'plain',
    call(guest, fd: number) {
      if (!isOpen(guest, fd)) return errno.badf;
      guest.openFds &= ~(1 << fd);
      return errno.success;
    },
  },
  fd_fdstat_get: { kind: 'plain', call: fdstat },
  fd_fdstat_set_flags: refused(errno.success),
  fd_fdstat_set_rights: refused(errno.success),
  fd_filestat_get: { kind: 'plain', call: (guest, fd: number, at: number) => filestat(guest, fd, at, 64) },
  fd_seek: refused(errno.spipe),
  fd_tell: refused(errno.spipe),
  fd_pread: refused(errno.spipe),
  fd_pwrite: refused(errno.spipe),
  fd_advise: refused(errno.spipe),
  fd_allocate: refused(errno.inval),
  fd_sync: refused(errno.inval),
  fd_datasync: refused(errno.inval),
  fd_filestat_set_size: refused(errno.inval),
  fd_filestat_set_times: refused(errno.notsup),
  fd_readdir: refused(errno.notdir),
  fd_renumber: {
    kind: 'plain',
    call: (guest, from: number, to: number) => (isOpen(guest, from) && isOpen(guest, to) ? errno.notsup : errno.badf),
  },
  // The first descriptor that is no open folder ends a library's search for them.
  fd_prestat_get: { kind: 'plain', call: (_guest, _fd: number, _at: number) => errno.badf },
  fd_prestat_dir_name: { kind: 'plain', call: (_guest, _fd: number, _at: number, _length: number) => errno.badf },
};

/** What differs in `wasi_unstable`. (So does the order of whence in `fd_seek`, which no stream has.) */
export const unstableStreamFunctions: WasiFunctions = {
  fd_filestat_get: { kind: 'plain', call: (guest, fd: number, at: number) => filestat(guest, fd, at, 56) },
};
