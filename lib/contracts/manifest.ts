// datasets/<name>/dataset.json in the Medical Segmentation Decathlon's form or nnU-Net v2's,
// and the one form that everything behind start-run reads.
import * as z from "zod";
import { caseId, objectKey } from "./primitives.ts";

/** "./imagesTr/a.nii.gz" and "imagesTr/a.nii.gz" name the same object. */
const relativePath = objectKey.transform((path) => path.replace(/^(\.\/)+/, "")).pipe(objectKey);
const onePathOrMore = z.union([relativePath, z.array(relativePath).min(1)]);

const trainingCase = z.strictObject({
  id: caseId
    .optional()
    .describe("the case's name; default: the image file's stem, or case-<position> for a DICOM folder"),
  image: onePathOrMore.describe("a NIfTI, a folder of DICOM, or one of them a channel"),
  label: relativePath.optional().describe("a NIfTI, a DICOM SEG or an RTSTRUCT"),
  patient: z
    .string()
    .min(1)
    .max(128)
    .optional()
    .describe("cases of one patient stay in one fold; never written anywhere"),
  class: z.string().min(1).optional().describe("for classification: one of the manifest's classes"),
});
const testCase = z.union([
  onePathOrMore,
  z.strictObject({ id: caseId.optional(), image: onePathOrMore, patient: z.string().min(1).max(128).optional() }),
]);

const description = {
  name: z.string().min(1).optional(),
  description: z.string().optional(),
  reference: z.union([z.string(), z.array(z.string())]).optional(),
  licence: z.string().optional(),
  license: z.string().optional(),
  release: z.string().optional(),
  relase: z.string().optional().describe("as the Decathlon misspells it in some of its tasks"),
};

export const decathlonManifest = z.strictObject({
  ...description,
  tensorImageSize: z.enum(["3D", "4D"]).optional(),
  modality: z.record(z.string().regex(/^\d+$/), z.string().min(1)).describe("channel number to channel name"),
  labels: z
    .record(z.string().regex(/^\d+$/), z.string().min(1))
    .optional()
    .describe("label value to name; 0 is background"),
  classes: z
    .array(z.string().min(1))
    .min(2)
    .optional()
    .describe("classification: the names that a case's class may have"),
  numTraining: z.int().min(0).optional(),
  numTest: z.int().min(0).optional(),
  training: z.array(trainingCase).min(1),
  test: z.array(testCase).default([]),
});

export const nnunetManifest = z.strictObject({
  ...description,
  channel_names: z.record(z.string().regex(/^\d+$/), z.string().min(1)),
  labels: z.record(z.string().min(1), z.int().min(0).max(254)).describe("name to label value; background is 0"),
  numTraining: z.int().min(1),
  file_ending: z.enum([".nii.gz", ".nii"]),
  overwrite_image_reader_writer: z.string().optional(),
  dataset: z.record(caseId, z.strictObject({ images: z.array(relativePath).min(1), label: relativePath })).optional(),
});

/** Either form. Whoever reads one takes the form by nnU-Net's `channel_names`, so that an error is of the form meant. */
export const manifest = z.union([decathlonManifest, nnunetManifest]);

/** What start-run writes and every later stage reads: both forms become this. */
export const dataset = z.strictObject({
  name: z.string().min(1),
  channels: z.array(z.string().min(1)).min(1),
  labels: z
    .array(z.strictObject({ value: z.int().min(0).max(254), name: z.string().min(1) }))
    .describe("ascending, from background 0 on; consecutive; none where there are classes"),
  classes: z.array(z.string().min(1)).min(2).optional().describe("of whole volumes: a case has one of them"),
  reference: z.string().optional(),
  licence: z.string().optional(),
});

export type DecathlonManifest = z.infer<typeof decathlonManifest>;
export type NnunetManifest = z.infer<typeof nnunetManifest>;
export type Dataset = z.infer<typeof dataset>;
