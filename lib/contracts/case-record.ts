// What ingest writes for a case: where its canonical volume is and what planning needs to know of it.
import * as z from "zod";
import { affine, caseId, count, keyPrefix, objectKey, sha256Hex, shapeZyx, spacingMmZyx } from "./primitives.ts";

export const caseWarning = z.strictObject({ code: z.string().min(1), message: z.string().min(1) });

/** Foreground intensities of one channel, over voxels with label > 0 (all voxels where a case has no foreground). */
export const intensities = z.strictObject({
  count,
  mean: z.number(),
  std: z.number().min(0),
  min: z.number(),
  max: z.number(),
  quantiles: z.array(z.number()).length(401).describe("at 0, 0.0025, ..., 1"),
});

export const caseRecord = z.strictObject({
  schema: z.literal(1),
  caseId,
  caseHash: sha256Hex.describe("of the inputs' content tags, the dataset's labels and channels, and the version"),
  split: z.enum(["training", "test"]),
  patient: z
    .string()
    .regex(/^patient-[0-9a-f]{16}$/)
    .optional()
    .describe("keyed hash: groups cases, names nobody"),
  class: z.string().optional(),
  source: z.strictObject({
    kind: z.enum(["nifti", "dicom"]),
    slices: count.optional(),
    transferSyntax: z.string().optional(),
  }),
  prefix: keyPrefix.describe("ingest/<hash>/"),
  images: z.array(objectKey).min(1).describe("one canonical .nii.gz a channel, in the image's own grid"),
  label: objectKey.optional(),
  shapeZyx,
  spacingMmZyx,
  affine,
  dtype: z.string().min(1),
  nonzeroBoxZyx: z
    .tuple([z.tuple([count, count]), z.tuple([count, count]), z.tuple([count, count])])
    .describe("half-open [start, stop) an axis, union over channels of value != 0"),
  labelVoxels: z.record(z.string().regex(/^\d+$/), count).optional().describe("label value to voxels"),
  channels: z.array(intensities).min(1),
  sha256: z.record(objectKey, sha256Hex),
  bytes: count.describe("of the inputs"),
  warnings: z.array(caseWarning),
});

/** One line of runs/<id>/ingest/<index>.quarantine.jsonl, and the object in the quarantine bucket. */
export const quarantineEntry = z.strictObject({
  caseId,
  code: z.string().regex(/^[A-Z][A-Za-z0-9]+$/),
  message: z.string().min(1),
  got: z.string(),
  allowed: z.string(),
  remedy: z.string().min(1),
});

export type CaseRecord = z.infer<typeof caseRecord>;
export type Intensities = z.infer<typeof intensities>;
export type QuarantineEntry = z.infer<typeof quarantineEntry>;
