import type { ProfileKind } from './profile.ts';

export const constant: ProfileKind<{ value: number }> = {
  name: 'constant',
  usage: 'value (40)',
  parse: (settings) => ({ value: settings.number('value', {}, 40) }),
  range: () => undefined,
  open: ({ value }) => Promise.resolve({ sample: () => value }),
};
