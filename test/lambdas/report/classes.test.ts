import { describe, expect, test } from "vitest";
import { areaUnder, rocOf, scoreClasses } from "../../../lambdas/report/classes.ts";
import type { CaseScores } from "../../../lib/contracts/index.ts";

/** Of all pairs of a positive and a negative case: how often the positive one scores higher, ties half. */
function pairwise(cases: readonly { score: number; positive: boolean }[]): number {
  const [up, down] = [true, false].map((side) => cases.filter(({ positive }) => positive === side));
  const wins = up!.flatMap((a) => down!.map((b) => (a.score > b.score ? 1 : a.score === b.score ? 0.5 : 0)));
  return wins.reduce<number>((sum, win) => sum + win, 0) / wins.length;
}

const scored = (caseId: string, p: number, reference?: string): CaseScores => ({
  caseId,
  part: reference ? "validation" : "test",
  classes: [],
  meanDice: null,
  windows: 1,
  seconds: 1,
  classification: {
    probabilities: { no: 1 - p, yes: p },
    predicted: p > 0.5 ? "yes" : "no",
    ...(reference && { reference }),
  },
});

describe("scores of classes", () => {
  test("the area under the ROC curve is that of all pairs, ties counting half", () => {
    for (let seed = 1; seed < 40; seed++) {
      const cases = Array.from({ length: 17 }, (_, at) => ({
        score: ((at * seed * 7) % 5) / 4,
        positive: (at * at + seed) % 3 === 0,
      }));
      const points = rocOf(cases);
      if (points) expect(areaUnder(points)).toBeCloseTo(pairwise(cases), 12);
    }
  });

  test("is not defined where one side is missing", () => {
    expect(rocOf([{ score: 1, positive: true }])).toBeUndefined();
    expect(scoreClasses([scored("a", 0.9, "yes")], ["no", "yes"])).toMatchObject({ auc: null, accuracy: 1 });
  });

  test("counts cases with a class alone, by true class and by predicted one", () => {
    const cases = [scored("a", 0.9, "yes"), scored("b", 0.4, "yes"), scored("c", 0.2, "no"), scored("d", 0.9)];
    expect(scoreClasses(cases, ["no", "yes"])).toEqual({
      auc: 1,
      accuracy: 2 / 3,
      classes: [
        { class: "no", auc: 1, cases: 1 },
        { class: "yes", auc: 1, cases: 2 },
      ],
      confusion: [
        [1, 0],
        [1, 1],
      ],
    });
  });
});
