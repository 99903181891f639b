// runs/<id>/report/report.json: everything that report.html and report.csv show.
import * as z from "zod";
import { caseWarning, quarantineEntry } from "./case-record.ts";
import { errorDocument } from "./error.ts";
import { nightlyComparison } from "./night.ts";
import { estimate } from "./plan.ts";
import { count, engine, enginePrecision, isoTime, objectKey, positive, stageName, strategy } from "./primitives.ts";
import { caseScores, compileResult, curvePoint, host } from "./result.ts";
import { fall } from "./rung.ts";

/** null is shown as "not measured": never a copy or an estimate. */
const measured = z.number().min(0).nullable();

export const reportRow = z.strictObject({
  kind: z.enum(["training", "engine"]),
  fold: z.string(),
  strategy,
  engine: engine.optional(),
  gpu: z.string().describe("GPU or processor name"),
  gpus: count,
  precision: z.string().optional(),
  batch: count.nullable(),
  volumesPerSecond: measured,
  dice: measured.describe("mean over foreground classes of the mean over cases"),
  auc: measured.optional().describe("of a classification: one against the rest, mean over classes; it has no Dice"),
  accuracy: measured.optional(),
  diceFrom: engine.optional().describe("of a training's row: the engine whose masks were scored"),
  speedUp: measured.describe("against the first measured row of its kind"),
  patchesPerSecond: measured,
  windowsPerSecond: measured,
  gpuBusyPercent: measured,
  p50Ms: measured,
  p95Ms: measured,
  usdPer1000Volumes: measured,
  versions: z.record(z.string(), z.string()),
  note: z.string().optional().describe("one sentence: why something is missing, or that an earlier run measured it"),
});

export const classSummary = z.strictObject({
  class: z.string(),
  dice: measured,
  hd95Mm: measured,
  nsd: measured,
  cases: count,
  emptyReference: count,
  emptyPrediction: count,
});

export const report = z.strictObject({
  schema: z.literal(1),
  runId: z.string(),
  dataset: z.string(),
  title: z.string(),
  version: z.string(),
  status: z.enum(["succeeded", "failed", "refused"]),
  where: z.enum(["local", "aws"]).optional().describe("local: dollars a volume are the equivalent at pricedAs"),
  startedAt: isoTime.optional().describe("of the first stage; absent when none left a result"),
  finishedAt: isoTime,
  elapsedSeconds: z.number().min(0).optional().describe("from the first stage's start to the last one's end"),
  runningSeconds: z.number().min(0).optional().describe("of them, in which a stage was running: no queue, no pause"),
  nsdToleranceMm: positive.optional(),
  cases: z.strictObject({ training: count, test: count, validation: count, quarantined: count }),
  rows: z.array(reportRow),
  segmentations: z.array(
    z.strictObject({
      name: z.string().describe("<fold>-<strategy>-<engine>"),
      fold: z.string(),
      strategy,
      engine,
      meanDice: measured,
      classes: z.array(classSummary),
      cases: z.array(caseScores),
      masksPrefix: objectKey,
    }),
  ),
  classifications: z
    .array(
      z.strictObject({
        name: z.string().describe("<fold>-<strategy>-<engine>"),
        fold: z.string(),
        strategy,
        engine,
        auc: measured,
        accuracy: measured,
        classes: z.array(z.strictObject({ class: z.string(), auc: measured, cases: count })),
        confusion: z.array(z.array(count)).describe("a row a true class, a column a predicted one, in classes' order"),
        cases: z.array(caseScores),
        predictionsPrefix: objectKey.describe("predictions.<child>.jsonl: a line a case with its probabilities"),
      }),
    )
    .default([])
    .describe("of a dataset with classes, which has no segmentations"),
  parities: z
    .array(
      z.strictObject({
        name: z.string().describe("<fold>-<strategy>-<engine>"),
        precision: enginePrecision,
        buildSeconds: z.number().min(0),
        parity: compileResult.shape.parity,
      }),
    )
    .default([])
    .describe("each engine against FP32"),
  curves: z.array(z.strictObject({ name: z.string(), points: z.array(curvePoint) })),
  quarantine: z.array(quarantineEntry),
  warnings: z.array(caseWarning.extend({ caseId: z.string().optional() })),
  errors: z.array(errorDocument),
  falls: z.array(fall).default([]).describe("rungs of the capacity ladder that had no machine, and what they said"),
  stages: z.array(
    z.strictObject({
      stage: stageName,
      seconds: z.number().min(0).describe("wall time, from the first child's start to the last one's end"),
      cpuOrGpuSeconds: z.number().min(0).describe("summed over children"),
      peakMemoryMiB: z.number().min(0),
      done: count,
      skipped: count,
      usd: z.number().min(0),
      equivalentUsd: z.number().min(0),
      host: host.optional(),
    }),
  ),
  usd: z.number().min(0),
  equivalentUsd: z.number().min(0),
  pricedAs: z
    .strictObject({ instanceType: z.string(), usdPerHour: z.number().min(0), date: z.string(), source: z.string() })
    .optional(),
  estimate: estimate.optional(),
  nightly: nightlyComparison.optional().describe("of a run that the nightly schedule started"),
  overrides: z.array(z.string()),
  notes: z.array(z.string()),
});

export type Report = z.infer<typeof report>;
export type ReportRow = z.infer<typeof reportRow>;
