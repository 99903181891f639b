import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { chooseFolds, type FoldCase } from "../../../lambdas/plan/folds.ts";
import { MersenneTwister } from "../../../lambdas/plan/mersenne-twister.ts";
import type { Recipe, Splits } from "../../../lib/contracts/index.ts";
import { ids } from "./fixture.ts";

const all: Pick<Recipe, "folds" | "foldCount"> = { folds: "all", foldCount: 5 };
const casesOf = (names: readonly string[]): FoldCase[] => names.map((caseId) => ({ caseId }));
interface Options {
  refused?: string[];
  splits?: Splits;
  recipe?: Pick<Recipe, "folds" | "foldCount">;
}
const choose = (cases: readonly FoldCase[], { refused = [], splits, recipe = all }: Options = {}) =>
  chooseFolds(cases, new Set(refused), splits, recipe);

describe("without splits.json", () => {
  it("makes Task04's published folds: fold 0 validates on 017, 019, 033 ...", () => {
    // Task04's ids up to 094, and as many others as it has behind them.
    const task04 = [
      1, 3, 4, 6, 7, 8, 11, 14, 15, 17, 19, 20, 23, 24, 25, 26, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 44, 45, 46, 48,
      49, 50, 51, 52, 53, 56, 57, 58, 60, 64, 65, 67, 68, 70, 74, 75, 77, 83, 84, 87, 88, 89, 90, 91, 92, 93, 94,
    ].map((n) => `hippocampus_${String(n).padStart(3, "0")}`);
    const rest = Array.from({ length: 260 - task04.length }, (_, i) => `hippocampus_${100 + i}`);
    const [fold0] = choose(casesOf([...rest, ...task04])).folds;
    expect(fold0!.validation.slice(0, 12)).toEqual(
      ["017", "019", "033", "035", "037", "049", "052", "065", "083", "088", "090", "092"].map(
        (n) => `hippocampus_${n}`,
      ),
    );
    expect(fold0!.validation).toHaveLength(52);
  });

  it("chooses the first fold unless the recipe names others", () => {
    const named = (folds: Recipe["folds"]) =>
      choose(casesOf(ids(20)), { recipe: { folds, foldCount: 5 } }).folds.map((fold) => fold.name);
    expect(named(undefined)).toEqual(["fold0"]);
    expect(named(["fold3", "fold1"])).toEqual(["fold3", "fold1"]);
    expect(named("all")).toEqual(["fold0", "fold1", "fold2", "fold3", "fold4"]);
  });

  it("rejects a fold that does not exist, naming those that do", () => {
    expect(() => choose(casesOf(ids(20)), { recipe: { folds: ["fold7"], foldCount: 5 } })).toThrow(
      "The recipe asks for the fold fold7; there are fold0, fold1, fold2, fold3, fold4.",
    );
  });

  it("makes as many folds as there are patients when there are fewer than foldCount, and says so", () => {
    const { folds, notes } = choose(casesOf(ids(3)));
    expect(folds.map((fold) => [fold.train.length, fold.validation.length])).toEqual([
      [2, 1],
      [2, 1],
      [2, 1],
    ]);
    expect(notes[0]).toBe("3 patients allow 3 folds where the recipe's foldCount is 5.");
  });

  it("rejects cases of a single patient", () => {
    const cases = ids(3).map((caseId) => ({ caseId, patient: "patient-0000000000000001" }));
    expect(() => choose(cases)).toThrow(expect.objectContaining({ code: "TooFewCases" }));
  });

  it("holds out every case once and keeps every patient in one part", () => {
    const dataset = fc.uniqueArray(fc.tuple(fc.nat(500), fc.option(fc.nat(12), { nil: undefined })), {
      selector: ([id]) => id,
      minLength: 4,
      maxLength: 60,
    });
    fc.assert(
      fc.property(dataset, fc.integer({ min: 2, max: 10 }), (rows, foldCount) => {
        const cases = rows.map(([id, patient]) => ({
          caseId: `case_${id}`,
          ...(patient === undefined ? {} : { patient: `patient-${patient}` }),
        }));
        fc.pre(new Set(cases.map((item) => item.patient ?? item.caseId)).size > 1);
        const { folds } = choose(cases, { recipe: { folds: "all", foldCount } });
        expect(folds.flatMap((fold) => fold.validation).sort()).toEqual(cases.map((item) => item.caseId).sort());
        const patientOf = new Map(cases.map((item) => [item.caseId, item.patient]));
        for (const fold of folds) {
          expect([...fold.train, ...fold.validation].sort()).toEqual(cases.map((item) => item.caseId).sort());
          const trained = new Set(fold.train.map((id) => patientOf.get(id)).filter(Boolean));
          expect(fold.validation.some((id) => trained.has(patientOf.get(id)!))).toBe(false);
        }
      }),
      { numRuns: 100 },
    );
  });
});

describe("with splits.json", () => {
  const splits = {
    fold1: { train: ["a", "b", "c"], val: ["d", "e"] },
    fold2: { train: ["d", "e"], val: ["a"] },
  };
  const cases = casesOf(["a", "b", "c", "d", "e"]);

  it("takes the named folds, the first by default", () => {
    const { folds } = choose(cases, { splits, recipe: { folds: undefined, foldCount: 5 } });
    expect(folds).toEqual([{ name: "fold1", train: ["a", "b", "c"], validation: ["d", "e"] }]);
  });

  it("names the folds of nnU-Net's list fold0, fold1 ...", () => {
    const { folds } = choose(cases, { splits: Object.values(splits) });
    expect(folds.map((fold) => fold.name)).toEqual(["fold0", "fold1"]);
  });

  it("drops quarantined cases and says how many", () => {
    const { folds, notes } = choose(casesOf(["a", "b", "d", "e"]), { splits, refused: ["c"] });
    expect(folds[0]!.train).toEqual(["a", "b"]);
    expect(notes).toContain("1 cases that splits.json names are in quarantine and drop out.");
  });

  it.each([
    ["FoldEmpty", casesOf(["a", "b", "c"]), { splits, refused: ["d", "e"] }, "fold1 has no case left to validate on."],
    ["SplitsUnknownCase", casesOf(["a", "b", "c", "d"]), { splits }, "fold1.val names e"],
    [
      "SplitsOverlap",
      cases,
      { splits: { fold1: { train: ["a", "b"], val: ["b"] } } },
      "both trains and validates on b",
    ],
    [
      "PatientInBothParts",
      cases.map((item) => ({ ...item, patient: item.caseId === "a" || item.caseId === "e" ? "p" : item.caseId })),
      { splits },
      "trains on a and validates on e, which are of one patient",
    ],
  ])("rejects with %s", (code, given, options, sentence) => {
    expect(() => choose(given, options)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(sentence) }),
    );
  });

  it("does not mind a broken fold that is not asked for", () => {
    const { folds } = choose(casesOf(["b", "c", "d", "e"]), {
      splits,
      refused: ["a"],
      recipe: { folds: ["fold1"], foldCount: 5 },
    });
    expect(folds.map((fold) => fold.name)).toEqual(["fold1"]);
  });
});

describe("the Mersenne Twister", () => {
  it("draws what numpy.random.RandomState draws", () => {
    const twister = new MersenneTwister(12345);
    expect([twister.next(), twister.next(), twister.next()]).toEqual([3992670690, 3823185381, 1358822685]);
    // RandomState(5489) is the reference implementation's seed: its 10,000th draw is published.
    const reference = new MersenneTwister(5489);
    for (let i = 1; i < 10_000; i++) reference.next();
    expect(reference.next()).toBe(4123659995);
  });
});
