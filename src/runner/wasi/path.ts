import { errno } from './errno.ts';
import { isOpen } from './stream.ts';
import type { WasiFunctions, WasiGuest } from './guest.ts';

/** There is no folder to start from: a module has the three standard streams and nothing else. */
function answer(guest: WasiGuest, fd: number): number {
  return isOpen(guest, fd) ? errno.notdir : errno.badf;
}

const byFd = { kind: 'plain', call: (guest: WasiGuest, fd: number) => answer(guest, fd) } as const;

/** `path_symlink` names its folder second; `path_link` and `path_rename` fail on their first already. */
export const pathFunctions: WasiFunctions = {
  path_create_directory: byFd,
  path_filestat_get: byFd,
  path_filestat_set_times: byFd,
  path_link: byFd,
  path_open: byFd,
  path_readlink: byFd,
  path_remove_directory: byFd,
  path_rename: byFd,
  path_symlink: { kind: 'plain', call: (guest, _path: number, _length: number, fd: number) => answer(guest, fd) },
  path_unlink_file: byFd,
};
