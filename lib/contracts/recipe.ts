// recipe.yaml beside the manifest, and what --set overrides. Every field has a default: an empty recipe is a recipe.
import * as z from "zod";
import {
  engine,
  enginePrecision,
  foldName,
  modelName,
  optimizer,
  positive,
  precision,
  shapeZyx,
  spacingMmZyx,
  strategy,
} from "./primitives.ts";
import { rungKind } from "./rung.ts";

/** A single value stands for a list of one. */
const listOf = <T extends z.ZodType>(item: T) => z.union([item.transform((x) => [x]), z.array(item).min(1)]);

export const recipe = z.strictObject({
  model: z
    .union([
      modelName.transform((name) => ({ name, width: undefined })),
      z
        .strictObject({
          name: modelName.default("unet3d"),
          width: z
            .int()
            .min(4)
            .max(64)
            .optional()
            .describe(
              "features of the first stage; default 32 (nnU-Net's), 16 without a GPU; of swin-unetr a multiple of 12, default 24, 12 without a GPU",
            ),
        })
        .refine(({ name, width = 12 }) => name !== "swin-unetr" || width % 12 === 0, {
          path: ["width"],
          error: "12, 24, 36, 48 or 60 for swin-unetr: its heads share the features",
        }),
    ])
    .default({ name: "unet3d", width: undefined })
    .describe(
      "unet3d: nnU-Net's plain U-Net; resenc-unet: its residual encoder; swin-unetr: a transformer; resnet3d: of a dataset with classes, and its default",
    ),
  plan: z
    .strictObject({
      memoryGiB: z
        .number()
        .min(1)
        .max(192)
        .optional()
        .describe("memory that nnU-Net's rules plan for; default 8 (nnU-Net's), 1 without a GPU"),
      spacingMm: spacingMmZyx.optional().describe("z, y, x; overrides the median spacing"),
      patch: shapeZyx.optional().describe("z, y, x; overrides the planned patch"),
      batch: z.int().min(1).max(512).optional().describe("overrides the planned global batch"),
    })
    .prefault({}),
  ingest: z
    .strictObject({
      minSlices: z.int().min(1).max(64).default(4).describe("a DICOM series with fewer slices is refused"),
    })
    .prefault({}),
  train: z
    .strictObject({
      minutes: positive.max(10080).optional().describe("budget; becomes steps once, after warm-up"),
      steps: z.int().min(1).max(10_000_000).optional().describe("budget; wins over minutes"),
      precision: precision.optional().describe("of amp, dali, fused and ddp; default bf16"),
      optimizer: optimizer.optional().describe("default: sgd (nnU-Net's) on a GPU, adamw without one"),
      seed: z
        .int()
        .min(0)
        .max(2 ** 31 - 1)
        .default(0),
      checkpointMinutes: positive.max(1440).default(2).describe("a checkpoint at least this often"),
    })
    .prefault({}),
  folds: z
    .union([z.literal("all"), listOf(foldName)])
    .optional()
    .describe("names in splits.json, or fold0 to fold4; default: the first"),
  foldCount: z.int().min(2).max(20).default(5).describe("when there is no splits.json"),
  strategies: listOf(strategy).optional().describe("default: the fastest that the machine has"),
  engines: listOf(engine)
    .optional()
    .describe(
      "all on the weights of the last of the strategies, the first on the others'; default: the fastest that the machine has",
    ),
  infer: z
    .strictObject({
      overlap: z.number().min(0).max(0.9).default(0.5),
      mirroring: z.boolean().default(false).describe("mean over all flips of the spatial axes"),
      nsdToleranceMm: positive.max(100).default(1),
      precision: enginePrecision
        .optional()
        .describe("of the engines; default: each engine's fastest that passes the parity gate"),
    })
    .prefault({}),
  capacity: z
    .strictObject({
      rungs: listOf(rungKind)
        .optional()
        .describe("in the order in which they are tried; default: all that the deployment has, in its order"),
      training: z
        .enum(["sagemaker", "batch"])
        .optional()
        .describe("SageMaker training jobs, or Batch multi-node jobs over EFA; default: what the deployment prefers"),
      nodes: z
        .int()
        .min(1)
        .max(64)
        .optional()
        .describe("instances of one ddp training, at most what the deployment allows; default: that"),
      pricedAs: z
        .string()
        .min(1)
        .default("p5.4xlarge")
        .describe("instance type of the price table that local runs are priced as"),
    })
    .prefault({}),
  maxUsd: z.number().min(0).optional().describe("hard cap on what a run can cost"),
});

export type Recipe = z.infer<typeof recipe>;
/** What a person may write: everything optional. */
export type RecipeInput = z.input<typeof recipe>;
