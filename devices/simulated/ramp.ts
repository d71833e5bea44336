import type { ProfileKind } from './profile.ts';

export interface RampOptions {
  readonly from: number;
  readonly to: number;
  /** Seconds from one end to the other. */
  readonly seconds: number;
}

/** Goes from one end to the other and back, for ever. */
export const ramp: ProfileKind<RampOptions> = {
  name: 'ramp',
  usage: 'from (0), to (100), seconds (60): up and down again',
  parse: (settings) => ({
    from: settings.number('from', {}, 0),
    to: settings.number('to', {}, 100),
    seconds: settings.number('seconds', { min: 0.001, max: 1e9 }, 60),
  }),
  range: ({ from, to }) => [Math.min(from, to), Math.max(from, to)],
  open: ({ from, to, seconds }) =>
    Promise.resolve({
      sample(now) {
        const phase = (now / seconds) % 2;
        return from + (to - from) * (phase <= 1 ? phase : 2 - phase);
      },
    }),
};
