// voxelburst init FOLDER: pairs images with labels and writes dataset.json and a commented recipe.yaml.
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { decathlonManifest, parseOrThrow, VoxelburstError } from "../../contracts/index.ts";
import { diskError } from "../../local/disk-error.ts";
import { isNifti, labelValues, looksLikeCt } from "../../local/nifti-values.ts";
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
  const { training, test, unpairedImages, unpairedLabels } = pairCases(folder);
  if (training.length === 0)
    throw new VoxelburstError(
      "NothingToPair",
      `No image with a label was found: ${plural(test.length + unpairedImages.length, "image")}, ${plural(unpairedLabels.length, "label")}.`,
      "Put images into imagesTr and labels of the same name into labelsTr, or name labels <image>_seg.nii.gz.",
      {
        got: `${test.length + unpairedImages.length} images, ${unpairedLabels.length} labels`,
        allowed: "at least one pair",
      },
    );
  const values = valuesOf(folder, training);
  const channels = Math.max(...training.map((one) => one.images.length));
  const channel = modalityOf(folder, training);
  const manifest = {
    name: path.basename(folder),
    tensorImageSize: channels > 1 ? "4D" : "3D",
    modality: Object.fromEntries(
      Array.from({ length: channels }, (_, index) => [index, channels > 1 ? `channel${index}` : channel]),
    ),
    labels: Object.fromEntries(values.map((value) => [value, value === 0 ? "background" : `structure${value}`])),
    numTraining: training.length,
    numTest: test.length,
    training: training.map((one) => ({ id: one.id, image: imagesOf(one), label: one.label })),
    test: test.map((one) => ({ id: one.id, image: imagesOf(one) })),
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
  if (channel === UNKNOWN && channels === 1)
    emit(
      warning(
        "ModalityUnknown",
        'the modality was not recognised, as no image is NIfTI: write "CT" in place of "unknown" in dataset.json if it is CT',
      ),
    );
  if ([...training, ...test].some((one) => one.isNamedByFile))
    emit(
      warning(
        "NamesKept",
        "names of files become case ids, which stand in keys, records and logs: none may carry an identity",
      ),
    );
  if (unpairedImages.length > 0)
    emit(
      warning(
        "ImageUnpaired",
        `${plural(unpairedImages.length, "image")} without a label left out (in imagesTs they would be predicted): ${listed(unpairedImages)}`,
      ),
    );
  if (unpairedLabels.length > 0)
    emit(
      warning(
        "LabelUnpaired",
        `${plural(unpairedLabels.length, "label")} without an image to train on left out: ${listed(unpairedLabels)}`,
      ),
    );
  return {
    exitCode: EXIT.done,
    json: {
      manifest: manifestFile,
      training: training.length,
      test: test.length,
      modality: manifest.modality,
      unpairedImages,
      unpairedLabels,
    },
  };
}

/** A warning lists no more names than this. */
const NAMES_LISTED = 20;
const listed = (names: readonly string[]) =>
  names.slice(0, NAMES_LISTED).join(", ") +
  (names.length > NAMES_LISTED ? ` and ${names.length - NAMES_LISTED} more (--json lists all)` : "");

const UNKNOWN = "unknown";

/** Of the first NIfTI that is trained on. A folder of DICOM is not looked into. */
function modalityOf(folder: string, training: readonly PairedCase[]): string {
  const image = training.flatMap((one) => one.images).find(isNifti);
  if (image === undefined) return UNKNOWN;
  return looksLikeCt(path.join(folder, image)) ? "CT" : "MR";
}

const imagesOf = ({ images }: PairedCase) => (images.length === 1 ? images[0] : images);

/** 0 to the largest value found: ingest refuses a label file with any other. */
function valuesOf(folder: string, training: readonly PairedCase[]): number[] {
  const labels = training.map((one) => one.label!).filter(isNifti);
  const step = Math.max(1, Math.floor(labels.length / LABELS_READ));
  const largest = labels
    .filter((_, index) => index % step === 0)
    .flatMap((label) => labelValues(path.join(folder, label)) ?? [])
    .filter((value) => Number.isInteger(value) && value > 0 && value < 255);
  return Array.from({ length: Math.max(1, ...largest) + 1 }, (_, value) => value);
}
