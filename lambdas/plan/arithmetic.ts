// numpy's and Python's arithmetic where nnU-Net's plans depend on it to the last voxel.

export type Triple = [number, number, number];

/** Python's round(): to the nearest whole number, halves to the even one. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/**
 * numpy.percentile of unsorted values with linear interpolation.
 *
 * @param percent - 0 to 100
 */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const position = (sorted.length - 1) * (percent / 100);
  const below = Math.floor(position);
  const low = sorted[below]!;
  const high = sorted[Math.min(below + 1, sorted.length - 1)]!;
  const t = position - below;
  // numpy interpolates from the nearer end, which keeps the function monotonic in floating point.
  return t < 0.5 ? low + (high - low) * t : high - (high - low) * (1 - t);
}

export const median = (values: readonly number[]): number => percentile(values, 50);

export const product = (values: readonly number[]): number => values.reduce((all, value) => all * value, 1);

/** Position of the largest value, the first of equals (numpy.argmax). */
export const argmax = (values: readonly number[]): number => values.indexOf(Math.max(...values));

export const map3 = (values: readonly number[], f: (value: number, axis: number) => number): Triple => [
  f(values[0]!, 0),
  f(values[1]!, 1),
  f(values[2]!, 2),
];

/** Values of image axes z, y, x in the order of the arrays' axes. */
export const transposed = (values: readonly number[], transpose: readonly number[]): Triple =>
  map3(transpose, (axis) => values[axis]!);
