// Patch, topology and batch for a memory target (nnU-Net v2, get_plans_for_configuration; recipe.md 1.2 and 1.3).
import type { Network } from "../../lib/contracts/index.ts";
import { map3, product, roundHalfEven, type Triple } from "./arithmetic.ts";
import { isSwin, SWIN_DIVISOR, swinFeatures, swinTopology } from "./swin.ts";
import { featureMapElements, featuresOf, poolingTopology, REFERENCE_WIDTH, type Topology } from "./topology.ts";

/** Feature-map elements of one sample of nnU-Net's reference: 8 GB at a batch of 2. */
const REFERENCE_ELEMENTS = 560_000_000;
const REFERENCE_GIB = 8;
export const REFERENCE_BATCH = 2;
const MIN_BATCH = 2;
/** One batch sees at most this share of the dataset's voxels: nnU-Net's precaution against overfitting. */
const MAX_SHARE_OF_DATASET = 0.05;
/** A patch that covers less of the median case makes nnU-Net add a low-resolution stage. */
const LOWRES_BELOW = 0.25;

export interface Target {
  /** Arrays' axes, mm. */
  spacing: Triple;
  /** Arrays' axes; edges may end in .5. */
  medianShape: Triple;
  cases: number;
  classes: number;
  width: number;
  /** @default unet3d */
  model?: Network["model"];
  memoryGiB: number;
}

export interface Configuration extends Topology {
  batch: number;
  /** nnU-Net's memory proxy for one sample, at the width that was planned for. */
  elements: number;
}

/**
 * The width that memory is planned for: nnU-Net's 32 also for a narrower network, so that a narrow one trains faster
 * on the patches of the wide one instead of growing patches that make it as slow; a wider one is planned as it is.
 */
export const plannedWidth = (width: number): number => Math.max(width, REFERENCE_WIDTH);

export const referenceElements = (memoryGiB: number) => REFERENCE_ELEMENTS * (memoryGiB / REFERENCE_GIB);

/** GPU memory of a training step by nnU-Net's scale (mixed precision), in GiB. */
export const gpuMemoryGiB = (elements: number, batch: number): number =>
  (REFERENCE_GIB * elements * batch) / (REFERENCE_ELEMENTS * REFERENCE_BATCH);

function elementsOf(topology: Topology, { classes, width, model }: Target): number {
  // Attention, which most of Swin UNETR's memory is, does not grow with the width: it is planned as it is.
  const features = isSwin(model) ? swinFeatures(width) : featuresOf(plannedWidth(width), topology.strides.length);
  return featureMapElements(topology.patch, { strides: topology.strides, features }, classes, model);
}

const topologyOf = ({ spacing, model }: Target, size: readonly number[]): Topology =>
  isSwin(model) ? swinTopology(size) : poolingTopology(spacing, size);

/** nnU-Net's 3D patch, topology and batch; of Swin UNETR the same rules over its own topology. */
export function planConfiguration(target: Target): Configuration {
  const { spacing, medianShape } = target;
  // The aspect of the spacing with the volume of 256^3, clipped to the median case.
  const inverse = map3(spacing, (mm) => 1 / mm);
  const scale = (256 ** 3 / product(inverse)) ** (1 / 3);
  const initial = map3(inverse, (edge, axis) => Math.min(roundHalfEven(edge * scale), medianShape[axis]!));

  let topology = topologyOf(target, initial);
  let elements = elementsOf(topology, target);
  while (elements > referenceElements(target.memoryGiB)) {
    const axis = mostOversized(topology.patch, medianShape, isSwin(target.model) ? SWIN_DIVISOR : 0);
    if (axis === undefined) break;
    // One divisor less may allow a smaller divisor: shrink by that one, or sizes such as 224 would be skipped.
    const shrunk = map3(topology.patch, (edge, i) => (i === axis ? edge - topology.divisor[i]! : edge));
    const { divisor } = topologyOf(target, shrunk);
    const next = map3(topology.patch, (edge, i) => (i === axis ? edge - divisor[i]! : edge));
    topology = topologyOf(target, next);
    elements = elementsOf(topology, target);
  }
  return { ...topology, elements, batch: batchFor(topology.patch, elements, target) };
}

/** The configuration of a patch that the recipe gives; see padding in `patch` for whether it fits its own pooling. */
export function configurationOf(patch: Triple, target: Target): Configuration {
  const topology = topologyOf(target, patch);
  const elements = elementsOf(topology, target);
  return { ...topology, elements, batch: batchFor(topology.patch, elements, target) };
}

/**
 * Axis whose patch edge is largest against the median case; the last of equals.
 *
 * @param smallest - edge that is not shrunk; undefined is returned where it would take the last edge above it
 */
function mostOversized(patch: Triple, medianShape: Triple, smallest: number): number | undefined {
  const ratios = patch.map((edge, axis) => (edge > smallest ? edge / medianShape[axis]! : 0));
  if (smallest > 0 && product(patch) <= 2 * smallest ** 3) return undefined;
  return ratios.lastIndexOf(Math.max(...ratios));
}

function batchFor(patch: Triple, elements: number, { medianShape, cases, memoryGiB }: Target): number {
  const byMemory = roundHalfEven((referenceElements(memoryGiB) / elements) * REFERENCE_BATCH);
  const datasetVoxels = product(medianShape) * cases;
  const byShare = roundHalfEven((datasetVoxels * MAX_SHARE_OF_DATASET) / product(patch));
  return Math.max(Math.min(byMemory, byShare), MIN_BATCH);
}

/** Whether nnU-Net would add a low-resolution stage, which turns batch Dice on for the full resolution. */
export function hasLowResolutionStage(fullPatch: Triple, target: Target): boolean {
  const fullVoxels = product(target.medianShape);
  let spacing = [...target.spacing] as Triple;
  let voxels = fullVoxels;
  let patchVoxels = product(fullPatch);
  while (patchVoxels / voxels < LOWRES_BELOW) {
    const coarsest = Math.max(...spacing);
    // Finer axes catch up until all are within a factor of 2; then all grow.
    const lags = spacing.map((mm) => coarsest / mm > 2);
    spacing = map3(spacing, (mm, axis) => (lags[axis] || !lags.includes(true) ? mm * 1.03 : mm));
    const exact = map3(target.medianShape, (edge, axis) => (target.spacing[axis]! / spacing[axis]!) * edge);
    voxels = product(exact);
    patchVoxels = product(
      planConfiguration({ ...target, spacing, medianShape: map3(exact, (edge) => roundHalfEven(edge)) }).patch,
    );
  }
  return fullVoxels / voxels >= 2;
}
