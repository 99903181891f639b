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

/** @param dtype - numpy's name of how the voxels are stored: floats are kept as such */
export const ingestMemoryGiB = (voxels: number, dtype: string): number =>
  volumeMemoryGiB(
    CALIBRATION.ingestBaseGiB,
    CALIBRATION.ingestBytesPerVoxel[dtype.startsWith("float") ? "float" : "integer"],
    voxels,
  );

/** Of all arrays of a training's cases, of so many voxels and channels each. */
export const arraysGiB = (cases: readonly { voxels: number; channels: number }[]): number => {
  const { image, label } = CALIBRATION.arrayBytesPerVoxel;
  return cases.reduce((sum, { voxels, channels }) => sum + voxels * (channels * image + label), 0) / GIB;
};

/** A case as it is prepared, by preprocess and by infer. */
export interface PreparedSize {
  /** Of the image or of its array, whichever is larger, over all channels. */
  voxels: number;
  resampled: boolean;
}

export const preprocessMemoryGiB = (size: PreparedSize): number => CALIBRATION.preprocessBaseGiB + preparingGiB(size);

/** @param elements - nnU-Net's proxy of one window */
export const inferMemoryGiB = (size: PreparedSize, classes: number, elements: number): number => {
  const { perClass, image } = CALIBRATION.inferBytesPerVoxel;
  const predicting = volumeMemoryGiB(0, perClass * classes + image, size.voxels);
  const window = volumeMemoryGiB(0, CALIBRATION.inferBytesPerElement, elements);
  return CALIBRATION.inferBaseGiB + Math.max(preparingGiB(size), predicting) + window;
};

/** @param voxels - of the largest array that the parity is measured on */
export const compileMemoryGiB = (elements: number, voxels: number): number =>
  volumeMemoryGiB(CALIBRATION.compileBaseGiB, CALIBRATION.compileBytesPerElement, elements) +
  volumeMemoryGiB(0, CALIBRATION.compileBytesPerVoxel, voxels);

function preparingGiB({ voxels, resampled }: PreparedSize): number {
  if (!resampled) return volumeMemoryGiB(0, CALIBRATION.preparedBytesPerVoxel, voxels);
  const { bytesPerVoxel, mostGiB } = CALIBRATION.resampledOverhead;
  const overhead = Math.min(mostGiB, volumeMemoryGiB(0, bytesPerVoxel, voxels));
  return volumeMemoryGiB(overhead, CALIBRATION.resampledBytesPerVoxel, voxels);
}
