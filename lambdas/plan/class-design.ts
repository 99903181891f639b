// Geometry, network and batch of a run that classifies whole volumes: design.ts' counterpart.
import type { CaseRecord, Dataset, Machine, Network, Recipe } from "../../lib/contracts/index.ts";
import { map3, roundHalfEven, transposed } from "./arithmetic.ts";
import { type Choices, scaleOf } from "./choices.ts";
import { type Design, fitBatch, overridesOf, scaleNotes } from "./design.ts";
import { fingerprintOf } from "./fingerprint.ts";
import { ANISOTROPY, medianShape, targetSpacing, transposeFor } from "./geometry.ts";
import { normalisations } from "./normalisation.ts";
import { RESNET_KERNELS, RESNET_STRIDES, resnetElements, resnetFeatures } from "./resnet.ts";
import { givenWholePatch, wholeImageIntensities, wholeVolume } from "./whole-volume.ts";

/**
 * @param records - of the training cases
 * @throws VoxelburstError PatchInvalid
 */
export function classDesignOf(
  records: readonly CaseRecord[],
  dataset: Dataset,
  recipe: Recipe,
  machine: Machine,
  choices: Pick<Choices, "strategies" | "precision">,
): Design {
  const { length: channels } = dataset.channels;
  const fingerprint = fingerprintOf(records, channels);
  const scale = scaleOf(machine, recipe.model.name);
  const width = recipe.model.width ?? scale.width;
  const memoryGiB = recipe.plan.memoryGiB ?? scale.memoryGiB;
  const finest = recipe.plan.spacingMm ?? targetSpacing(fingerprint);
  const fixed = recipe.plan.spacingMm !== undefined || recipe.plan.patch !== undefined;
  const whole = wholeVolume(fingerprint, finest, { width, memoryGiB, fixed });
  const { spacingMmZyx } = whole;
  const patchZyx = recipe.plan.patch ? givenWholePatch(recipe.plan.patch) : whole.patchZyx;
  const transpose = transposeFor(spacingMmZyx);
  const patch = transposed(patchZyx, transpose);
  const features = resnetFeatures(width);
  const elements = resnetElements(patch, features);
  const notes = scaleNotes(recipe, machine);
  const coarser = spacingMmZyx.some((mm, axis) => mm > finest[axis]!);
  if (coarser)
    notes.push(
      `The spacing is coarser than the cases' ${show(finest)} mm: whole volumes are to fit the memory planned for.`,
    );
  if (dataset.channels.some((name) => name.toLowerCase() === "ct"))
    notes.push("There are no labels: CT is clipped and scaled by the voxels of whole images, not of a foreground.");
  const planned = recipe.plan.batch ?? Math.min(whole.batch, scale.maxBatch, Math.max(2, records.length >> 1));
  const fitted = fitBatch(planned, elements, choices, recipe, machine, notes);
  const network: Network = {
    model: recipe.model.name,
    inputChannels: channels,
    outputClasses: dataset.classes!.length,
    features,
    strides: RESNET_STRIDES,
    kernels: RESNET_KERNELS,
    deepSupervisionWeights: [1],
  };
  return {
    spacingMmZyx,
    medianShapeZyx: map3(medianShape(fingerprint, spacingMmZyx), (edge) => roundHalfEven(edge)),
    transpose,
    patch,
    batch: fitted.batch,
    network,
    normalisation: normalisations(dataset.channels, {
      ...fingerprint,
      intensities: wholeImageIntensities(records, channels),
    }),
    batchDice: false,
    dummy2d: Math.max(...patch) / patch[0] > ANISOTROPY,
    overrides: overridesOf(recipe),
    notes,
    elements,
    ...(fitted.refusal ? { refusal: fitted.refusal } : {}),
  };
}

const show = (values: readonly number[]) => values.map((value) => Number(value.toFixed(3))).join(", ");
