// voxelburst predict MODEL IMAGES --out DIR: masks of new images with a model folder, or several, and nothing else.
import { existsSync } from "node:fs";
import path from "node:path";
import { errorDocument, VoxelburstError } from "../../contracts/index.ts";
import type { CommandContext, CommandResult } from "../command.ts";
import { runWithProgress } from "../command-progress.ts";
import { EXIT, exitCodeOfError } from "../exit-codes.ts";
import { plural } from "../format.ts";
import { note } from "../messages.ts";

export interface PredictOptions {
  out: string;
  model: string[];
  engine?: string;
}

/** Why an image has no mask: its error document, flat, with the image's name. */
type ImageError = { image: string; code: string; message: string; remedy: string; got?: string; allowed?: string };

/**
 * Masks of the images below options.out. An image that is refused is told of when it is, and the others go on.
 *
 * @throws VoxelburstError of the arguments; what ends the process itself is in the result, beside the masks that there are
 */
export async function predict(
  context: CommandContext,
  paths: readonly string[],
  options: PredictOptions,
): Promise<CommandResult> {
  const args = predictArguments(paths, options);
  const out = path.resolve(options.out);
  const masks: Record<string, string> = {};
  const errors: ImageError[] = [];
  const predictions: Record<string, unknown> = {};
  // Of classes alone: a segmentation has nothing there.
  const outputs = () => ({ out, masks, ...(Object.keys(predictions).length > 0 ? { predictions } : {}), errors });
  const onObject = ({ type, image, mask, predicted, probabilities, error }: Record<string, unknown>) => {
    if (type === "prediction" && mask === undefined) predictions[String(image)] = { predicted, probabilities };
    else if (type === "prediction") masks[String(image)] = path.join(out, String(mask));
    if (type !== "refusal") return;
    const { schema: _schema, ...said } = errorDocument.parse(error);
    errors.push({ image: String(image), ...said });
    context.emit({ kind: "error", code: said.code, text: textOf(errors.at(-1)!), remedy: said.remedy });
  };
  try {
    const summary = await runWithProgress(context, "infer", args, { onObject });
    const models = Math.max(1, options.model.length);
    context.emit(
      note("Predicted", `${models > 1 ? `mean of ${plural(models, "model")}; ` : ""}${written(summary, out)}`),
    );
    return { exitCode: EXIT.done, json: { status: "succeeded", ...outputs(), ...summary } };
  } catch (error) {
    if (!(error instanceof VoxelburstError)) throw error;
    context.emit({ kind: "error", code: error.code, text: error.message, remedy: error.remedy, stack: error.stack });
    const json = { status: "failed", error: error.toDocument(), ...outputs() };
    return { exitCode: exitCodeOfError(error), json };
  }
}

/** Where a classification's table lies, or the masks. */
const written = (summary: Record<string, unknown> | undefined, out: string): string =>
  summary?.predictionsFile ? `predictions: ${summary.predictionsFile}` : `masks: ${out}`;

function textOf({ image, message, got, allowed }: ImageError): string {
  const facts = [...(got ? [`got ${got}`] : []), ...(allowed ? [`allowed: ${allowed}`] : [])];
  return `${image}: ${message}${facts.length > 0 ? ` (${facts.join("; ")})` : ""}`;
}

/**
 * What the process is started with.
 *
 * @param paths - images; the model folder is the first of them where no --model names any
 * @throws VoxelburstError UsageInvalid, ModelMissing or ImagesMissing
 */
export function predictArguments(paths: readonly string[], options: PredictOptions): [string, ...string[]] {
  const models = options.model.length > 0 ? options.model : paths.slice(0, 1);
  const images = options.model.length > 0 ? paths : paths.slice(1);
  if (images.length === 0)
    throw new VoxelburstError(
      "UsageInvalid",
      "No image was named.",
      "Name images or folders of images behind the model folder.",
      { field: "IMAGES" },
    );
  const lacking = models.find((model) => !existsSync(path.join(model, "model.json")));
  if (lacking !== undefined)
    throw new VoxelburstError(
      "ModelMissing",
      `${lacking} is no model folder: it has no model.json.`,
      "Name the folders that a run prints as `model:`.",
      { field: "MODEL", got: lacking },
    );
  const folders = models.map((model) => path.resolve(model));
  if (new Set(folders).size < folders.length)
    throw new VoxelburstError(
      "UsageInvalid",
      "A model folder was named twice.",
      "Name the folders of different folds: one that counts twice makes no better ensemble.",
      { field: "MODEL" },
    );
  const absent = images.find((image) => !existsSync(image));
  if (absent !== undefined)
    throw new VoxelburstError("ImagesMissing", `${absent} does not exist.`, "Name images or folders of images.", {
      field: "IMAGES",
      got: absent,
    });
  return [
    "predict",
    ...["--model", ...folders],
    ...["--images", ...images.map((image) => path.resolve(image))],
    ...["--out", path.resolve(options.out)],
    ...(options.engine ? ["--engine", options.engine] : []),
  ];
}
