/** The q-quantile (0 … 1) with linear interpolation. */
export function quantile(samples: readonly number[], q: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const low = Math.floor(at);
  const high = Math.ceil(at);
  return sorted[low]! + (sorted[high]! - sorted[low]!) * (at - low);
}

export const median = (samples: readonly number[]): number => quantile(samples, 0.5);

export const geometricMean = (samples: readonly number[]): number =>
  Math.exp(samples.reduce((sum, sample) => sum + Math.log(sample), 0) / samples.length);
