const suffixes: Readonly<Record<string, number>> = {
  '': 1,
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/**
 * The number a Kubernetes quantity stands for: `64Mi` is 67108864, `250m` is 0.25; undefined when it is none.
 * Exponents (`1e3`) and the suffixes from `n` to `E` and `Ki` to `Ei` are read; more than a number can hold is none.
 */
export function parseQuantity(text: string | number): number | undefined {
  if (typeof text === 'number') return Number.isFinite(text) && text >= 0 ? text : undefined;
  const match = /^(\d+(?:\.\d*)?|\.\d+)(?:([eE][+-]?\d{1,2})|([A-Za-z]*))$/.exec(text);
  if (match === null) return undefined;
  const factor = suffixes[match[3] ?? ''];
  if (factor === undefined) return undefined;
  const value = Number(match[1] + (match[2] ?? '')) * factor;
  return Number.isFinite(value) ? value : undefined;
}

/** Bytes as a person writes them in a manifest: `64Mi`. */
export function formatBytes(bytes: number): string {
  for (const [suffix, unit] of [
    ['Gi', 2 ** 30],
    ['Mi', 2 ** 20],
    ['Ki', 2 ** 10],
  ] as const) {
    if (bytes >= unit) return `${Math.round((bytes / unit) * 10) / 10}${suffix}`;
  }
  return `${bytes}`;
}
