// Patch, levels, memory and operations of the ResNet-18 that classifies whole volumes (MONAI's, spatial_dims 3).
import type { Network } from "../../lib/contracts/index.ts";
import { map3, product, type Triple } from "./arithmetic.ts";

export const isResnet = (model: Network["model"] | undefined): boolean => model === "resnet3d";

/** The stem keeps the grid; its pooling and the first blocks of three stages halve it. */
export const RESNET_STRIDES: Triple[] = [
  [1, 1, 1],
  [2, 2, 2],
  [2, 2, 2],
  [2, 2, 2],
  [2, 2, 2],
];
export const RESNET_KERNELS: Triple[] = [
  [7, 7, 7],
  [3, 3, 3],
  [3, 3, 3],
  [3, 3, 3],
  [3, 3, 3],
];
const DIVISOR = 16;
const BLOCKS_A_STAGE = 2;

/** Stem and first stage, then three that double. */
export const resnetFeatures = (width: number): number[] => [width, width, 2 * width, 4 * width, 8 * width];

/** A size rounded up to what the network halves. */
export const resnetPatch = (size: readonly number[]): Triple =>
  map3(size, (edge): number => DIVISOR * Math.max(1, Math.ceil(edge / DIVISOR)));

const voxelsOf = (patch: readonly number[], stage: number) => product(patch) / 8 ** stage;

interface Convolution {
  into: number;
  out: number;
  kernel: number;
  voxels: number;
}

/** The stem, and in a stage two blocks of two convolutions; 1x1x1 on the shortcut where a stage widens. */
function convolutions(patch: readonly number[], inputChannels: number, features: readonly number[]): Convolution[] {
  const layers = [{ into: inputChannels, out: features[0]!, kernel: 343, voxels: voxelsOf(patch, 0) }];
  for (let stage = 1; stage < features.length; stage++) {
    const [into, out, voxels] = [features[stage - 1]!, features[stage]!, voxelsOf(patch, stage)];
    layers.push({ into, out, kernel: 27, voxels });
    for (let more = 1; more < 2 * BLOCKS_A_STAGE; more++) layers.push({ into: out, out, kernel: 27, voxels });
    if (into !== out) layers.push({ into, out, kernel: 1, voxels });
  }
  return layers;
}

/** Elements of one sample's feature maps, over the outputs of all convolutions, as nnU-Net's proxy counts them. */
export const resnetElements = (patch: readonly number[], features: readonly number[]): number =>
  convolutions(patch, 1, features).reduce((sum, { out, voxels }) => sum + out * voxels, 0);

/** Floating-point operations of one forward pass of one volume, convolutions alone. */
export const resnetOperations = (
  patch: readonly number[],
  { features, inputChannels }: { features: readonly number[]; inputChannels: number },
): number =>
  2 * convolutions(patch, inputChannels, features).reduce((sum, c) => sum + c.into * c.out * c.kernel * c.voxels, 0);
