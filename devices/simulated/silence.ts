import type { ProfileKind } from './profile.ts';

/** Never answers: what a reader makes of it is up to its deadline. */
export const silence: ProfileKind<Record<string, never>> = {
  name: 'silence',
  usage: 'never answers',
  parse: () => ({}),
  range: () => undefined,
  open: () => Promise.resolve({ sample: () => new Promise<never>(() => undefined) }),
};
