// What ingest takes, from the manifest alone: it runs before anything knows the volumes' shapes. The figures of a case
// are plan's, which estimates every other stage.
import { CALIBRATION } from "../../lambdas/plan/calibration.ts";
import { ingestMemoryGiB } from "../../lambdas/plan/memory.ts";
import type { IngestCase, Machine } from "../contracts/index.ts";

/**
 * Voxels for each byte of an image's file. Integers of CT and MR compress to about a byte a voxel (Hippocampus: 0.9 to
 * 1.6 bytes), DICOM without compression has two: this errs towards more.
 */
const VOXELS_PER_FILE_BYTE = 1.2;

const imageVoxels = (one: IngestCase): number =>
  one.images.reduce((sum, image) => sum + image.bytes, 0) * VOXELS_PER_FILE_BYTE;

/** MiB of the child with the largest case: children run side by side only as far as memory lasts. */
export function ingestMemoryMiB(cases: readonly IngestCase[]): number {
  const largest = Math.max(0, ...cases.map(imageVoxels));
  // A file does not say here whether it holds floats, which take more.
  return Math.ceil(ingestMemoryGiB(largest, "float32") * 1024);
}

/** Seconds that ingest will take on this machine. */
export function ingestSeconds(cases: readonly IngestCase[], machine: Machine): number {
  const { ingestStartSeconds, ingestSecondsPerCase, ingestSecondsPerMegavoxel } = CALIBRATION;
  const work = cases.reduce(
    (sum, one) => sum + ingestSecondsPerCase + (imageVoxels(one) / 1e6) * ingestSecondsPerMegavoxel,
    0,
  );
  return ingestStartSeconds + work / Math.min(machine.cpus, Math.max(cases.length, 1));
}
