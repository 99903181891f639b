// Per-class summaries by nnU-Net's convention (evaluate_predictions.py): a class is the mean over the cases where the
// measure is defined, the foreground mean is the plain mean of the class means. Where nnU-Net's mean would be NaN,
// because a class is defined in no case, the mean is over the other classes and a warning names the missing one.
import type { CaseScores, Report } from "../../lib/contracts/index.ts";

export type ClassSummary = Report["segmentations"][number]["classes"][number];

/** null for no value: "not measured". */
export function meanOf(values: readonly (number | null | undefined)[]): number | null {
  const defined = values.filter((value): value is number => typeof value === "number");
  return defined.length === 0 ? null : defined.reduce((sum, value) => sum + value, 0) / defined.length;
}

export interface ScoreSummary {
  meanDice: number | null;
  classes: ClassSummary[];
  /** Classes whose Dice is defined in no case, although there are cases. */
  undefinedClasses: string[];
}

/** Over the cases with a label; test cases have none and count nowhere. */
export function summarise(scores: readonly CaseScores[]): ScoreSummary {
  const byClass = new Map<string, CaseScores["classes"]>();
  for (const { classes } of scores)
    for (const score of classes) byClass.set(score.class, [...(byClass.get(score.class) ?? []), score]);
  const classes = [...byClass].map(
    ([name, entries]): ClassSummary => ({
      class: name,
      dice: meanOf(entries.map((entry) => entry.dice)),
      hd95Mm: meanOf(entries.map((entry) => entry.hd95Mm)),
      nsd: meanOf(entries.map((entry) => entry.nsd)),
      cases: entries.length,
      emptyReference: entries.filter((entry) => entry.referenceVoxels === 0).length,
      emptyPrediction: entries.filter((entry) => entry.predictedVoxels === 0).length,
    }),
  );
  return {
    meanDice: meanOf(classes.map((entry) => entry.dice)),
    classes,
    undefinedClasses: classes.filter((entry) => entry.dice === null).map((entry) => entry.class),
  };
}
