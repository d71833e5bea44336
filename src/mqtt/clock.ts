import { existsSync, readFileSync } from 'node:fs';

/** A moment by both clocks of a machine whose wall clock may be wrong until the network is there. */
export interface Moment {
  /** Changes with each boot; `monotonicMs` counts within one. */
  readonly bootId: string;
  readonly monotonicMs: number;
  /** Milliseconds since the epoch. */
  readonly wallMs: number;
  /** False: nobody has set the wall clock since boot. */
  readonly clockSet: boolean;
}

export interface Clock {
  now(): Moment;
}

/** 2025-01-01: earlier times come from a Pi that woke without a network. */
const plausibleMs = Date.UTC(2025, 0, 1);

/** The kernel's boot id and monotonic clock; whether the wall clock is set, by systemd-timesyncd's mark where it runs. */
export function systemClock(): Clock {
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  let clockSet = false;
  return {
    now() {
      const wallMs = Date.now();
      // Once set it stays set, so the look at the file ends.
      clockSet ||=
        wallMs >= plausibleMs &&
        (!existsSync('/run/systemd/timesync') || existsSync('/run/systemd/timesync/synchronized'));
      return { bootId, monotonicMs: Math.round(Number(process.hrtime.bigint() / 1_000_000n)), wallMs, clockSet };
    },
  };
}

/** Milliseconds from `then` to `now`; undefined over a reboot with a clock that was not set on both sides. */
export function elapsedMs(then: Moment, now: Moment): number | undefined {
  if (then.bootId === now.bootId) return Math.max(0, now.monotonicMs - then.monotonicMs);
  return then.clockSet && now.clockSet ? Math.max(0, now.wallMs - then.wallMs) : undefined;
}
