// The document behind `python -m voxelburst <stage> --task <uri>`, and the JSON Lines it points to.
import * as z from "zod";
import { dataset } from "./manifest.ts";
import {
  caseId,
  count,
  datasetName,
  engine,
  foldName,
  keyPrefix,
  objectKey,
  positive,
  sha256Hex,
  strategy,
  uri,
} from "./primitives.ts";

const common = {
  schema: z.literal(1),
  taskId: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/)
    .describe("ingest, preprocess, train-fold1-dali ...: names results and errors"),
  runId: z.string(),
  version: z.string(),
  dataset: datasetName,
  datasetUri: uri,
  artefactsUri: uri.describe("every key of the task is below it"),
  runPrefix: keyPrefix.describe("runs/<runId>/"),
  inputHash: sha256Hex,
};
/** Array children take the lines whose position modulo `shards` is their index. */
const array = { casesKey: objectKey.describe("JSON Lines"), shards: z.int().min(1).max(10_000) };

export const ingestTask = z.strictObject({
  ...common,
  ...array,
  stage: z.literal("ingest"),
  quarantineUri: uri,
  definition: dataset,
  minSlices: z.int().min(1),
});
const inputObject = z.strictObject({
  key: objectKey.describe("below datasetUri; a folder of DICOM ends in a slash"),
  bytes: count,
});
export const ingestCase = z.strictObject({
  caseId,
  caseHash: sha256Hex,
  split: z.enum(["training", "test"]),
  images: z.array(inputObject).min(1),
  label: inputObject.optional(),
  patient: z.string().optional().describe("already a keyed hash"),
  class: z.string().optional(),
});

export const preprocessTask = z.strictObject({
  ...common,
  ...array,
  stage: z.literal("preprocess"),
  planKey: objectKey,
});
export const preprocessCase = z.strictObject({
  caseId,
  recordKey: objectKey,
  outputPrefix: keyPrefix.describe("preprocess/<hash>/"),
  outputHash: sha256Hex,
});

export const trainTask = z.strictObject({
  ...common,
  stage: z.literal("train"),
  planKey: objectKey,
  casesKey: objectKey,
  fold: foldName,
  strategy,
  gpus: count.describe("of all nodes together, with a process each; 0: the processors of one machine"),
  outputPrefix: keyPrefix.describe("train/<hash>/"),
  checkpointMinutes: positive,
});
export const trainCase = z.strictObject({
  caseId,
  part: z.enum(["train", "validation"]),
  arraysPrefix: keyPrefix.describe("preprocess/<hash>/ with image.npy, label.npy, foreground.npz, meta.json"),
  class: z.string().optional().describe("of a classification: one of the dataset's classes; no label.npy then"),
});

export const compileTask = z.strictObject({
  ...common,
  stage: z.literal("compile"),
  planKey: objectKey,
  casesKey: objectKey.describe("validation cases, for the parity of Dice; training cases, for calibration of 8 bits"),
  fold: foldName,
  strategy,
  engine,
  modelPrefix: keyPrefix.describe("train/<hash>/"),
  outputPrefix: keyPrefix.describe("compile/<hash>/"),
});
export const inferTask = z.strictObject({
  ...common,
  ...array,
  stage: z.literal("infer"),
  planKey: objectKey,
  fold: foldName,
  strategy,
  engine,
  enginePrefix: keyPrefix.describe("compile/<hash>/"),
  masksPrefix: keyPrefix.describe("runs/<runId>/masks/<fold>-<strategy>-<engine>/"),
});
export const inferCase = z.strictObject({
  caseId,
  part: z.enum(["validation", "test"]),
  recordKey: objectKey,
  outputPrefix: keyPrefix.describe(
    "infer/<hash>/ with mask.nii.gz, preview.png, scores.json; of classes the last alone",
  ),
  outputHash: sha256Hex,
});

export const task = z.discriminatedUnion("stage", [ingestTask, preprocessTask, trainTask, compileTask, inferTask]);

export type Task = z.infer<typeof task>;
export type IngestTask = z.infer<typeof ingestTask>;
export type IngestCase = z.infer<typeof ingestCase>;
export type PreprocessTask = z.infer<typeof preprocessTask>;
export type PreprocessCase = z.infer<typeof preprocessCase>;
export type TrainTask = z.infer<typeof trainTask>;
export type TrainCase = z.infer<typeof trainCase>;
export type CompileTask = z.infer<typeof compileTask>;
export type InferTask = z.infer<typeof inferTask>;
export type InferCase = z.infer<typeof inferCase>;
