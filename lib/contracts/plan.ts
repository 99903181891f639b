// What plan decides, once, for every later stage: geometry, network, folds, trainings, cost.
import * as z from "zod";
import { dataset } from "./manifest.ts";
import {
  caseId,
  count,
  engine,
  enginePrecision,
  foldName,
  modelName,
  objectKey,
  optimizer,
  positive,
  precision,
  sha256Hex,
  shapeZyx,
  spacingMmZyx,
  stageName,
  strategy,
} from "./primitives.ts";
import { rungKind } from "./rung.ts";

export const normalisation = z.discriminatedUnion("scheme", [
  z.strictObject({
    scheme: z.literal("ct"),
    clipLow: z.number(),
    clipHigh: z.number(),
    mean: z.number(),
    std: positive,
  }),
  z.strictObject({ scheme: z.literal("zscore"), masked: z.boolean() }),
  z.strictObject({ scheme: z.literal("none") }),
  z.strictObject({ scheme: z.literal("rescale-0-1") }),
  z.strictObject({ scheme: z.literal("rgb-0-1") }),
]);

const triple = z.tuple([z.int().min(1), z.int().min(1), z.int().min(1)]);

export const network = z.strictObject({
  model: modelName,
  inputChannels: z.int().min(1),
  outputClasses: z.int().min(2),
  features: z.array(z.int().min(1)).min(2),
  strides: z.array(triple).min(2),
  kernels: z.array(triple).min(2),
  deepSupervisionWeights: z.array(z.number().min(0)).min(1).describe("finest first; sum 1"),
});

export const fold = z.strictObject({
  name: foldName,
  train: z.array(caseId).min(1),
  validation: z.array(caseId).min(1),
});

/** One item of the map over fold x strategy. Only keys and counts travel through the state machine. */
export const training = z.strictObject({
  name: z.string().describe("<fold>-<strategy>"),
  fold: foldName,
  strategy,
  gpus: count.describe("of all nodes together"),
  nodes: z.int().min(1).optional().describe("instances of one job; absent: 1"),
  taskKey: objectKey,
  trainHash: sha256Hex,
  trained: z.boolean().describe("its result exists already: the stage is skipped"),
  maxSeconds: z.int().min(60).describe("what the service is told to stop the job at"),
  engines: z
    .array(
      z.strictObject({
        name: z.string().describe("<fold>-<strategy>-<engine>"),
        engine,
        compileTaskKey: objectKey,
        compiled: z.boolean(),
        compileSeconds: z.int().min(60).optional().describe("what the service is told to stop an attempt at"),
        inferTaskKey: objectKey,
        inferShards: z.int().min(2).max(10_000),
        inferSeconds: z.int().min(60).optional().describe("of a child, what the service is told to stop an attempt at"),
      }),
    )
    .min(1),
});

export const stageEstimate = z.strictObject({
  stage: stageName,
  minutes: z.number().min(0),
  memoryGiB: z.number().min(0).describe("of the host, the largest process"),
  usd: z.number().min(0).describe("0 on one machine"),
  equivalentUsd: z.number().min(0).describe("the same minutes at the named price"),
});

export const estimate = z.strictObject({
  minutes: z.number().min(0),
  usd: z.number().min(0),
  equivalentUsd: z.number().min(0),
  pricedAs: z.strictObject({
    instanceType: z.string(),
    usdPerHour: z.number().min(0),
    date: z.string(),
    source: z.string(),
  }),
  stages: z.array(stageEstimate),
});

export const plan = z.strictObject({
  schema: z.literal(1),
  runId: z.string(),
  version: z.string(),
  dataset,
  cases: z.strictObject({ training: count, test: count, quarantined: count }),
  spacingMmZyx: spacingMmZyx.describe("target, in the image's own axes: before the transpose"),
  medianShapeZyx: shapeZyx.describe("after resampling to the spacing, in the image's own axes: before the transpose"),
  transpose: z
    .tuple([z.int().min(0).max(2), z.int().min(0).max(2), z.int().min(0).max(2)])
    .describe("array axis order in which arrays are kept: array axis i is image axis transpose[i] of z, y, x"),
  patch: shapeZyx.describe("in the arrays' axes, after the transpose, like strides and kernels"),
  batch: z.int().min(1).describe("global"),
  network,
  normalisation: z.array(normalisation).min(1).describe("one a channel"),
  batchDice: z.boolean(),
  dummy2d: z.boolean(),
  precision,
  optimizer: optimizer.describe("sgd: nnU-Net's; adamw: learns more in a short budget"),
  seed: count,
  budget: z.strictObject({ steps: z.int().min(1).optional(), minutes: positive.optional() }),
  infer: z.strictObject({
    overlap: z.number(),
    mirroring: z.boolean(),
    nsdToleranceMm: positive,
    precision: enginePrecision.optional(),
  }),
  folds: z.array(fold),
  overrides: z.array(z.string()).describe("fields that the recipe set, for the report"),
  notes: z.array(z.string()).describe("what a person should know: why a batch is small, which fold is thin"),
  estimate,
  go: z.boolean(),
  refusal: z.strictObject({ code: z.string(), message: z.string(), remedy: z.string() }).optional(),
});

/** What the plan stage returns to the state machine. */
/** Trainings of a run that work at once on AWS, and engines of each of them, at most: accounts have quotas of a few GPUs. */
export const MOST_AT_ONCE = 4;

export const planOutput = z.strictObject({
  go: z.boolean(),
  refusal: z.strictObject({ code: z.string(), message: z.string(), remedy: z.string() }).optional(),
  planKey: objectKey,
  preprocess: z.strictObject({
    taskKey: objectKey,
    missing: count,
    shards: z.int().min(2).max(10_000),
    seconds: z.int().min(60).optional().describe("of a child, what the service is told to stop an attempt at"),
  }),
  rungs: z.array(rungKind).min(1).optional().describe("the recipe's, in its order; absent: the deployment's"),
  trainOn: z.enum(["sagemaker", "batch"]).optional().describe("the recipe's choice; absent: the deployment's"),
  trainConcurrency: z.int().min(1),
  trainings: z.array(training),
});

export type Plan = z.infer<typeof plan>;
export type Network = z.infer<typeof network>;
export type Normalisation = z.infer<typeof normalisation>;
export type Fold = z.infer<typeof fold>;
export type Training = z.infer<typeof training>;
export type Estimate = z.infer<typeof estimate>;
export type PlanOutput = z.infer<typeof planOutput>;
