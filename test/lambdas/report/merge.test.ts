import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { summarise } from "../../../lambdas/report/dice.ts";
import { thinned } from "../../../lambdas/report/html/curves.ts";
import { swarm } from "../../../lambdas/report/html/strips.ts";
import { coveredSeconds, hull, mostAtOnce } from "../../../lambdas/report/merge.ts";
import { chosen } from "../../../lambdas/report/pictures.ts";
import type { CaseScores } from "../../../lib/contracts/index.ts";

const interval = fc
  .tuple(fc.integer({ min: 0, max: 60 }), fc.integer({ min: 1, max: 30 }))
  .map(([start, seconds]) => ({ start, end: start + seconds }));
const intervals = fc.array(interval, { minLength: 1, maxLength: 12 });
/** How many intervals hold each whole second: the slow and obvious way. */
const perSecond = (list: { start: number; end: number }[]): number[] =>
  Array.from({ length: 100 }, (_, second) => list.filter(({ start, end }) => start <= second && second < end).length);

describe("merged time", () => {
  it("covers exactly the seconds in which a child ran, each once", () => {
    fc.assert(
      fc.property(intervals, (list) => {
        expect(coveredSeconds(list)).toBe(perSecond(list).filter((running) => running > 0).length);
      }),
    );
  });

  it("lies between the longest child and the time from the first start to the last end", () => {
    fc.assert(
      fc.property(intervals, (list) => {
        const whole = hull(list)!;
        expect(coveredSeconds(list)).toBeLessThanOrEqual(whole.end - whole.start);
        expect(coveredSeconds(list)).toBeGreaterThanOrEqual(Math.max(...list.map(({ start, end }) => end - start)));
      }),
    );
  });

  it("finds how many ran at once; children that follow each other do not overlap", () => {
    fc.assert(
      fc.property(intervals, (list) => {
        expect(mostAtOnce(list)).toBe(Math.max(...perSecond(list)));
      }),
    );
    expect(
      mostAtOnce([
        { start: 0, end: 5 },
        { start: 5, end: 9 },
      ]),
    ).toBe(1);
  });
});

const score = (caseId: string, dice: (number | null)[]): CaseScores => ({
  caseId,
  part: "validation",
  classes: dice.map((value, at) => ({
    class: `class ${at}`,
    dice: value,
    hd95Mm: value,
    nsd: value,
    referenceVoxels: 1,
    predictedVoxels: 1,
  })),
  meanDice: dice.find((value) => value !== null) ?? null,
  windows: 1,
  seconds: 1,
  maskKey: "mask",
});

describe("summaries", () => {
  const table = fc
    .integer({ min: 1, max: 4 })
    .chain((classes) =>
      fc.array(
        fc.array(fc.option(fc.double({ min: 0, max: 1, noNaN: true })), { minLength: classes, maxLength: classes }),
        { minLength: 1, maxLength: 8 },
      ),
    );

  it("are numpy's nanmean over cases and a plain mean over classes, whatever is undefined", () => {
    fc.assert(
      fc.property(table, (rows) => {
        const { classes, meanDice } = summarise(rows.map((row, at) => score(`case-${at}`, row)));
        const columns = rows[0]!.map((_, at) =>
          rows.map((row) => row[at]).filter((value) => typeof value === "number"),
        );
        const means = columns.map((column) =>
          column.length ? column.reduce((a, b) => a + b, 0) / column.length : null,
        );
        for (const [at, mean] of means.entries()) {
          if (mean === null) expect(classes[at]!.dice).toBeNull();
          else expect(classes[at]!.dice).toBeCloseTo(mean, 12);
        }
        const defined = means.filter((mean) => mean !== null);
        if (defined.length === 0) expect(meanDice).toBeNull();
        else expect(meanDice).toBeCloseTo(defined.reduce((a, b) => a + b, 0) / defined.length, 12);
      }),
    );
  });

  it("of no case are empty and not zero", () => {
    expect(summarise([])).toEqual({ meanDice: null, classes: [], undefinedClasses: [] });
  });
});

describe("the pictured cases", () => {
  it("are the worst, the lower median and the best, each case once", () => {
    const cases = [0.5, 0.9, 0.1, 0.7].map((value, at) => score(`case-${at}`, [value]));
    expect(chosen(cases).map(({ rank, scores }) => [rank, scores.caseId])).toEqual([
      ["worst", "case-2"],
      ["median", "case-0"],
      ["best", "case-1"],
    ]);
    expect(chosen(cases.slice(0, 2)).map(({ rank }) => rank)).toEqual(["worst", "best"]);
    expect(chosen(cases.slice(0, 1)).map(({ rank }) => rank)).toEqual(["worst"]);
    expect(chosen([score("case-x", [null])])).toEqual([]);
  });
});

describe("drawn points", () => {
  it("do not cover each other in a strip", () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 300, noNaN: true }), { maxLength: 60 }), (xPx) => {
        const offsets = swarm(xPx);
        for (const [at, x] of xPx.entries())
          for (let other = 0; other < at; other++)
            expect(Math.hypot(x - xPx[other]!, offsets[at]! - offsets[other]!)).toBeGreaterThanOrEqual(5.2 - 1e-9);
      }),
    );
  });

  it("are placed in a moment when ten thousand cases have the same Dice", () => {
    const began = performance.now();
    swarm(new Array(10_000).fill(0.5));
    expect(performance.now() - began).toBeLessThan(10_000);
  });

  it("keep the mean of a curve however long it is", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), (runs) => {
        const points = Array.from({ length: 240 * runs }, (_, at) => ({ x: at, y: Math.sin(at) }));
        const thin = thinned(points);
        const mean = (list: { y: number }[]) => list.reduce((sum, { y }) => sum + y, 0) / list.length;
        expect(thin.length).toBeLessThanOrEqual(240);
        expect(mean(thin)).toBeCloseTo(mean(points), 9);
      }),
    );
  });
});
