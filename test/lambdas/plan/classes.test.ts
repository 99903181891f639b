import { describe, expect, test } from "vitest";
import { chooseFolds, stratifiedFolds } from "../../../lambdas/plan/folds.ts";
import { resnetElements, resnetFeatures } from "../../../lambdas/plan/resnet.ts";
import { wholeVolume } from "../../../lambdas/plan/whole-volume.ts";

const cases = (counts: Record<string, number>) =>
  Object.entries(counts).flatMap(([name, count]) =>
    Array.from({ length: count }, (_, at) => ({ caseId: `${name}-${at}`, class: name })),
  );

describe("folds of classes", () => {
  test("hold their share of each class, every case once", () => {
    const classes = [...Array(7).fill("rare"), ...Array(23).fill("common")];
    const folds = stratifiedFolds(classes, 5);
    expect(folds.flat().sort((a, b) => a - b)).toEqual(classes.map((_, at) => at));
    for (const fold of folds) {
      expect(fold).toHaveLength(6);
      expect([1, 2]).toContain(fold.filter((at) => classes[at] === "rare").length);
    }
  });

  test("are refused where quarantine has left one without a class", () => {
    const recipe = { folds: "all" as const, foldCount: 3 };
    expect(() => chooseFolds(cases({ a: 6, b: 2 }), new Set(), undefined, recipe)).toThrowError(
      /no case of the class b to validate on/,
    );
    expect(chooseFolds(cases({ a: 6, b: 3 }), new Set(), undefined, recipe).folds).toHaveLength(3);
  });
});

describe("a whole volume", () => {
  const print = {
    croppedShapesZyx: [[40, 50, 60] as [number, number, number], [33, 80, 20] as [number, number, number]],
    spacingsMmZyx: [[1, 1, 1] as [number, number, number], [1, 1, 1] as [number, number, number]],
  };
  const scale = { width: 16, fixed: false };

  test("keeps the spacing where the largest case fits, its patch rounded up to the strides", () => {
    const found = wholeVolume(print, [1, 1, 1], { ...scale, memoryGiB: 8 });
    expect(found).toMatchObject({ spacingMmZyx: [1, 1, 1], patchZyx: [48, 80, 64] });
  });

  test("is coarsened until a batch of eight fits the memory", () => {
    const found = wholeVolume(print, [1, 1, 1], { ...scale, memoryGiB: 0.1 });
    expect(found.spacingMmZyx[0]).toBeGreaterThan(1);
    expect(8 * resnetElements(found.patchZyx, resnetFeatures(16))).toBeLessThanOrEqual(2 * 7_000_000);
  });
});
