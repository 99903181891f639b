// Spacing and patch of a network that sees whole volumes: as fine as the memory allows, and nothing cut off.
import { type CaseRecord, VoxelburstError } from "../../lib/contracts/index.ts";
import { map3, product, type Triple } from "./arithmetic.ts";
import { REFERENCE_BATCH, referenceElements } from "./configuration.ts";
import { type Fingerprint, pool } from "./fingerprint.ts";
import { resampledShape } from "./geometry.ts";
import { resnetElements, resnetFeatures, resnetPatch } from "./resnet.ts";

/** nnU-Net's step of its low-resolution rule. */
const COARSER = 1.03;
/** Samples whose feature maps the memory must hold: fewer make batch norm's statistics those of single cases. */
const LEAST_BATCH = 8;

export interface WholeVolume {
  spacingMmZyx: Triple;
  /** In the image's axes. */
  patchZyx: Triple;
  /** Of the feature maps of a sample. */
  elements: number;
  /** That the memory holds. */
  batch: number;
}

/**
 * The finest spacing, from the given one on, at which a batch of whole volumes fits the memory.
 *
 * The patch holds the largest training case, not the median one: what a patch of the median cuts off a larger volume
 * may be what its class is named for. Coarsened by nnU-Net's low-resolution rule: finer axes catch up until all are
 * within a factor of 2, then all grow.
 *
 * @param fixed - whether the recipe set the spacing, which is then kept
 */
export function wholeVolume(
  fingerprint: Pick<Fingerprint, "croppedShapesZyx" | "spacingsMmZyx">,
  from: Triple,
  { width, memoryGiB, fixed }: { width: number; memoryGiB: number; fixed: boolean },
): WholeVolume {
  // nnU-Net's reference is of a batch of two.
  const most = referenceElements(memoryGiB) * REFERENCE_BATCH;
  let spacingMmZyx: Triple = [...from];
  for (;;) {
    const shapes = fingerprint.croppedShapesZyx.map((shape, at) =>
      resampledShape(shape, fingerprint.spacingsMmZyx[at]!, spacingMmZyx),
    );
    const patchZyx = resnetPatch(map3([0, 0, 0], (_, axis) => Math.max(...shapes.map((shape) => shape[axis]!))));
    const elements = resnetElements(patchZyx, resnetFeatures(width));
    const batch = Math.max(2, Math.floor(most / elements));
    if (fixed || elements * LEAST_BATCH <= most || product(patchZyx) <= 16 ** 3)
      return { spacingMmZyx, patchZyx, elements, batch };
    const coarsest = Math.max(...spacingMmZyx);
    const lags = spacingMmZyx.map((mm) => coarsest / mm > 2);
    spacingMmZyx = map3(spacingMmZyx, (mm, axis) => (lags[axis] || !lags.includes(true) ? mm * COARSER : mm));
  }
}

/** The recipe's patch for whole volumes, or PatchInvalid where the network cannot halve it. */
export function givenWholePatch(patchZyx: Triple): Triple {
  const next = resnetPatch(patchZyx);
  if (next.every((edge, axis) => edge === patchZyx[axis])) return patchZyx;
  throw new VoxelburstError(
    "PatchInvalid",
    `plan.patch is ${patchZyx.join(", ")}, and resnet3d halves four times; the next larger patch is ${next.join(", ")}.`,
    `Set plan.patch to [${next.join(", ")}], or to other multiples of 16.`,
    { field: "plan.patch", got: patchZyx.join(", "), allowed: "multiples of 16" },
  );
}

/** Statistics for CT of images without labels: of whole images, every case with the same weight. */
export const wholeImageIntensities = (records: readonly CaseRecord[], channels: number) =>
  Array.from({ length: channels }, (_, channel) => pool(records.map((record) => record.channels[channel]!)));
