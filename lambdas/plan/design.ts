// Geometry, network and batch of a run: nnU-Net's rules, the recipe's overrides, and what the machine can hold.
import {
  type CaseRecord,
  type Dataset,
  type Machine,
  type Network,
  type Plan,
  type Recipe,
  VoxelburstError,
} from "../../lib/contracts/index.ts";
import { map3, product, roundHalfEven, type Triple, transposed } from "./arithmetic.ts";
import { type Choices, precisionOfStrategy, type Refusal, scaleOf } from "./choices.ts";
import { type Configuration, configurationOf, hasLowResolutionStage, planConfiguration } from "./configuration.ts";
import { fingerprintOf } from "./fingerprint.ts";
import { ANISOTROPY, medianShape, targetSpacing, transposeFor } from "./geometry.ts";
import { normalisations } from "./normalisation.ts";
import { demandOf, placeOf } from "./place.ts";
import { isSwin, swinFeatures } from "./swin.ts";
import { deepSupervisionWeights, featureMapElements, featuresOf } from "./topology.ts";

export interface Design
  extends Pick<
    Plan,
    | "spacingMmZyx"
    | "medianShapeZyx"
    | "transpose"
    | "patch"
    | "batch"
    | "network"
    | "normalisation"
    | "batchDice"
    | "dummy2d"
    | "overrides"
    | "notes"
  > {
  /** nnU-Net's memory proxy of one sample of this network. */
  elements: number;
  refusal?: Refusal;
}

/**
 * @param records - of the training cases
 * @throws VoxelburstError PatchInvalid or VolumesTooSmall
 */
export function designOf(
  records: readonly CaseRecord[],
  dataset: Dataset,
  recipe: Recipe,
  machine: Machine,
  choices: Pick<Choices, "strategies" | "precision">,
): Design {
  const fingerprint = fingerprintOf(records, dataset.channels.length);
  const spacingMmZyx = recipe.plan.spacingMm ?? targetSpacing(fingerprint);
  const transpose = transposeFor(spacingMmZyx);
  const medianZyx = medianShape(fingerprint, spacingMmZyx);
  const classes = dataset.labels.length;
  const scale = scaleOf(machine, recipe.model.name);
  const width = recipe.model.width ?? scale.width;
  const target = {
    spacing: transposed(spacingMmZyx, transpose),
    medianShape: transposed(medianZyx, transpose),
    cases: records.length,
    classes,
    width,
    model: recipe.model.name,
    memoryGiB: recipe.plan.memoryGiB ?? scale.memoryGiB,
  };
  const configuration = recipe.plan.patch
    ? givenPatch(configurationOf(transposed(recipe.plan.patch, transpose), target), recipe.plan.patch, transpose)
    : planConfiguration(target);
  const stages = configuration.strides.length;
  if (stages < 2)
    throw new VoxelburstError(
      "VolumesTooSmall",
      `The median case is ${show(medianZyx)} voxels at ${show(spacingMmZyx)} mm (z, y, x): too small for a network that halves it even once.`,
      "Set a finer plan.spacingMm, or a plan.patch of at least 8 voxels an axis.",
      { got: show(medianZyx), allowed: "at least 8 voxels on two axes" },
    );
  const swin = isSwin(recipe.model.name);
  const features = swin ? swinFeatures(width) : featuresOf(width, stages);
  const elements = featureMapElements(
    configuration.patch,
    { strides: configuration.strides, features },
    classes,
    recipe.model.name,
  );
  const notes: string[] = scaleNotes(recipe, machine);
  if (!fingerprint.intensities && dataset.channels.some((name) => name.toLowerCase() === "ct"))
    notes.push("No training case has any foreground: CT channels get a z-score in place of the dataset's clip.");
  const fitted = fitBatch(
    recipe.plan.batch ?? Math.min(configuration.batch, scale.maxBatch),
    elements,
    choices,
    recipe,
    machine,
    notes,
  );
  const network: Network = {
    model: recipe.model.name,
    inputChannels: dataset.channels.length,
    outputClasses: classes,
    features,
    strides: configuration.strides,
    kernels: configuration.kernels,
    deepSupervisionWeights: swin ? [1] : deepSupervisionWeights(stages),
  };
  return {
    spacingMmZyx,
    medianShapeZyx: map3(medianZyx, (edge) => roundHalfEven(edge)),
    transpose,
    patch: configuration.patch,
    batch: fitted.batch,
    network,
    normalisation: normalisations(dataset.channels, fingerprint),
    batchDice: hasLowResolutionStage(configuration.patch, target),
    dummy2d: Math.max(...configuration.patch) / configuration.patch[0] > ANISOTROPY,
    overrides: overridesOf(recipe),
    notes: [...notes, ...patchNotes(configuration.patch, target.medianShape)],
    elements,
    ...(fitted.refusal ? { refusal: fitted.refusal } : {}),
  };
}

/** A patch from the recipe must fit the pooling that nnU-Net's rules give it; it is never changed silently. */
function givenPatch(configuration: Configuration, wantedZyx: Triple, transpose: Triple): Configuration {
  const toImage = (values: Triple) => map3(values, (_, axis) => values[transpose.indexOf(axis)]!);
  const wanted = transposed(wantedZyx, transpose);
  if (wanted.every((edge, axis) => edge === configuration.patch[axis])) return configuration;
  const divisor = show(toImage(configuration.divisor));
  const valid = show(toImage(configuration.patch));
  throw new VoxelburstError(
    "PatchInvalid",
    `plan.patch is ${show(wantedZyx)}, whose pooling needs multiples of ${divisor}; the next larger patch is ${valid}.`,
    `Set plan.patch to [${valid}], or to other multiples of ${divisor}.`,
    { field: "plan.patch", got: show(wantedZyx), allowed: `multiples of ${divisor}` },
  );
}

/** The planned batch may shrink to what the machine holds, and says so; one that the recipe sets is refused instead. */
export function fitBatch(
  planned: number,
  elements: number,
  { strategies, precision }: Pick<Choices, "strategies" | "precision">,
  recipe: Recipe,
  machine: Machine,
  notes: string[],
): { batch: number; refusal?: Refusal } {
  /** Of the strategy that is nearest to its GPU's end: ddp splits the batch, fp32 has the largest feature maps. */
  const demand = (batch: number) =>
    strategies
      .map((strategy) => {
        const load = { elements, batch, precision: precisionOfStrategy(strategy, precision) };
        return demandOf(load, placeOf(strategy, batch, machine, recipe));
      })
      .reduce((most, one) => (one.needsGiB / one.hasGiB > most.needsGiB / most.hasGiB ? one : most));
  const fits = (batch: number) => demand(batch).needsGiB <= demand(batch).hasGiB;
  const where = machine.gpus > 0 ? "GPU" : "machine";
  if (fits(planned)) return { batch: planned };
  let batch = planned;
  while (batch > 1 && !fits(batch)) batch--;
  if (recipe.plan.batch === undefined && fits(batch)) {
    const { needsGiB, hasGiB } = demand(planned);
    notes.push(
      `The batch is ${batch} where the rules give ${planned}: ${planned} would take about ${needsGiB.toFixed(1)} GiB and this ${where} has ${hasGiB.toFixed(1)} to give.`,
    );
    return { batch };
  }
  const named = recipe.plan.batch === undefined ? 1 : planned;
  const { needsGiB, hasGiB } = demand(named);
  return {
    batch: named,
    refusal: {
      code: "MemoryTooSmall",
      message: `Training needs about ${needsGiB.toFixed(1)} GiB at a batch of ${named}; this ${where} has ${hasGiB.toFixed(1)} GiB to give.`,
      remedy: "Lower plan.memoryGiB (a smaller patch), model.width or plan.batch, or take a larger machine.",
    },
  };
}

export function scaleNotes({ model, plan }: Recipe, machine: Machine): string[] {
  if (machine.gpus > 0) return [];
  const { width, memoryGiB, maxBatch } = scaleOf(machine, model.name);
  const set = [
    ...(model.width === undefined ? [`model.width ${width}`] : []),
    ...(plan.memoryGiB === undefined && plan.patch === undefined ? [`plan.memoryGiB ${memoryGiB}`] : []),
    ...(plan.batch === undefined ? [`a batch of at most ${maxBatch}`] : []),
  ];
  return set.length > 0 ? [`There is no GPU, so training is planned small: ${set.join(", ")}.`] : [];
}

export function overridesOf({ model, plan }: Recipe): string[] {
  return [
    ...(model.width === undefined ? [] : [`model.width=${model.width}`]),
    ...(plan.memoryGiB === undefined ? [] : [`plan.memoryGiB=${plan.memoryGiB}`]),
    ...(plan.spacingMm ? [`plan.spacingMm=${show(plan.spacingMm)}`] : []),
    ...(plan.patch ? [`plan.patch=${show(plan.patch)}`] : []),
    ...(plan.batch === undefined ? [] : [`plan.batch=${plan.batch}`]),
  ];
}

function patchNotes(patch: Triple, median: Triple): string[] {
  const share = product(patch) / product(median);
  return share < 0.25
    ? [
        `A patch covers ${(100 * share).toFixed(0)} % of the median case: nnU-Net would add a cascade from a lower resolution, which is not built here.`,
      ]
    : [];
}

const show = (values: readonly number[]) => values.map((value) => Number(value.toFixed(3))).join(", ");
