// How much memory the stages take, in GiB: what a batch is fitted to and what the estimate says.
import type { Machine, Plan } from "../../lib/contracts/index.ts";
import { CALIBRATION } from "./calibration.ts";
import { gpuMemoryGiB } from "./configuration.ts";

const GIB = 2 ** 30;

/** What a training may take: of a GPU's memory, or of the machine's without one; undefined when it is not known. */
export function usableMemoryGiB(machine: Machine): number | undefined {
  if (machine.gpus === 0) return machine.memoryGiB * CALIBRATION.usableShareOfMemory;
  return machine.gpuMemoryGiB === undefined ? undefined : machine.gpuMemoryGiB * CALIBRATION.usableShareOfMemory;
}

/**
 * Memory of one training process: of the GPU, or of the host where there is none.
 *
 * @param elements - nnU-Net's proxy of one sample
 * @param batch - on this device
 */
export function trainingMemoryGiB(
  elements: number,
  batch: number,
  precision: Plan["precision"],
  machine: Pick<Machine, "gpus">,
): number {
  if (machine.gpus > 0) {
    const mixed = gpuMemoryGiB(elements, batch);
    return CALIBRATION.gpuContextGiB + (precision === "fp32" ? mixed * CALIBRATION.fp32OverMixedMemory : mixed);
  }
  return CALIBRATION.trainBaseGiB + (elements * batch * CALIBRATION.trainBytesPerElement[precision]) / GIB;
}

/** Host memory of a process that keeps a volume of so many voxels. */
export const volumeMemoryGiB = (baseGiB: number, bytesPerVoxel: number, voxels: number): number =>
  baseGiB + (bytesPerVoxel * voxels) / GIB;

/** @param voxels - of the case's image or of its array, whichever is larger, over all channels */
export const preprocessMemoryGiB = (voxels: number, resampled: boolean): number =>
  volumeMemoryGiB(
    CALIBRATION.preprocessBaseGiB,
    resampled ? CALIBRATION.preprocessBytesPerResampledVoxel : CALIBRATION.preprocessBytesPerVoxel,
    voxels,
  );
