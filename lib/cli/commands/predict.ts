// voxelburst predict MODEL IMAGES --out DIR: masks of new images with a model folder, and nothing else.
import { existsSync } from "node:fs";
import path from "node:path";
import { VoxelburstError } from "../../contracts/index.ts";
import type { CommandContext, CommandResult } from "../command.ts";
import { runWithProgress } from "../command-progress.ts";
import { EXIT } from "../exit-codes.ts";
import { note } from "../messages.ts";

export async function predict(
  context: CommandContext,
  model: string,
  images: string,
  options: { out: string },
): Promise<CommandResult> {
  if (!existsSync(path.join(model, "model.json")))
    throw new VoxelburstError(
      "ModelMissing",
      `${model} is no model folder: it has no model.json.`,
      "Name the folder that a run prints as `model:`.",
      { field: "MODEL", got: model },
    );
  if (!existsSync(images))
    throw new VoxelburstError("ImagesMissing", `${images} does not exist.`, "Name an image or a folder of images.", {
      field: "IMAGES",
      got: images,
    });
  const out = path.resolve(options.out);
  const printed = await runWithProgress(context, "infer", [
    "predict",
    "--model",
    path.resolve(model),
    "--images",
    path.resolve(images),
    "--out",
    out,
  ]);
  context.emit(note("Predicted", `masks: ${out}`));
  return { exitCode: EXIT.done, json: { status: "succeeded", masks: out, ...printed } };
}
