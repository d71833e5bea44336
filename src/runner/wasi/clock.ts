import { errno } from './errno.ts';
import { inMemory, type WasiFunctions, type WasiGuest } from './guest.ts';

export const clockId = { realtime: 0, monotonic: 1 } as const;
const resolutionNs = 1000;

/** Wall time minus monotonic time, in milliseconds: it jumps when the clock is set, which a Pi without a clock battery is. */
let offset = Date.now() - performance.now();

/** Milliseconds since the epoch, with fractions. */
function realtimeMs(): number {
  const monotonic = performance.now();
  const now = Date.now() - monotonic;
  if (Math.abs(now - offset) > 2) offset = now;
  return offset + monotonic;
}

/** Milliseconds of a clock; undefined for one that is not there (CPU time clocks). */
export function clockMs(id: number): number | undefined {
  if (id === clockId.monotonic) return performance.now();
  if (id === clockId.realtime) return realtimeMs();
  return undefined;
}

/** Stores milliseconds as u64 nanoseconds, without a BigInt. */
function storeNs(view: DataView, at: number, ms: number): void {
  const whole = Math.floor(ms);
  const ns = Math.floor((ms - whole) * 1e6);
  // ms * 1e6 has more than 53 bits: split so that each product has fewer.
  const highMs = Math.floor(whole / 0x1_0000);
  const lowNs = (whole - highMs * 0x1_0000) * 1e6 + ns;
  const highNs = highMs * 1e6; // times 2^16
  const carry = Math.floor(((highNs & 0xffff) * 0x1_0000 + lowNs) / 0x1_0000_0000);
  view.setUint32(at, ((highNs & 0xffff) * 0x1_0000 + lowNs) % 0x1_0000_0000, true);
  view.setUint32(at + 4, Math.floor(highNs / 0x1_0000) + carry, true);
}

/** Milliseconds of a u64 of nanoseconds. */
export function loadMs(view: DataView, at: number): number {
  return (view.getUint32(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true)) / 1e6;
}

function time(guest: WasiGuest, id: number, resultAt: number): number {
  const ms = clockMs(id);
  if (ms === undefined) return id === 2 || id === 3 ? errno.notsup : errno.inval;
  if (!inMemory(guest, resultAt, 8)) return errno.fault;
  storeNs(guest.view(), resultAt >>> 0, ms);
  return errno.success;
}

export const clockFunctions: WasiFunctions = {
  clock_time_get: {
    kind: 'plain',
    call: (guest, id: number, _precision: bigint, result: number) => time(guest, id, result),
  },
  clock_res_get: {
    kind: 'plain',
    call(guest, id: number, result: number) {
      if (clockMs(id) === undefined) return id === 2 || id === 3 ? errno.notsup : errno.inval;
      if (!inMemory(guest, result, 8)) return errno.fault;
      guest.view().setUint32(result >>> 0, resolutionNs, true);
      guest.view().setUint32((result >>> 0) + 4, 0, true);
      return errno.success;
    },
  },
};
