// What a stage says of what it did: runs/<id>/results/<taskId>.json, or <taskId>.<index>.json for an array child.
import * as z from "zod";
import {
  caseId,
  count,
  engine,
  enginePrecision,
  isoTime,
  keyPrefix,
  objectKey,
  precision,
  sha256Hex,
  strategy,
} from "./primitives.ts";

/** Where and with what it ran. A result that does not say so proves nothing. */
export const host = z.strictObject({
  backend: z.enum(["cpu", "cuda"]),
  device: z.string().min(1).describe("GPU or processor name"),
  devices: count.describe("GPUs used, 0 on the CPU"),
  cpus: z.int().min(1),
  versions: z
    .record(z.string(), z.string())
    .describe("python, torch, cuda, cudnn, dali, monai, onnxruntime, tensorrt ... as far as used"),
  fallbacks: z
    .array(z.string())
    .describe("each backend that was wanted and is missing here, and what stood in, in a sentence"),
});
const common = {
  schema: z.literal(1),
  runId: z.string(),
  taskId: z.string(),
  index: count.optional().describe("of an array child"),
  inputHash: sha256Hex,
  version: z.string(),
  startedAt: isoTime,
  seconds: z.number().min(0).describe("wall time of the process from its first line to its last"),
  peakMemoryMiB: z.number().min(0).describe("largest resident set of the process and its children"),
  host,
};
const caseCounts = { cases: count, done: count, skipped: count.describe("their output existed") };
/** Latency of one unit of work. */
const latency = z.strictObject({ p50Ms: z.number().min(0), p95Ms: z.number().min(0) });

export const ingestResult = z.strictObject({
  ...common,
  stage: z.literal("ingest"),
  ...caseCounts,
  quarantined: count,
  casesKey: objectKey.describe("JSON Lines of {caseId, recordKey}"),
  quarantineKey: objectKey.describe("JSON Lines of quarantine entries"),
});
export const ingestedCase = z.strictObject({ caseId, recordKey: objectKey });

export const preprocessResult = z.strictObject({
  ...common,
  stage: z.literal("preprocess"),
  ...caseCounts,
  voxels: count.describe("of the arrays written"),
  volumesPerSecond: z.number().min(0),
});

const share = z.number().min(0).max(1);
export const curvePoint = z.strictObject({
  step: count,
  seconds: z.number().min(0),
  loss: z.number(),
  learningRate: z.number().min(0),
  pseudoDice: z
    .number()
    .min(0)
    .max(1)
    .optional()
    .describe("pooled over validation patches; not comparable with the per-case mean"),
  auc: share.optional().describe("of a classification, over its validation cases"),
  accuracy: share.optional(),
});
export const trainResult = z.strictObject({
  ...common,
  stage: z.literal("train"),
  fold: z.string(),
  strategy,
  precision,
  loader: z.enum(["torch", "dali", "triton"]),
  batch: z.int().min(1),
  steps: count,
  resumedFromStep: count.describe("0: from the start"),
  trainSeconds: z.number().min(0).describe("of the steps, warm-up and checkpoints left out"),
  patchesPerSecond: z.number().min(0),
  volumesPerSecond: z.number().min(0).describe("patches/s x voxels of a patch / voxels of the median case"),
  stepLatency: latency,
  gpuBusyPercent: z.number().min(0).max(100).optional(),
  curve: z.array(curvePoint),
  modelPrefix: keyPrefix,
  weightsSha256: sha256Hex,
  parameters: count,
});

export const compileResult = z.strictObject({
  ...common,
  stage: z.literal("compile"),
  fold: z.string(),
  strategy,
  engine,
  precision: enginePrecision,
  buildSeconds: z.number().min(0),
  enginePrefix: keyPrefix,
  parity: z.strictObject({
    cases: count,
    meanDiceFp32: z.number().min(0).max(1).nullable(),
    meanDiceEngine: z.number().min(0).max(1).nullable(),
    largestLogitDifference: z.number().min(0),
    argmaxAgreement: z.number().min(0).max(1).describe("of voxels, or of a classification's cases"),
    classification: z
      .strictObject({
        aucFp32: share.nullable(),
        aucEngine: share.nullable(),
        accuracyFp32: share,
        accuracyEngine: share,
        largestProbabilityDifference: share,
      })
      .optional()
      .describe("of classes, which have no Dice"),
    passed: z.boolean(),
    rule: z.string().min(1),
  }),
});

/** Outlines in a preview, told apart by every kind of colour vision; the report's legend names them. */
export const previewColours = { reference: "#E69F00", prediction: "#56B4E9" } as const;

/** Per class; null where the measure is undefined (reference and prediction both empty). */
export const classScore = z.strictObject({
  class: z.string(),
  dice: z.number().min(0).max(1).nullable(),
  hd95Mm: z.number().min(0).nullable(),
  nsd: z.number().min(0).max(1).nullable(),
  referenceVoxels: count,
  predictedVoxels: count,
});
const MASK_BESIDE_CLASSES = "nothing beside `classification`";
/** A case has a mask or a class of the whole volume, never neither and never both. */
export const caseScores = z
  .strictObject({
    caseId,
    part: z.enum(["validation", "test"]),
    classes: z.array(classScore).describe("empty for a case without label"),
    meanDice: z.number().min(0).max(1).nullable(),
    windows: count,
    seconds: z.number().min(0).describe("file to mask"),
    maskKey: objectKey.optional().describe("absent where classes are predicted"),
    classification: z
      .strictObject({
        probabilities: z.record(z.string(), share).describe("class to probability; they sum to 1"),
        predicted: z.string(),
        reference: z.string().optional().describe("absent for a test case"),
      })
      .optional(),
    previewKey: objectKey
      .optional()
      .describe(
        `PNG: the slice with most of reference and prediction, outlined in ${previewColours.reference} and ${previewColours.prediction}`,
      ),
  })
  .superRefine(({ maskKey, classification }, context) => {
    if ((maskKey === undefined) !== (classification === undefined)) return;
    const message = classification ? MASK_BESIDE_CLASSES : "a value of type string, or `classification`";
    context.addIssue({ code: "custom", path: ["maskKey"], input: maskKey, message });
  })
  .meta({
    if: { required: ["classification"] },
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
    then: { properties: { maskKey: { not: {}, "x-allowed": MASK_BESIDE_CLASSES } } },
    else: { required: ["maskKey"], properties: { maskKey: { type: "string" } } },
  });
export const inferResult = z.strictObject({
  ...common,
  stage: z.literal("infer"),
  fold: z.string(),
  strategy,
  engine,
  precision: enginePrecision,
  ...caseCounts,
  scoresKey: objectKey.describe("JSON Lines of case scores"),
  batch: z.int().min(1).optional().describe("windows a call of the model"),
  windows: count,
  windowsPerSecond: z.number().min(0).describe("model time only"),
  modelSeconds: z.number().min(0),
  fileToMaskSeconds: z
    .number()
    .min(0)
    .describe("load, preprocess, model, export of the cases done; process start left out"),
  volumesPerSecond: z.number().min(0).describe("file to mask"),
  windowLatency: latency,
  gpuBusyPercent: z.number().min(0).max(100).optional(),
});

export const result = z.discriminatedUnion("stage", [
  ingestResult,
  preprocessResult,
  trainResult,
  compileResult,
  inferResult,
]);

export type Result = z.infer<typeof result>;
export type Host = z.infer<typeof host>;
export type IngestResult = z.infer<typeof ingestResult>;
export type PreprocessResult = z.infer<typeof preprocessResult>;
export type TrainResult = z.infer<typeof trainResult>;
export type CompileResult = z.infer<typeof compileResult>;
export type InferResult = z.infer<typeof inferResult>;
export type CaseScores = z.infer<typeof caseScores>;
export type ClassScore = z.infer<typeof classScore>;
