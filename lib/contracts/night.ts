// One night of the benchmark: what report remembers of it, what it compares the next one with, and the metrics that the
// alarms and the dashboard read. nightly/<dataset>/<night>.json in the artefacts bucket.
import * as z from "zod";
import { datasetName, isoTime } from "./primitives.ts";
import { runId } from "./run-request.ts";

/** null is what was not measured. */
const measured = z.number().min(0).nullable();

/** A row of the report's table, without what a comparison does not need. */
export const nightRow = z.strictObject({
  row: z.string().min(1).describe("<fold> <strategy>, and the engine where it is an engine's row"),
  device: z.string().min(1).describe("<count> x <name>, <precision>: speeds of different ones are not compared"),
  volumesPerSecond: measured,
  dice: measured,
  auc: measured.optional().describe("of a classification, which has no Dice; absent in nights of older versions"),
});

export const night = z.strictObject({
  schema: z.literal(1),
  dataset: datasetName,
  night: isoTime.describe("the time that the schedule was to start it at: the same however often it is delivered"),
  runId,
  version: z.string().min(1).describe("software version"),
  rows: z.array(nightRow),
});

/** Tonight against the median of the nights before; null where either side was not measured. */
export const nightlyComparison = z.strictObject({
  night: isoTime,
  nights: z.int().min(0).describe("earlier nights that there are to compare with, at most seven"),
  rows: z.array(
    nightRow.extend({
      medianVolumesPerSecond: measured,
      medianDice: measured,
      medianAuc: measured.optional(),
      speedFallPercent: z.number().nullable().describe("of the median; below zero when it rose"),
      diceFall: z.number().nullable().describe("below zero when it rose"),
      aucFall: z.number().nullable().optional().describe("below zero when it rose"),
    }),
  ),
  missing: z.array(z.string()).describe("rows that earlier nights measured and this one did not"),
});

/** What tells the schedule's event from an upload's. */
export const NIGHTLY_SOURCE = "voxelburst.nightly";

/** What the schedule sends to start-run. */
export const nightlyEvent = z.strictObject({
  source: z.literal(NIGHTLY_SOURCE),
  dataset: datasetName,
  night: isoTime.describe("the scheduled time, the same for every delivery"),
  recipe: z.record(z.string(), z.unknown()).describe("in place of the dataset's own"),
});

/** What counts as a regression: report words it, lib/cloud alarms on it. */
export const REGRESSION = {
  baselineNights: 7,
  /** A median of one or two nights is those nights' noise. */
  leastNights: 3,
  speedFallPercent: 10,
  /** Of Dice, or of a classification's AUC. */
  diceFall: 0.01,
} as const;

/** Metrics of a night, in the namespace and under the dimension that Powertools gives a function's own. */
export const NIGHTLY_METRICS = {
  namespace: "Voxelburst",
  service: "report",
  /** Rows measured: no value for more than a day means that there was no night. */
  rows: "NightlyRows",
  rowsMissing: "NightlyRowsMissing",
  /** The worst row's; of a classification that of the AUC. */
  speedFallPercent: "NightlySpeedFallPercent",
  diceFall: "NightlyDiceFall",
  /** For each row, under the dimensions `dataset` and `row`. */
  volumesPerSecond: "VolumesPerSecond",
  dice: "Dice",
  auc: "AUC",
} as const;

export type NightlyEvent = z.infer<typeof nightlyEvent>;
export type Night = z.infer<typeof night>;
export type NightRow = z.infer<typeof nightRow>;
export type NightlyComparison = z.infer<typeof nightlyComparison>;
