import type { WasiFunctions } from './guest.ts';

export const processFunctions: WasiFunctions = {
  /** As on Linux, the lowest 8 bits are the exit code. */
  proc_exit: { kind: 'plain', call: (guest, code: number) => guest.exit(code & 0xff) },
  proc_raise: {
    kind: 'plain',
    call: (guest, signal: number) => guest.trap(`the module raised signal ${signal >>> 0}`),
  },
  sched_yield: { kind: 'parking', call: (guest) => guest.yieldNow() },
};
