// Patch, levels, memory and operations of Swin UNETR (MONAI's: windows of 7, depths 2, heads 3 to 24; recipe.md 9.1).
import type { Network } from "../../lib/contracts/index.ts";
import { argmax, map3, product, type Triple } from "./arithmetic.ts";
import type { Topology } from "./topology.ts";

/** The embedding and four mergings halve the grid: each edge of a patch is a multiple of this. */
export const SWIN_DIVISOR: number = 32;
const LEVELS = 6;
const WINDOW = 7;
const BLOCKS_A_STAGE = 2;
const HEADS = [3, 6, 12, 24];

const FULL: Triple = [1, 1, 1];
const HALVED: Triple = [2, 2, 2];
const DIVISOR: Triple = [SWIN_DIVISOR, SWIN_DIVISOR, SWIN_DIVISOR];

export const isSwin = (model: Network["model"] | undefined): boolean => model === "swin-unetr";

/**
 * The network's levels over a patch of at least the size: its strides do not depend on it.
 *
 * A patch of 32 an axis leaves one place at the bottleneck, and instance norm nothing to normalise over: its longest
 * axis gets 64.
 */
export function swinTopology(size: readonly number[]): Topology {
  const patch = map3(size, (edge): number => SWIN_DIVISOR * Math.max(1, Math.ceil(edge / SWIN_DIVISOR)));
  if (patch.every((edge) => edge === SWIN_DIVISOR)) patch[argmax(size)] = 2 * SWIN_DIVISOR;
  const strides = Array.from({ length: LEVELS }, (_, level) => (level === 0 ? FULL : HALVED));
  return { strides, kernels: strides.map((): Triple => [3, 3, 3]), divisor: DIVISOR, patch };
}

/** Of the image's level, of the embedding's, and of four stages, which double them. */
export const swinFeatures = (width: number): number[] => [
  width,
  ...Array.from({ length: LEVELS - 1 }, (_, stage) => width * 2 ** stage),
];

interface Convolution {
  into: number;
  out: number;
  kernel: number;
  voxels: number;
}

interface Swin {
  features: readonly number[];
  inputChannels: number;
  outputClasses: number;
}

const voxelsOf = (patch: readonly number[], level: number) => product(patch) / 8 ** level;

/** Of embedding, decoder and head: residual blocks of two convolutions, and a third of 1x1x1 where it widens or narrows. */
function convolutions(patch: readonly number[], { features, inputChannels, outputClasses }: Swin): Convolution[] {
  const at = (level: number) => ({ features: features[level]!, voxels: voxelsOf(patch, level) });
  const block = (into: number, level: number): Convolution[] => {
    const { features: out, voxels } = at(level);
    const shortcut = into === out ? [] : [{ into, out, kernel: 1, voxels }];
    return [{ into, out, kernel: 27, voxels }, { into: out, out, kernel: 27, voxels }, ...shortcut];
  };
  const layers: Convolution[] = [{ into: inputChannels, out: features[1]!, kernel: 8, voxels: voxelsOf(patch, 1) }];
  // The skips are convolved where they are used, but for the deepest stage's own.
  layers.push(...block(inputChannels, 0));
  for (const level of [1, 2, 3, 5]) layers.push(...block(features[level]!, level));
  for (let level = LEVELS - 2; level >= 0; level--) {
    const { features: out, voxels } = at(level);
    layers.push({ into: features[level + 1]!, out, kernel: 1, voxels }, ...block(2 * out, level));
  }
  layers.push({ into: features[0]!, out: outputClasses, kernel: 1, voxels: voxelsOf(patch, 0) });
  return layers;
}

/** Each stage's tokens, as they are padded to whole windows, and the pairs that attend to each other in one head. */
function attention(patch: readonly number[], features: readonly number[]) {
  return HEADS.map((heads, stage) => {
    const grid = patch.map((edge) => edge / 2 ** (stage + 1));
    const window = grid.map((edge) => Math.min(edge, WINDOW));
    const tokens = product(grid.map((edge, axis) => Math.ceil(edge / window[axis]!) * window[axis]!));
    return { heads, tokens, channels: features[stage + 1]!, pairs: tokens * product(window) };
  });
}

/** Bytes that autograd keeps of an element of the plain U-Net's maps under bf16 autocast. */
const BYTES_AN_ELEMENT = 4.7;
/** What a block keeps of a token's channels: two norms, query, key and value, their sum, an MLP four times as wide. */
const TOKEN_BYTES = 14 * 2;
/** What it keeps of a pair in a head: the softmax in fp32, and again in bf16. */
const SCORE_BYTES = 4 + 2;

/**
 * What a training step keeps of one sample, in elements of nnU-Net's memory proxy, so that its scale holds.
 *
 * Measured under bf16 autocast (tensors that autograd keeps, one channel, three classes, 64x64x64): 994 and 1,142 MiB at
 * width 12 and 24, which are 222 and 255 million elements; this gives 227 and 263 million.
 */
export function swinElements(patch: readonly number[], features: readonly number[], classes: number): number {
  const net = { features, inputChannels: 1, outputClasses: classes };
  const maps = convolutions(patch, net).reduce((sum, { out, voxels }) => sum + out * voxels, 0);
  return attention(patch, features).reduce(
    (sum, { heads, tokens, channels, pairs }) =>
      sum + (BLOCKS_A_STAGE * (TOKEN_BYTES * tokens * channels + SCORE_BYTES * heads * pairs)) / BYTES_AN_ELEMENT,
    maps,
  );
}

/** Floating-point operations of one forward pass of one patch: convolutions, projections, attention, mergings. */
export function swinOperations(patch: readonly number[], net: Swin): number {
  const convolved = convolutions(patch, net).reduce((sum, c) => sum + c.into * c.out * c.kernel * c.voxels, 0);
  const attended = attention(patch, net.features).reduce((sum, { tokens, channels, pairs }) => {
    // Query, key and value 3, projection 1, MLP 4 and 4; scores and their sum over the values.
    const block = 12 * tokens * channels ** 2 + 2 * pairs * channels;
    // Eight neighbours' channels become two.
    const merging = (tokens / 8) * 8 * channels * 2 * channels;
    return sum + BLOCKS_A_STAGE * block + merging;
  }, 0);
  return 2 * (convolved + attended);
}
