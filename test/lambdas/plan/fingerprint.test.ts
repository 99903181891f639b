import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { percentile, roundHalfEven } from "../../../lambdas/plan/arithmetic.ts";
import { fingerprintOf, mixtureQuantile, pool } from "../../../lambdas/plan/fingerprint.ts";
import { medianShape, targetSpacing, transposeFor } from "../../../lambdas/plan/geometry.ts";
import { normalisations } from "../../../lambdas/plan/normalisation.ts";
import type { Intensities } from "../../../lib/contracts/index.ts";
import { record } from "./fixture.ts";

function intensitiesOf(values: readonly number[]): Intensities {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return {
    count: values.length,
    mean,
    std: Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length),
    min: Math.min(...values),
    max: Math.max(...values),
    quantiles: Array.from({ length: 401 }, (_, i) => percentile(values, i / 4)),
  };
}

/** The same share of each case's voxels, as nnU-Net's equal draws with replacement converge to. */
const evenly = (cases: readonly (readonly number[])[], each: number) =>
  cases.flatMap((values) => {
    const sorted = values.toSorted((a, b) => a - b);
    return Array.from({ length: each }, (_, i) => sorted[Math.floor(((i + 0.5) / each) * sorted.length)]!);
  });

describe("pooled intensities", () => {
  // Two organs of very different size: the small case counts as much as the large one.
  const small = Array.from({ length: 200 }, (_, i) => 200 + (i % 40));
  const large = Array.from({ length: 3_600 }, (_, i) => -50 + (i % 90));

  it("weigh every case alike, whatever its foreground's size", () => {
    const pooled = pool([intensitiesOf(small), intensitiesOf(large)]);
    const drawn = evenly([small, large], 1_800);
    const expected = intensitiesOf(drawn);
    expect(pooled.mean).toBeCloseTo(expected.mean, 1);
    expect(pooled.std).toBeCloseTo(expected.std, 1);
    expect(Math.abs(pooled.percentile00_5 - percentile(drawn, 0.5))).toBeLessThan(0.5);
    expect(Math.abs(pooled.percentile99_5 - percentile(drawn, 99.5))).toBeLessThan(0.5);
  });

  it("of a single case are that case's own", () => {
    const values = Array.from({ length: 801 }, (_, i) => Math.sin(i) * 100);
    const pooled = pool([intensitiesOf(values)]);
    expect(pooled.percentile00_5).toBeCloseTo(percentile(values, 0.5), 6);
    expect(pooled.percentile99_5).toBeCloseTo(percentile(values, 99.5), 6);
  });

  it("come out at an atom where many voxels share a value", () => {
    const quantileOf = mixtureQuantile([Array(401).fill(7), Array.from({ length: 401 }, (_, i) => i / 40)]);
    expect(quantileOf(0.5)).toBe(7);
    expect(quantileOf(0.005)).toBeCloseTo(0.1, 6);
  });

  it("have quantiles that grow with the probability and stay within the cases' range", () => {
    const distribution = fc
      .array(fc.integer({ min: -1000, max: 1000 }), { minLength: 5, maxLength: 5 })
      .map((values) => values.toSorted((a, b) => a - b));
    fc.assert(
      fc.property(fc.array(distribution, { minLength: 1, maxLength: 6 }), (distributions) => {
        const quantileOf = mixtureQuantile(distributions);
        const found = Array.from({ length: 21 }, (_, i) => quantileOf(i / 20));
        expect(found).toEqual(found.toSorted((a, b) => a - b));
        expect(found[0]).toBeGreaterThanOrEqual(Math.min(...distributions.flat()));
        expect(found.at(-1)).toBe(Math.max(...distributions.flat()));
      }),
    );
  });

  it("leave cases without foreground out, as nnU-Net draws nothing from them", () => {
    const records = [record("a", { mean: 100 }), record("b", { mean: 900, foreground: 0 })];
    expect(fingerprintOf(records, 1).intensities![0]!.mean).toBe(100);
    expect(fingerprintOf([records[1]!], 1).intensities).toBeUndefined();
  });
});

describe("the target spacing", () => {
  const withSpacings = (spacings: [number, number, number][], shapeZyx: [number, number, number]) =>
    fingerprintOf(
      spacings.map((spacingMmZyx, i) => record(`case_${i}`, { spacingMmZyx, shapeZyx })),
      1,
    );

  it("is the median of each axis", () => {
    const fingerprint = withSpacings(
      [
        [1, 0.8, 0.8],
        [2, 0.9, 0.7],
        [3, 0.7, 0.9],
      ],
      [100, 512, 512],
    );
    expect(targetSpacing(fingerprint)).toEqual([2, 0.8, 0.8]);
  });

  it("takes the 10th percentile of a coarse axis with few slices (ACDC)", () => {
    const spacings = [5, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10].map((z) => [z, 1.5, 1.5] as [number, number, number]);
    expect(targetSpacing(withSpacings(spacings, [9, 256, 216]))).toEqual([10, 1.5, 1.5]);
    spacings[1] = [5, 1.5, 1.5];
    expect(targetSpacing(withSpacings(spacings, [9, 256, 216]))[0]).toBe(5);
    // As coarse, but with as many slices as the others have rows: the median stays.
    expect(targetSpacing(withSpacings(spacings, [200, 256, 216]))[0]).toBe(10);
  });

  it("never makes the coarse axis finer than the others", () => {
    const spacings = [0.5, 0.5, 10, 10, 10].map((z) => [z, 1.5, 1.5] as [number, number, number]);
    expect(targetSpacing(withSpacings(spacings, [9, 256, 216]))[0]).toBeCloseTo(1.50001, 8);
  });

  it("brings the coarsest axis to the front", () => {
    expect(transposeFor([1, 1, 1])).toEqual([0, 1, 2]);
    expect(transposeFor([0.9, 0.9, 5])).toEqual([2, 0, 1]);
    expect(transposeFor([0.9, 5, 0.9])).toEqual([1, 0, 2]);
  });

  it("rounds resampled shapes as Python does, and takes the shape after the crop", () => {
    const cropped = record("a", {
      shapeZyx: [20, 20, 20],
      box: [
        [5, 10],
        [0, 20],
        [0, 7],
      ],
    });
    expect(medianShape(fingerprintOf([cropped], 1), [2, 1, 2])).toEqual([2, 20, 4]);
    expect([0.5, 1.5, 2.5, 2.4999].map(roundHalfEven)).toEqual([0, 2, 2, 2]);
  });
});

describe("the normalisation of a channel", () => {
  const whole = fingerprintOf([record("a", { channels: 2 })], 2);

  it("follows the channel's name in any letter case; unknown names get a z-score", () => {
    const schemes = (names: string[]) =>
      normalisations(names, fingerprintOf([record("a", { channels: names.length })], names.length)).map(
        (item) => item.scheme,
      );
    expect(schemes(["CT", "ct", "noNorm", "zscore", "rescale_to_0_1", "rgb_to_0_1", "FLAIR"])).toEqual([
      "ct",
      "ct",
      "none",
      "zscore",
      "rescale-0-1",
      "rgb-0-1",
      "zscore",
    ]);
  });

  it("clips CT to the dataset's foreground", () => {
    expect(normalisations(["CT"], whole)[0]).toMatchObject({ scheme: "ct", mean: 100, std: 10 });
    const [ct] = normalisations(["CT"], whole);
    expect(ct!.scheme === "ct" && [ct!.clipLow, ct!.clipHigh].map((v) => Number(v.toFixed(6)))).toEqual([80.2, 119.8]);
  });

  it("masks the z-score where the crop leaves less than three quarters", () => {
    const box: [[number, number], [number, number], [number, number]] = [
      [0, 20],
      [0, 50],
      [0, 35],
    ];
    expect(normalisations(["MRI"], fingerprintOf([record("a", { box })], 1))).toEqual([
      { scheme: "zscore", masked: true },
    ]);
    expect(normalisations(["MRI"], whole)).toEqual([{ scheme: "zscore", masked: false }]);
  });
});
