// model.json of a model folder: what `voxelburst predict MODEL IMAGES --out DIR` needs, and nothing else.
import * as z from "zod";
import { network, normalisation } from "./plan.ts";
import { engine, enginePrecision, objectKey, positive, sha256Hex, shapeZyx, spacingMmZyx } from "./primitives.ts";

export const modelFolder = z
  .strictObject({
    schema: z.literal(1),
    name: z.string().min(1),
    version: z.string(),
    runId: z.string(),
    fold: z.string(),
    strategy: z.string(),
    channels: z.array(z.string()).min(1),
    labels: z
      .array(z.strictObject({ value: z.int().min(0), name: z.string() }))
      .describe("at least background and a structure; none where there are classes"),
    classes: z.array(z.string().min(1)).min(2).optional().describe("what resnet3d tells apart, in its outputs' order"),
    network,
    normalisation: z.array(normalisation).min(1),
    transpose: z.tuple([z.int(), z.int(), z.int()]),
    spacingMmZyx,
    patch: shapeZyx,
    infer: z.strictObject({
      overlap: z.number(),
      mirroring: z.boolean(),
      nsdToleranceMm: positive.optional().describe("what the training's own cases were scored at"),
      precision: enginePrecision.optional().describe("that the recipe asked for"),
    }),
    engines: z.array(
      z.strictObject({
        engine,
        precision: enginePrecision,
        file: objectKey.optional().describe("relative; absent: run from weights"),
      }),
    ),
    files: z
      .record(objectKey, sha256Hex)
      .describe("weights.pt, model.onnx, engine files, plan.json, MODEL_CARD.md, LICENSE"),
  })
  .superRefine(({ labels, classes }, context) => {
    const at = { path: ["labels"], origin: "array", inclusive: true, input: labels };
    if (classes && labels.length > 0) context.addIssue({ ...at, code: "too_big", maximum: 0 });
    if (!classes && labels.length < 2) context.addIssue({ ...at, code: "too_small", minimum: 2 });
  })
  .meta({
    if: { required: ["classes"] },
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
    then: { properties: { labels: { maxItems: 0 } } },
    else: { properties: { labels: { minItems: 2 } } },
  });

export type ModelFolder = z.infer<typeof modelFolder>;
