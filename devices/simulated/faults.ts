import { DeviceError } from '../contract.ts';
import type { Settings } from '../settings.ts';
import type { Profile } from './profile.ts';

/** Faults on demand, over any profile. */
export interface Faults {
  /** Not there when it is opened. */
  readonly missing: boolean;
  /** Every Nth read fails; 0: none. */
  readonly errorEvery: number;
  /** After this many reads the value no longer changes; 0: never. */
  readonly stuckAfter: number;
}

export const faultsUsage = 'faults: missing (true), errorEvery (N), stuckAfter (N reads)';

export function parseFaults(settings: Settings): Faults {
  return {
    missing: settings.flag('missing', false),
    errorEvery: settings.number('errorEvery', { min: 0, integer: true }, 0),
    stuckAfter: settings.number('stuckAfter', { min: 0, integer: true }, 0),
  };
}

export function withFaults(profile: Profile, { errorEvery, stuckAfter }: Faults): Profile {
  if (errorEvery === 0 && stuckAfter === 0) return profile;
  let reads = 0;
  let stuckAt: number | undefined;
  return {
    async sample(seconds) {
      reads++;
      if (errorEvery > 0 && reads % errorEvery === 0) {
        throw new DeviceError('unavailable', `simulated fault: every read number ${errorEvery} fails`);
      }
      const value = stuckAt ?? (await profile.sample(seconds));
      if (stuckAfter > 0 && reads >= stuckAfter) stuckAt = value;
      return value;
    },
  };
}
