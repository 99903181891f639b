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
  images: readonly string[],
  options: { out: string; engine?: string },
): Promise<CommandResult> {
  if (!existsSync(path.join(model, "model.json")))
    throw new VoxelburstError(
      "ModelMissing",
      `${model} is no model folder: it has no model.json.`,
      "Name the folder that a run prints as `model:`.",
      { field: "MODEL", got: model },
    );
  const absent = images.find((image) => !existsSync(image));
  if (absent !== undefined)
    throw new VoxelburstError("ImagesMissing", `${absent} does not exist.`, "Name images or folders of images.", {
      field: "IMAGES",
      got: absent,
    });
  const out = path.resolve(options.out);
  const printed = await runWithProgress(context, "infer", [
    "predict",
    "--model",
    path.resolve(model),
    "--images",
    ...images.map((image) => path.resolve(image)),
    "--out",
    out,
    ...(options.engine ? ["--engine", options.engine] : []),
  ]);
  context.emit(note("Predicted", `masks: ${out}`));
  return { exitCode: EXIT.done, json: { status: "succeeded", masks: out, ...printed } };
}
