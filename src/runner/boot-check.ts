import { readFileSync } from 'node:fs';
import { LoamletError } from '../base/errors.ts';

/** Address space of this process, in bytes. */
function addressSpace(): number {
  return Number(/VmSize:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? 0) * 1024;
}

/**
 * That V8's flags took. A memory whose maximum is 16 MiB must not take more address space than that and some: with the trap
 * handler on it takes 10 GB. @throws LoamletError
 */
export function checkFlags(): void {
  if (!globalThis.gc || typeof WebAssembly.promising !== 'function') {
    throw new LoamletError('BadFlags', 'us', 'the runner was started without the flags it needs');
  }
  const before = addressSpace();
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 256 });
  const taken = addressSpace() - before;
  if (memory.buffer.byteLength !== 65_536 || taken > 256 << 20) {
    throw new LoamletError(
      'BadFlags',
      'us',
      `one module's memory takes ${Math.round(taken / 2 ** 20)} MiB of address space`,
      {
        remedy: 'Loamlet needs the Node.js it was made for (26.10)',
      },
    );
  }
}
