import { randomFillSync } from 'node:crypto';
import { errno } from './errno.ts';
import { inMemory, type WasiFunctions } from './guest.ts';

export const randomFunctions: WasiFunctions = {
  random_get: {
    kind: 'plain',
    call(guest, address: number, length: number) {
      if (!inMemory(guest, address, length >>> 0)) return errno.fault;
      randomFillSync(guest.bytes(), address >>> 0, length >>> 0);
      return errno.success;
    },
  },
};
