/** The value below which this part of them lies. */
export function quantile(values: ArrayLike<number>, part: number): number {
  const sorted = Float64Array.from(values).sort();
  if (sorted.length === 0) throw new Error('no values');
  return sorted[Math.floor((sorted.length - 1) * part)]!;
}

export function median(values: ArrayLike<number>): number {
  return quantile(values, 0.5);
}
