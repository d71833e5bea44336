const suffixes: Readonly<Record<string, number>> = {
  '': 1,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/**
 * The number a Kubernetes quantity stands for: `64Mi` is 67108864, `250m` is 0.25; undefined when it is none.
 * Exponents (`1e3`) and the suffixes from `m` to `T` and `Ki` to `Ti` are read.
 */
export function parseQuantity(text: string | number): number | undefined {
  if (typeof text === 'number') return Number.isFinite(text) && text >= 0 ? text : undefined;
  const match = /^(\d+(?:\.\d*)?|\.\d+)(?:([eE][+-]?\d{1,2})|([A-Za-z]*))$/.exec(text);
  if (match === null) return undefined;
  const factor = suffixes[match[3] ?? ''];
  return factor === undefined ? undefined : Number(match[1] + (match[2] ?? '')) * factor;
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
