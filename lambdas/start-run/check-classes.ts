// A dataset of classes, checked before anything starts: its model, each case's class, and enough cases of each.
import { type Dataset, type Recipe, VoxelburstError } from "../../lib/contracts/index.ts";
import type { ManifestCase } from "./manifest-cases.ts";

/** The model of whole volumes: the only one that a dataset with classes can have, and none other can have it. */
export const CLASS_MODEL = "resnet3d";

/** @throws VoxelburstError ModelUnfit where the recipe's model cannot learn what the dataset declares */
export function checkModel({ model }: Pick<Recipe, "model">, { classes }: Pick<Dataset, "classes">): void {
  if ((model.name === CLASS_MODEL) === (classes !== undefined)) return;
  const field = { field: "model", got: model.name };
  throw classes
    ? new VoxelburstError(
        "ModelUnfit",
        `The recipe's model ${model.name} segments, and dataset.json declares classes of whole volumes; allowed: ${CLASS_MODEL}.`,
        `Remove \`model\` from the recipe or set it to ${CLASS_MODEL}; to segment, remove \`classes\` from dataset.json and declare labels.`,
        { ...field, allowed: CLASS_MODEL },
      )
    : new VoxelburstError(
        "ModelUnfit",
        `The recipe's model ${CLASS_MODEL} tells classes of whole volumes apart, and dataset.json declares labels; allowed: unet3d, resenc-unet or swin-unetr.`,
        "Name one of them in `model`; to classify, declare `classes` in dataset.json and give every training case its `class`.",
        { ...field, allowed: "unet3d, resenc-unet, swin-unetr" },
      );
}

/**
 * @param folds - that cases will be split into; 1 where splits.json does that
 * @throws VoxelburstError ClassesRepeated, ClassMissing, ClassUnknown, OneClassOnly or TooFewCasesOfClass
 */
export function checkClasses(cases: readonly ManifestCase[], classes: readonly string[], folds: number): void {
  const allowed = classes.join(", ");
  const twice = classes.find((name, at) => classes.indexOf(name) < at);
  if (twice !== undefined)
    throw new VoxelburstError(
      "ClassesRepeated",
      `dataset.json: classes names ${twice} twice; allowed: each class once.`,
      "Remove one of the two.",
      { field: "classes", got: twice },
    );
  const training = cases.filter((one) => one.split === "training");
  for (const { class: name, caseId, field } of training) {
    if (name === undefined)
      throw new VoxelburstError(
        "ClassMissing",
        `dataset.json: ${field} (case ${caseId}) has no class; allowed: ${allowed}.`,
        "Give the case its `class`, or list it under `test`: its class is then predicted.",
        { field: `${field}.class`, got: "nothing", allowed, caseId },
      );
    if (!classes.includes(name))
      throw new VoxelburstError(
        "ClassUnknown",
        `dataset.json: ${field} (case ${caseId}) has the class ${name}; allowed: ${allowed}.`,
        "Correct the case's `class`, or add it to `classes`.",
        { field: `${field}.class`, got: name, allowed, caseId },
      );
  }
  checkCounts(
    training.map((one) => one.class!),
    classes,
    folds,
  );
}

/** @throws VoxelburstError OneClassOnly or TooFewCasesOfClass */
function checkCounts(found: readonly string[], classes: readonly string[], folds: number): void {
  const countOf = (name: string) => found.filter((one) => one === name).length;
  const there = classes.filter((name) => countOf(name) > 0);
  if (there.length < 2)
    throw new VoxelburstError(
      "OneClassOnly",
      `dataset.json: every training case is of the class ${there[0]}; allowed: cases of at least two classes.`,
      "Add cases of another class.",
      { field: "training", got: String(there[0]), allowed: classes.join(", ") },
    );
  const least = Math.max(2, folds);
  const thin = classes.find((name) => countOf(name) < least);
  if (thin !== undefined)
    throw new VoxelburstError(
      "TooFewCasesOfClass",
      `dataset.json: the class ${thin} has ${countOf(thin)} training cases for ${folds} folds; allowed: at least ${least}, so that every fold trains and validates on each class.`,
      "Add cases of that class, remove it from `classes`, lower foldCount in the recipe, or write splits.json.",
      { field: "classes", got: `${countOf(thin)} cases of ${thin}`, allowed: `at least ${least}` },
    );
}
