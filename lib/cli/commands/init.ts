// voxelburst init FOLDER: pairs images with labels and writes dataset.json and a commented recipe.yaml.
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { caseId, decathlonManifest, parseOrThrow, VoxelburstError } from "../../contracts/index.ts";
import { diskError } from "../../local/disk-error.ts";
import { labelValues, looksLikeCt } from "../../local/nifti-values.ts";
import { type PairedCase, pairCases } from "../../local/pair-cases.ts";
import { datasetFolder } from "../../local/workbench.ts";
import type { CommandContext, CommandResult } from "../command.ts";
import { EXIT } from "../exit-codes.ts";
import { plural } from "../format.ts";
import { note, warning } from "../messages.ts";
import { RECIPE_TEMPLATE } from "../recipe-template.ts";

/** Labels that are looked into for their values, spread over the dataset. */
const LABELS_READ = 20;

export async function init(
  { emit }: Pick<CommandContext, "emit">,
  folderName: string,
  options: { force?: boolean },
): Promise<CommandResult> {
  const folder = datasetFolder(folderName);
  const manifestFile = path.join(folder, "dataset.json");
  if (existsSync(manifestFile) && !options.force)
    throw new VoxelburstError(
      "ManifestExists",
      "The folder has a dataset.json already.",
      "Use it as it is, or write another one over it with --force.",
      { field: "dataset.json" },
    );
  const { training, test, unpaired } = pairCases(folder);
  if (training.length === 0)
    throw new VoxelburstError(
      "NothingToPair",
      `No image with a label was found: ${plural(test.length, "image")}, ${plural(unpaired.length, "label")}.`,
      "Put images into imagesTr and labels of the same name into labelsTr, or name labels <image>_seg.nii.gz.",
      { got: `${test.length} images, ${unpaired.length} labels`, allowed: "at least one pair" },
    );
  const values = valuesOf(folder, training);
  const channels = Math.max(...training.map((one) => one.images.length));
  const channel = looksLikeCt(path.join(folder, training[0]!.images[0]!)) ? "CT" : "MR";
  const manifest = {
    name: path.basename(folder),
    tensorImageSize: channels > 1 ? "4D" : "3D",
    modality: Object.fromEntries(
      Array.from({ length: channels }, (_, index) => [index, channels > 1 ? `channel${index}` : channel]),
    ),
    labels: Object.fromEntries(values.map((value) => [value, value === 0 ? "background" : `structure${value}`])),
    numTraining: training.length,
    numTest: test.length,
    training: training.map((one, index) => ({ ...named(one, index), image: imagesOf(one), label: one.label })),
    test: test.map((one, index) => ({ ...named(one, training.length + index), image: imagesOf(one) })),
  };
  parseOrThrow(decathlonManifest, manifest, "dataset.json", "DatasetInvalid");
  try {
    writeFileSync(manifestFile, `${JSON.stringify(manifest, null, 1)}\n`);
    const recipeFile = path.join(folder, "recipe.yaml");
    if (!existsSync(recipeFile)) writeFileSync(recipeFile, RECIPE_TEMPLATE);
  } catch (error) {
    throw diskError(error, "the dataset");
  }
  emit(
    note(
      "Initialised",
      `dataset.json: ${plural(training.length, "training case")}, ${test.length} to predict, ${plural(channels, "channel")}, ${plural(values.length - 1, "structure")}`,
    ),
  );
  emit(
    note(
      "NamesGuessed",
      `check the names in it: channels ${Object.values(manifest.modality).join(", ")} (CT is normalised by its Hounsfield units), labels ${Object.values(manifest.labels).join(", ")}`,
    ),
  );
  emit(
    note(
      "PatientHint",
      'a patient with several cases: give each case "patient": "..." so that all are in one fold; it is hashed before it is kept',
    ),
  );
  if (unpaired.length > 0)
    emit(warning("LabelUnpaired", `${plural(unpaired.length, "label")} without an image was left out`));
  return {
    exitCode: EXIT.done,
    json: { manifest: manifestFile, training: training.length, test: test.length, unpaired: unpaired.length },
  };
}

const imagesOf = ({ images }: PairedCase) => (images.length === 1 ? images[0] : images);

/** A case keeps its file's name where that is one that may go into keys and logs. */
const named = ({ id }: PairedCase, index: number) => ({
  id: caseId.safeParse(id).success ? id : `case-${String(index + 1).padStart(4, "0")}`,
});

/** 0 to the largest value found: ingest refuses a label file with any other. */
function valuesOf(folder: string, training: readonly PairedCase[]): number[] {
  const step = Math.max(1, Math.floor(training.length / LABELS_READ));
  const largest = training
    .filter((_, index) => index % step === 0)
    .flatMap((one) => labelValues(path.join(folder, one.label!)) ?? [])
    .filter((value) => Number.isInteger(value) && value > 0 && value < 255);
  return Array.from({ length: Math.max(1, ...largest) + 1 }, (_, value) => value);
}
