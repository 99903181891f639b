import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  compareNights,
  type NightlyRequest,
  nightsBefore,
  regressionSentences,
  worstOf,
} from "../../../lambdas/report/nightly.ts";
import { keys, type Night, type NightRow, nightlyComparison, under } from "../../../lib/contracts/index.ts";
import { aRequest } from "../../workflow/run.ts";
import { MemoryStore } from "./memory-store.ts";

const night = (rows: NightRow[], at = "2026-11-24T02:00:00Z"): Night => ({
  schema: 1,
  dataset: "phantoms",
  night: at,
  runId: "phantoms-0123456789ab-1",
  version: "1",
  rows,
});
const row = (changes: Partial<NightRow> = {}): NightRow => ({
  row: "fold0 fused",
  device: "1 x H100, bf16",
  volumesPerSecond: 10,
  dice: 0.9,
  ...changes,
});

describe("a night against the nights before", () => {
  test("is compared with their median, whatever their number and order", () => {
    const speeds = fc.array(fc.integer({ min: 1, max: 10_000 }), { minLength: 3, maxLength: 7 });
    fc.assert(
      fc.property(speeds, fc.integer({ min: 1, max: 10_000 }), (before, tonight) => {
        const comparison = compareNights(
          night([row({ volumesPerSecond: tonight })]),
          before.map((volumesPerSecond) => night([row({ volumesPerSecond })])),
        );
        const { medianVolumesPerSecond: median, speedFallPercent } = comparison.rows[0]!;
        // A median has at least half of the nights on either side.
        expect(before.filter((speed) => speed <= median!).length * 2).toBeGreaterThanOrEqual(before.length);
        expect(before.filter((speed) => speed >= median!).length * 2).toBeGreaterThanOrEqual(before.length);
        expect(speedFallPercent).toBeCloseTo(100 - (100 * tonight) / median!, 4);
      }),
    );
  });

  test("reaches a limit of whole hundredths exactly, as decimals that are no binary fractions do not", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 99 }), (hundredths) => {
        const dice = (value: number) => night([row({ dice: value / 100 })]);
        const before = [dice(hundredths), dice(hundredths), dice(hundredths)];
        expect(worstOf(compareNights(dice(hundredths - 1), before), "diceFall")).toBe(0.01);
        const speed = (value: number) => night([row({ volumesPerSecond: value / 10 })]);
        const fast = speed(hundredths * 10);
        expect(worstOf(compareNights(speed(hundredths * 9), [fast, fast, fast]), "speedFallPercent")).toBe(10);
      }),
    );
  });

  test("of a classification is compared by its AUC, with a sentence of its own", () => {
    const scored = (auc: number | null) => night([row({ dice: null, auc })]);
    const before = [scored(0.95), scored(0.93), scored(0.94)];
    const comparison = compareNights(scored(0.93), before);
    expect(comparison.rows[0]).toMatchObject({ diceFall: null, medianAuc: 0.94, aucFall: 0.01 });
    expect(nightlyComparison.parse(comparison)).toEqual(comparison);
    expect(regressionSentences(comparison)).toEqual([
      "The AUC of fold0 fused is 0.0100 below the median of 3 nights: 0.9300 against 0.9400.",
    ]);
    expect(worstOf(comparison, "diceFall", "aucFall")).toBe(0.01);
    expect(regressionSentences(compareNights(scored(0.9301), before))).toEqual([]);
    expect(worstOf(compareNights(scored(null), before), "diceFall", "aucFall")).toBeUndefined();
    // Nights of an older version have none.
    expect(
      compareNights(
        scored(0.5),
        [1, 2, 3].map(() => night([row()])),
      ).rows[0],
    ).toMatchObject({ aucFall: null });
  });

  test("is not compared while there are fewer than three of them", () => {
    const comparison = compareNights(night([row()]), [night([row()]), night([row()])]);
    expect(comparison.rows[0]).toMatchObject({ speedFallPercent: null, diceFall: null });
    expect(worstOf(comparison, "speedFallPercent")).toBeUndefined();
  });

  test("compares speed on one device alone, Dice on any", () => {
    const before = [1, 2, 3].map(() => night([row()]));
    const comparison = compareNights(
      night([row({ device: "1 x L40S, bf16", volumesPerSecond: 5, dice: 0.8 })]),
      before,
    );
    expect(comparison.rows[0]).toMatchObject({ speedFallPercent: null, diceFall: 0.1 });
    expect(comparison.missing).toEqual([]);
  });

  test("misses what three nights had timed, and nothing that they had not", () => {
    const before = [1, 2, 3].map(() => night([row(), row({ row: "fold0 fused torch", volumesPerSecond: null })]));
    expect(compareNights(night([]), before).missing).toEqual(["fold0 fused"]);
    expect(compareNights(night([]), before.slice(1)).missing).toEqual([]);
    // A Dice without a speed is not a measured row.
    expect(compareNights(night([row({ volumesPerSecond: null })]), before).missing).toEqual(["fold0 fused"]);
  });
});

describe("the nights to compare with", () => {
  const timeOf = (day: number) => new Date(Date.UTC(2026, 10, day, 2)).toISOString();
  const tonight: NightlyRequest = { ...aRequest({ dataset: "phantoms" }), night: timeOf(20) };
  const stored = async (days: readonly number[]) => {
    const store = new MemoryStore();
    for (const day of days) {
      const key = keys.night("phantoms", timeOf(day));
      await store.put(under(tonight.artefactsUri, key), JSON.stringify(night([row()], timeOf(day))));
    }
    return store;
  };

  test("are the last seven: an eighth older one does not count", async () => {
    const found = await nightsBefore(tonight, await stored([12, 13, 14, 15, 16, 17, 18, 19]));
    expect(found.map((one) => one.night)).toEqual([13, 14, 15, 16, 17, 18, 19].map(timeOf));
  });

  test("are those before it alone, not itself and none after it", async () => {
    const found = await nightsBefore(tonight, await stored([18, 19, 20, 21]));
    expect(found.map((one) => one.night)).toEqual([18, 19].map(timeOf));
  });
});
