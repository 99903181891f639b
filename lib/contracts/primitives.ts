// The small shapes that the contracts share. Axis order is z, y, x (slowest first) wherever a name ends in Zyx.
import * as z from "zod";

export const positive = z.number().positive();
export const count = z.int().min(0);
export const sha256Hex = z.string().regex(/^[0-9a-f]{64}$/, "64 hexadecimal digits of a SHA-256");
export const uri = z.string().regex(/^(s3|file):\/\/.+\/$/, "an s3:// or file:// URI that ends in a slash");
/** Every character but a backslash and control characters; built from code points so that the JSON Schema's pattern,
 * which Python's `re` reads too, needs no escape that only one of the two languages has. */
const keyCharacters = `[ -\\[\\]-~${String.fromCodePoint(0xa0)}-${String.fromCodePoint(0x10ffff)}]`;
export const objectKey = z
  .string()
  .min(1)
  .max(900)
  .regex(
    new RegExp(`^(?!/)(?!.*(?:^|/)\\.\\.(?:/|$))${keyCharacters}+$`, "u"),
    "a relative object key: no leading slash, no '..' segment, no backslash, no control character",
  );
export const keyPrefix = objectKey.regex(/\/$/, "a key prefix that ends in a slash");
/** A case's name in keys, log lines and reports: never a patient's identity. */
export const caseId = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/,
    "1 to 128 letters, digits, '.', '_' or '-', the first a letter or digit",
  );
export const datasetName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, "1 to 63 lower-case letters, digits or '-', the first a letter or digit");
export const foldName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$/, "1 to 32 letters, digits, '_' or '-'");
export const isoTime = z.iso.datetime({
  offset: true,
  error: (issue) =>
    issue.code === "invalid_format" ? "a time with its offset, such as 2026-01-31T12:00:00Z" : undefined,
});

export const shapeZyx = z.tuple([z.int().min(1), z.int().min(1), z.int().min(1)]);
export const spacingMmZyx = z.tuple([positive, positive, positive]);
const row = z.tuple([z.number(), z.number(), z.number(), z.number()]);
/** Voxel (x, y, z) to world millimetres, RAS, as nibabel gives it. */
export const affine = z.tuple([row, row, row, row]);

export const stageName = z.enum(["ingest", "plan", "preprocess", "train", "compile", "infer", "report"]);
export const strategy = z.enum(["fp32", "amp", "dali", "fused", "ddp"]);
export const engine = z.enum(["torch", "inductor", "onnxruntime", "tensorrt", "triton"]);
export const optimizer = z.enum(["sgd", "adamw"]);
export const precision = z.enum(["fp32", "bf16", "fp16"]);
/** nnU-Net's plain U-Net, the one with a residual encoder, a transformer of shifted windows; for classes a ResNet. */
export const modelName = z.enum(["unet3d", "resenc-unet", "swin-unetr", "resnet3d"]);
/** Of an engine: 8 bits are calibrated on training cases. */
export const enginePrecision = z.enum(["fp32", "bf16", "fp16", "fp8", "int8"]);

export type StageName = z.infer<typeof stageName>;
export type Strategy = z.infer<typeof strategy>;
export type EngineName = z.infer<typeof engine>;
