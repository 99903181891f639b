// Pooling, kernels and features of the U-Nets (nnU-Net v2, network_topology.py and default_experiment_planner.py;
// recipe.md 1.2 to 1.4), and what follows from them: memory proxy and operations.
import type { Network } from "../../lib/contracts/index.ts";
import { map3, product, type Triple } from "./arithmetic.ts";
import { isResnet, resnetElements, resnetOperations } from "./resnet.ts";
import { isSwin, swinElements, swinOperations } from "./swin.ts";

/** Bottleneck edges never fall below this. */
export const MIN_EDGE = 4;
/** nnU-Net's width and its cap on features in 3D, which scales with the width here. */
export const REFERENCE_WIDTH = 32;
const MAX_FEATURES = 320;

export interface Topology {
  /** One a stage; the first is 1, 1, 1. */
  strides: Triple[];
  kernels: Triple[];
  /** What each edge of a patch must be a multiple of: the product of its axis' strides. */
  divisor: Triple;
  /** The size asked for, padded up to multiples of the divisor. */
  patch: Triple;
}

/**
 * Pooling plan of a patch.
 *
 * @param spacing - of the arrays' axes, in mm
 * @param size - of the patch before padding; edges may be fractional (a median of shapes)
 */
export function poolingTopology(spacing: readonly number[], size: readonly number[]): Topology {
  const currentSpacing = [...spacing];
  const currentSize = [...size];
  const strides: Triple[] = [[1, 1, 1]];
  const kernels: Triple[] = [];
  let kernel: Triple = [1, 1, 1];
  const divisor: Triple = [1, 1, 1];
  for (;;) {
    const large = [0, 1, 2].filter((axis) => currentSize[axis]! >= 2 * MIN_EDGE);
    if (large.length === 0) break;
    const finestOfLarge = Math.min(...large.map((axis) => currentSpacing[axis]!));
    const pooled = large.filter((axis) => currentSpacing[axis]! / finestOfLarge < 2);
    if (pooled.length === 1 && currentSize[pooled[0]!]! < 3 * MIN_EDGE) break;
    // A kernel grows to 3 when its axis is within a factor of 2 of the finest one, and stays 3.
    const finest = Math.min(...currentSpacing);
    kernel = map3(kernel, (edge, axis) => (edge === 3 || currentSpacing[axis]! / finest < 2 ? 3 : 1));
    for (const axis of pooled) {
      divisor[axis]! *= 2;
      currentSpacing[axis]! *= 2;
      currentSize[axis] = Math.ceil(currentSize[axis]! / 2);
    }
    strides.push(map3([1, 1, 1], (_, axis) => (pooled.includes(axis) ? 2 : 1)));
    kernels.push(kernel);
  }
  kernels.push([3, 3, 3]);
  return { strides, kernels, divisor, patch: map3(size, (edge, axis) => padTo(edge, divisor[axis]!)) };
}

/** As nnU-Net's pad_shape, which truncates what a fractional median leaves. */
function padTo(edge: number, divisor: number): number {
  return Math.trunc(edge % divisor === 0 ? edge : edge + divisor - (edge % divisor));
}

/**
 * Features of each stage: width doubling, capped at 320 for nnU-Net's width of 32. The cap scales with the width, so
 * that a network of width 16 is half as wide at every depth: a quarter of the operations, of the same shape.
 */
export function featuresOf(width: number, stages: number): number[] {
  const cap = (MAX_FEATURES * width) / REFERENCE_WIDTH;
  return Array.from({ length: stages }, (_, stage) => Math.min(cap, width * 2 ** stage));
}

/**
 * Weights of the deep-supervision losses, finest head first: halving, the coarsest off, sum 1 (recipe.md 1.4).
 * A network with a single head has the weight 1 there (nnU-Net would divide 0 by 0).
 */
export function deepSupervisionWeights(stages: number): number[] {
  const heads = stages - 1;
  const raw = Array.from({ length: heads }, (_, head) => (head === heads - 1 && heads > 1 ? 0 : 1 / 2 ** head));
  const sum = raw.reduce((a, b) => a + b, 0);
  return raw.map((weight) => weight / sum);
}

interface Shape {
  strides: readonly (readonly number[])[];
  features: readonly number[];
}

/** Voxels of each stage's grid for a patch. */
function gridVoxels(patch: readonly number[], strides: Shape["strides"]): number[] {
  let grid = [...patch];
  return strides.map((stride) => {
    grid = grid.map((edge, axis) => Math.floor(edge / stride[axis]!));
    return product(grid);
  });
}

/** Residual blocks of each stage of nnU-Net's residual encoder; the sixth stage's number for all deeper ones. */
const RESIDUAL_BLOCKS = [1, 3, 4, 6, 6, 6] as const;
const residualBlocks = (stage: number) => RESIDUAL_BLOCKS[Math.min(stage, RESIDUAL_BLOCKS.length - 1)]!;

/**
 * nnU-Net's memory proxy: elements of one sample's feature maps, summed over the outputs of all convolutions of
 * encoder and decoder (two a level and the transposed one) and of the finest head (recipe.md 1.3). The residual
 * encoder has a stem and two a block, and one widening shortcut a stage (nnU-Net's compute_conv_feature_map_size of a
 * ResidualEncoder); its decoder has one convolution a level.
 */
export function featureMapElements(
  patch: readonly number[],
  { strides, features }: Shape,
  classes: number,
  model: Network["model"] = "unet3d",
): number {
  if (isSwin(model)) return swinElements(patch, features, classes);
  if (isResnet(model)) return resnetElements(patch, features);
  const voxels = gridVoxels(patch, strides);
  if (model === "resenc-unet") {
    const convolutionsOf = (stage: number) =>
      2 * residualBlocks(stage) + (stage > 0 && features[stage] !== features[stage - 1] ? 1 : 0);
    const encoder = voxels.reduce((sum, v, stage) => sum + convolutionsOf(stage) * features[stage]! * v, 0);
    const decoder = voxels.slice(0, -1).reduce((sum, v, stage) => sum + 2 * features[stage]! * v, 0);
    return features[0]! * voxels[0]! + encoder + decoder + classes * voxels[0]!;
  }
  const encoder = voxels.reduce((sum, v, stage) => sum + 2 * features[stage]! * v, 0);
  const decoder = voxels.slice(0, -1).reduce((sum, v, stage) => sum + 3 * features[stage]! * v, 0);
  return encoder + decoder + classes * voxels[0]!;
}

interface Net extends Shape {
  model?: Network["model"];
  kernels: readonly (readonly number[])[];
  inputChannels: number;
  outputClasses: number;
}

/** Each convolution of a forward pass: inputs, outputs, kernel volume, voxels of its output. */
function convolutions(patch: readonly number[], net: Net) {
  const voxels = gridVoxels(patch, net.strides);
  const { features, kernels } = net;
  const residual = net.model === "resenc-unet";
  const layers = features.flatMap((out, stage) => {
    const kernel = product(kernels[stage]!);
    const before = stage === 0 ? (residual ? out : net.inputChannels) : features[stage - 1]!;
    const again = { into: out, out, kernel, voxels: voxels[stage]! };
    const rest = Array.from({ length: residual ? 2 * residualBlocks(stage) - 1 : 1 }, () => again);
    const shortcut = residual && before !== out ? [{ ...again, into: before, kernel: 1 }] : [];
    return [{ ...again, into: before }, ...rest, ...shortcut];
  });
  if (residual)
    layers.unshift({ into: net.inputChannels, out: features[0]!, kernel: product(kernels[0]!), voxels: voxels[0]! });
  for (let stage = features.length - 2; stage >= 0; stage--) {
    const out = features[stage]!;
    const kernel = product(kernels[stage]!);
    // Transposed convolution with kernel = stride: every output voxel sees one input voxel.
    layers.push({ into: features[stage + 1]!, out, kernel: 1, voxels: voxels[stage]! });
    layers.push({ into: 2 * out, out, kernel, voxels: voxels[stage]! });
    if (!residual) layers.push({ into: out, out, kernel, voxels: voxels[stage]! });
  }
  layers.push({ into: features[0]!, out: net.outputClasses, kernel: 1, voxels: voxels[0]! });
  return layers;
}

/**
 * Floating-point operations of one forward pass of one patch, a multiplication and an addition each counted, norms
 * and activations left out. performance.md's reference net has 0.955e12.
 */
export const forwardOperations = (patch: readonly number[], net: Net): number =>
  isResnet(net.model)
    ? resnetOperations(patch, net)
    : isSwin(net.model)
      ? swinOperations(patch, net)
      : convolutions(patch, net).reduce(
          (sum, { into, out, kernel, voxels }) => sum + 2 * into * out * kernel * voxels,
          0,
        );
