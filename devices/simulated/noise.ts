import type { ProfileKind } from './profile.ts';

export interface NoiseOptions {
  readonly mean: number;
  /** Farthest from the mean. */
  readonly spread: number;
  readonly seed: number;
}

/** Wanders around a mean as a real sensor does; the same seed gives the same values. */
export const noise: ProfileKind<NoiseOptions> = {
  name: 'noise',
  usage: 'mean (40), spread (5), seed (1)',
  parse: (settings) => ({
    mean: settings.number('mean', {}, 40),
    spread: settings.number('spread', { min: 0 }, 5),
    seed: settings.number('seed', { min: 0, max: 0xffff_ffff, integer: true }, 1),
  }),
  range: ({ mean, spread }) => [mean - spread, mean + spread],
  open: ({ mean, spread, seed }) => {
    const random = mulberry32(seed);
    let offset = 0;
    return Promise.resolve({
      sample() {
        // Leaning back to the mean and bounded: |offset| <= 0.8 * 1 + 0.2.
        offset = 0.8 * offset + 0.2 * (2 * random() - 1);
        return mean + spread * offset;
      },
    });
  },
};

/** Tommy Ettinger's mulberry32: 32 bits of state, numbers in [0, 1). */
function mulberry32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
