import { describe, expect, it } from "vitest";
import { featureMapElements, forwardOperations } from "../../../lambdas/plan/topology.ts";

const shape = {
  strides: [
    [1, 1, 1],
    [2, 2, 2],
  ],
  features: [4, 8],
};
const net = { ...shape, kernels: [Array(3).fill(3), Array(3).fill(3)], inputChannels: 1, outputClasses: 2 };
const patch = [8, 8, 8];
// Voxels of the two stages' grids.
const [fine, coarse] = [512, 64];

describe("the residual encoder", () => {
  it("has the operations of its convolutions: stem, one and three blocks, a shortcut where it widens, one a decoder level", () => {
    const macs =
      fine * 27 * (1 * 4) + // stem
      fine * 27 * 2 * (4 * 4) + // one block
      coarse * (27 * (4 * 8 + 5 * 8 * 8) + 4 * 8) + // three blocks, the first widens
      fine * (8 * 4 + 27 * 8 * 4 + 4 * 2); // transposed, decoder, head
    expect(forwardOperations(patch, { ...net, model: "resenc-unet" })).toBe(2 * macs);
  });

  it("stores the outputs of those convolutions", () => {
    const stored = fine * (4 + 2 * 4 + 2 * 4 + 2) + coarse * (6 * 8 + 8);
    expect(featureMapElements(patch, shape, 2, "resenc-unet")).toBe(stored);
  });

  it("leaves the plain U-Net's figures as they were", () => {
    const macs =
      fine * 27 * (1 * 4 + 4 * 4) + coarse * 27 * (4 * 8 + 8 * 8) + fine * (8 * 4 + 27 * (8 * 4 + 4 * 4) + 4 * 2);
    expect(forwardOperations(patch, net)).toBe(2 * macs);
    expect(featureMapElements(patch, shape, 2)).toBe(fine * (2 * 4 + 3 * 4 + 2) + coarse * 2 * 8);
  });
});
