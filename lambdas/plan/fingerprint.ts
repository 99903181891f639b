// The dataset's fingerprint, pooled from the case records (nnU-Net v2, fingerprint_extractor.py; recipe.md 1.1).
import type { CaseRecord, Intensities } from "../../lib/contracts/index.ts";
import { median, product, type Triple } from "./arithmetic.ts";

/** Foreground intensities of one channel over the dataset, every case with the same weight. */
export interface PooledIntensities {
  mean: number;
  std: number;
  percentile00_5: number;
  percentile99_5: number;
}

export interface Fingerprint {
  /** A case's shape after the crop to its nonzero box, z, y, x. */
  croppedShapesZyx: Triple[];
  spacingsMmZyx: Triple[];
  /** Median over cases of voxels after the crop / voxels before. */
  medianRelativeSize: number;
  /** One a channel; undefined where no case has any foreground. */
  intensities: PooledIntensities[] | undefined;
}

const hasForeground = (record: CaseRecord) =>
  Object.entries(record.labelVoxels ?? {}).some(([value, voxels]) => Number(value) > 0 && voxels > 0);

/** Shape of a case's nonzero box, in the image's axes. */
export const croppedShape = ({ nonzeroBoxZyx: [z, y, x] }: CaseRecord): Triple => [
  z[1] - z[0],
  y[1] - y[0],
  x[1] - x[0],
];

/** @param records - of the training cases, at least one */
export function fingerprintOf(records: readonly CaseRecord[], channels: number): Fingerprint {
  const croppedShapesZyx = records.map(croppedShape);
  // nnU-Net draws as many samples (with replacement) from every case that has foreground, and none from the others.
  const withForeground = records.filter(hasForeground);
  return {
    croppedShapesZyx,
    spacingsMmZyx: records.map((record) => record.spacingMmZyx),
    medianRelativeSize: median(
      records.map((record, i) => product(croppedShapesZyx[i]!) / product(record.shapeZyx as number[])),
    ),
    intensities:
      withForeground.length === 0
        ? undefined
        : Array.from({ length: channels }, (_, channel) => pool(withForeground.map((r) => r.channels[channel]!))),
  };
}

/** The mixture of the cases' distributions with equal weights: what nnU-Net's samples converge to. */
export function pool(cases: readonly Intensities[]): PooledIntensities {
  const average = (of: (item: Intensities) => number) => cases.reduce((sum, item) => sum + of(item), 0) / cases.length;
  const mean = average((item) => item.mean);
  // Variance of a mixture: within the cases, and between them.
  const variance = average((item) => item.std ** 2 + (item.mean - mean) ** 2);
  const quantileOf = mixtureQuantile(cases.map((item) => item.quantiles));
  return {
    mean,
    std: Math.sqrt(variance),
    percentile00_5: quantileOf(0.005),
    percentile99_5: quantileOf(0.995),
  };
}

/**
 * Quantile function of the equal-weight mixture of distributions, each given by its quantiles at equal steps from 0
 * to 1. Between two quantiles a distribution is taken as uniform; equal neighbours are an atom (whole HU make many).
 */
export function mixtureQuantile(distributions: readonly (readonly number[])[]): (p: number) => number {
  const knots = [...new Set(distributions.flat())].sort((a, b) => a - b);
  const upTo = (x: number) => average(distributions, (quantiles) => cumulative(quantiles, x, true));
  const below = (x: number) => average(distributions, (quantiles) => cumulative(quantiles, x, false));
  return (p) => {
    let low = 0;
    let high = knots.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (upTo(knots[middle]!) >= p) high = middle;
      else low = middle + 1;
    }
    const knot = knots[low]!;
    const atKnotFromBelow = below(knot);
    if (low === 0 || atKnotFromBelow <= p) return knot;
    // Between two neighbouring knots the mixture's distribution function is a straight line.
    const previous = knots[low - 1]!;
    const atPrevious = upTo(previous);
    return previous + ((knot - previous) * (p - atPrevious)) / (atKnotFromBelow - atPrevious);
  };
}

function average<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((sum, item) => sum + of(item), 0) / items.length;
}

/** P(X <= x), or P(X < x) when not inclusive, of a distribution given by its quantiles at equal steps. */
function cumulative(quantiles: readonly number[], x: number, inclusive: boolean): number {
  const last = quantiles.length - 1;
  // Number of quantiles that are <= x (or < x).
  let low = 0;
  let high = quantiles.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (inclusive ? quantiles[middle]! <= x : quantiles[middle]! < x) low = middle + 1;
    else high = middle;
  }
  if (low === 0) return 0;
  if (low > last) return 1;
  const from = quantiles[low - 1]!;
  const to = quantiles[low]!;
  return (low - 1 + (x - from) / (to - from)) / last;
}
