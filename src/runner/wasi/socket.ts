import { errno } from './errno.ts';
import { isOpen } from './stream.ts';
import type { WasiFunctions, WasiGuest } from './guest.ts';

/** Modules have no sockets. */
function answer(guest: WasiGuest, fd: number): number {
  return isOpen(guest, fd) ? errno.notsock : errno.badf;
}

export const socketFunctions: WasiFunctions = {
  sock_accept: { kind: 'plain', call: (guest, fd: number, _flags: number, _result: number) => answer(guest, fd) },
  sock_recv: {
    kind: 'plain',
    call: (guest, fd: number, _iovs: number, _count: number, _flags: number, _size: number, _roFlags: number) =>
      answer(guest, fd),
  },
  sock_send: {
    kind: 'plain',
    call: (guest, fd: number, _iovs: number, _count: number, _flags: number, _size: number) => answer(guest, fd),
  },
  sock_shutdown: { kind: 'plain', call: (guest, fd: number, _how: number) => answer(guest, fd) },
};
