// Scores of classes over a run's cases: AUC by Mann and Whitney's U, accuracy, the confusion matrix.
import type { CaseScores, Report } from "../../lib/contracts/index.ts";
import { meanOf } from "./dice.ts";

type Classification = Report["classifications"][number];
export type ClassScores = Pick<Classification, "auc" | "accuracy" | "classes" | "confusion">;
type Classified = NonNullable<CaseScores["classification"]>;

/** A point of a ROC curve: the shares of negative and positive cases at or above a threshold. */
export interface RocPoint {
  falsePositives: number;
  truePositives: number;
}

/**
 * ROC curve from (0, 0) to (1, 1), a point a distinct score, so that ties make a slope; its area is Mann and Whitney's
 * U over positives x negatives. Undefined where positive or negative cases are missing.
 */
export function rocOf(cases: readonly { score: number; positive: boolean }[]): RocPoint[] | undefined {
  const positives = cases.filter(({ positive }) => positive).length;
  const negatives = cases.length - positives;
  if (positives === 0 || negatives === 0) return undefined;
  const points: RocPoint[] = [{ falsePositives: 0, truePositives: 0 }];
  const [found, mistaken] = [
    { count: 0, of: positives },
    { count: 0, of: negatives },
  ];
  const sorted = cases.toSorted((a, b) => b.score - a.score);
  for (const [at, { score, positive }] of sorted.entries()) {
    (positive ? found : mistaken).count++;
    if (sorted[at + 1]?.score !== score)
      points.push({ falsePositives: mistaken.count / mistaken.of, truePositives: found.count / found.of });
  }
  return points;
}

/** Area under a ROC curve, by trapezoids: ties count half. */
export const areaUnder = (points: readonly RocPoint[]): number =>
  points.slice(1).reduce((area, point, at) => {
    const before = points[at]!;
    return area + ((point.falsePositives - before.falsePositives) * (point.truePositives + before.truePositives)) / 2;
  }, 0);

/** One class against the rest, over the cases with a reference. */
export const againstRest = (cases: readonly CaseScores[], name: string): { score: number; positive: boolean }[] =>
  referenced(cases).map(({ probabilities, reference }) => ({
    score: probabilities[name] ?? 0,
    positive: reference === name,
  }));

const referenced = (cases: readonly CaseScores[]): Classified[] =>
  cases.flatMap(({ classification }) => (classification?.reference === undefined ? [] : [classification]));

/** Over the cases with a reference; test cases have none and count nowhere. */
export function scoreClasses(cases: readonly CaseScores[], classes: readonly string[]): ClassScores {
  const known = referenced(cases);
  const byClass = classes.map((name) => {
    const points = rocOf(againstRest(cases, name));
    return {
      class: name,
      auc: points ? areaUnder(points) : null,
      cases: known.filter(({ reference }) => reference === name).length,
    };
  });
  const right = known.filter(({ reference, predicted }) => reference === predicted).length;
  return {
    auc: meanOf(byClass.map(({ auc }) => auc)),
    accuracy: known.length > 0 ? right / known.length : null,
    classes: byClass,
    confusion: classes.map((truth) =>
      classes.map((guess) => known.filter((one) => one.reference === truth && one.predicted === guess).length),
    ),
  };
}
