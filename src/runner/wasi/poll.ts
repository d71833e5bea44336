import { clockId, clockMs, loadMs } from './clock.ts';
import { errno } from './errno.ts';
import { inMemory, type WasiFunctions, type WasiGuest } from './guest.ts';
import { isOpen } from './stream.ts';

const maxSubscriptions = 4096;
const eventSize = 32;
const eventType = { clock: 0, read: 1, write: 2 } as const;
const absolute = 1;
const hangup = 1;

/** Where a subscription of a clock has its fields; `wasi_unstable` has an identifier in front of them. */
interface Layout {
  readonly size: number;
  readonly clock: number;
  readonly timeout: number;
  readonly flags: number;
}
const preview1: Layout = { size: 48, clock: 16, timeout: 24, flags: 40 };
const unstable: Layout = { size: 56, clock: 24, timeout: 32, flags: 48 };

/** Milliseconds until a clock subscription is due; undefined for a clock that is not there. */
function delayMs(view: DataView, at: number, layout: Layout): number | undefined {
  const id = view.getUint32(at + layout.clock, true);
  if (id !== clockId.realtime && id !== clockId.monotonic) return undefined;
  const timeout = loadMs(view, at + layout.timeout);
  const relative = (view.getUint16(at + layout.flags, true) & absolute) === 0;
  return relative ? timeout : Math.max(0, timeout - clockMs(id)!);
}

/** An event that is ready at once, or the delay of one that is not. */
type Answer = { readonly error: number; readonly flags: number } | number;

function answer(guest: WasiGuest, view: DataView, at: number, layout: Layout): Answer {
  const type = view.getUint8(at + 8);
  if (type === eventType.clock) return delayMs(view, at, layout) ?? { error: errno.inval, flags: 0 };
  const fd = view.getUint32(at + 16, true);
  if ((type !== eventType.read && type !== eventType.write) || !isOpen(guest, fd))
    return { error: errno.badf, flags: 0 };
  if ((fd === 0) !== (type === eventType.read)) return { error: errno.badf, flags: 0 };
  // Input that is not there yet is waited for by fd_read itself.
  return { error: errno.success, flags: fd === 0 && !guest.input ? hangup : 0 };
}

/**
 * Waits for the first of `count` subscriptions. The events are stored before the guest is parked, as they are known by then: it
 * sees them only when it goes on. Streams are always ready.
 */
function poll(
  guest: WasiGuest,
  subscriptions: number,
  events: number,
  count: number,
  countAt: number,
  layout: Layout,
): number | Promise<unknown> {
  const n = count >>> 0;
  if (n === 0 || n > maxSubscriptions) return errno.inval;
  const input = subscriptions >>> 0;
  const output = events >>> 0;
  if (!inMemory(guest, input, n * layout.size) || !inMemory(guest, output, n * eventSize)) return errno.fault;
  if (!inMemory(guest, countAt, 4)) return errno.fault;
  const view = guest.view();
  if (n === 1 && view.getUint8(input + 8) === eventType.clock) {
    const delay = delayMs(view, input, layout);
    const low = view.getUint32(input, true);
    const high = view.getUint32(input + 4, true);
    store(view, output, low, high, eventType.clock, delay === undefined ? errno.inval : errno.success, 0);
    view.setUint32(countAt >>> 0, 1, true);
    return delay === undefined ? errno.success : wait(guest, delay);
  }
  return pollMany(guest, view, input, output, n, countAt >>> 0, layout);
}

function pollMany(
  guest: WasiGuest,
  view: DataView,
  input: number,
  output: number,
  n: number,
  countAt: number,
  layout: Layout,
): number | Promise<unknown> {
  let delay = Infinity;
  const ready: { low: number; high: number; type: number; answer: Answer }[] = [];
  for (let i = 0; i < n; i++) {
    const at = input + i * layout.size;
    const found = answer(guest, view, at, layout);
    const due = typeof found === 'number' ? found : 0;
    if (due < delay) {
      delay = due;
      ready.length = 0;
    }
    if (due === delay) {
      ready.push({
        low: view.getUint32(at, true),
        high: view.getUint32(at + 4, true),
        type: view.getUint8(at + 8),
        answer: found,
      });
    }
  }
  ready.forEach(({ low, high, type, answer }, i) => {
    const { error, flags } = typeof answer === 'number' ? { error: errno.success, flags: 0 } : answer;
    store(view, output + i * eventSize, low, high, type, error, flags);
  });
  view.setUint32(countAt, ready.length, true);
  return wait(guest, delay);
}

/** A guest that polls without a delay lets the others run all the same. */
function wait(guest: WasiGuest, delay: number): Promise<unknown> {
  return delay > 0 ? guest.sleep(delay) : guest.yieldNow();
}

function store(
  view: DataView,
  at: number,
  low: number,
  high: number,
  type: number,
  error: number,
  flags: number,
): void {
  view.setUint32(at, low, true);
  view.setUint32(at + 4, high, true);
  view.setUint32(at + 8, error | (type << 16), true);
  view.setUint32(at + 12, 0, true);
  view.setFloat64(at + 16, 0, true);
  view.setUint32(at + 24, flags, true);
  view.setUint32(at + 28, 0, true);
}

const pollWith = (layout: Layout): WasiFunctions => ({
  poll_oneoff: {
    kind: 'parking',
    call: (guest, subscriptions: number, events: number, count: number, countAt: number) =>
      poll(guest, subscriptions, events, count, countAt, layout),
  },
});

export const pollFunctions = pollWith(preview1);
export const unstablePollFunctions = pollWith(unstable);
