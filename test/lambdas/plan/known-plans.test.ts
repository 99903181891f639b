// nnU-Net's published plans (recipe.md 1.5) must come out of the same statistics.
import { describe, expect, it } from "vitest";
import { hasLowResolutionStage, planConfiguration } from "../../../lambdas/plan/configuration.ts";
import {
  deepSupervisionWeights,
  featureMapElements,
  featuresOf,
  forwardOperations,
  poolingTopology,
} from "../../../lambdas/plan/topology.ts";

type Triple = [number, number, number];
const two: Triple = [2, 2, 2];
const one: Triple = [1, 1, 1];
const three: Triple = [3, 3, 3];

const target = (spacing: Triple, medianShape: Triple, cases: number, classes: number) => ({
  spacing,
  medianShape,
  cases,
  classes,
  width: 32,
  memoryGiB: 8,
});

describe("nnU-Net's plan of", () => {
  it.each([
    [260, 9],
    [208, 7],
  ])("Task04 Hippocampus with %i cases has batch %i", (cases, batch) => {
    const hippocampus = target([1, 1, 1], [36, 50, 35], cases, 3);
    const planned = planConfiguration(hippocampus);
    expect(planned).toMatchObject({
      patch: [40, 56, 40],
      strides: [one, two, two, two],
      kernels: [three, three, three, three],
      elements: 19_174_400,
      batch,
    });
    expect(featuresOf(32, 4)).toEqual([32, 64, 128, 256]);
    expect(hasLowResolutionStage(planned.patch, hippocampus)).toBe(false);
  });

  it("Task09 Spleen: anisotropic first stage, batch Dice on", () => {
    const spleen = target([1.6, 0.793, 0.793], [187, 512, 512], 41, 2);
    const planned = planConfiguration(spleen);
    expect(planned).toMatchObject({
      patch: [64, 192, 160],
      strides: [one, [1, 2, 2], two, two, two, two],
      kernels: [[1, 3, 3], three, three, three, three, three],
      elements: 526_556_160,
      batch: 2,
    });
    expect(featuresOf(32, 6)).toEqual([32, 64, 128, 256, 320, 320]);
    expect(hasLowResolutionStage(planned.patch, spleen)).toBe(true);
  });

  it("a KiTS-like CT: 128 cubed, batch Dice on", () => {
    const kits = target([0.78, 0.78, 0.78], [526, 512, 512], 100, 4);
    const planned = planConfiguration(kits);
    expect(planned).toMatchObject({
      patch: [128, 128, 128],
      strides: [one, two, two, two, two, two],
      elements: 454_893_568,
      batch: 2,
    });
    expect(planned.kernels.every((kernel) => kernel.every((edge) => edge === 3))).toBe(true);
    expect(hasLowResolutionStage(planned.patch, kits)).toBe(true);
  });

  // Derived patches that recipe.md lists for the other Decathlon tasks, from their published medians.
  it.each([
    ["Liver", [1, 0.7676, 0.7676], [432, 512, 512], 131, 3, [128, 128, 128]],
    ["BraTS", [1, 1, 1], [138, 169, 138], 484, 4, [128, 128, 128]],
    ["Heart", [1.37, 1.25, 1.25], [115, 320, 232], 20, 2, [80, 192, 160]],
    ["Lung", [1.244, 0.785, 0.785], [252, 512, 512], 63, 2, [80, 192, 160]],
    ["Pancreas", [2.5, 0.8027, 0.8027], [96, 512, 512], 281, 3, [40, 224, 224]],
    ["Prostate", [3.6, 0.625, 0.625], [20, 320, 319], 32, 3, [20, 320, 256]],
    ["HepaticVessel", [1.5, 0.8, 0.8], [150, 512, 512], 303, 3, [64, 192, 192]],
    ["Colon", [3, 0.78, 0.78], [150, 512, 512], 126, 2, [56, 192, 192]],
  ] as [string, Triple, Triple, number, number, Triple][])(
    "%s has its published patch",
    (_, spacing, shape, cases, classes, patch) => {
      expect(planConfiguration(target(spacing, shape, cases, classes)).patch).toEqual(patch);
    },
  );

  it("Prostate has seven stages", () => {
    expect(planConfiguration(target([3.6, 0.625, 0.625], [20, 320, 319], 32, 3)).strides).toHaveLength(7);
  });
});

describe("the topology", () => {
  it("weighs heads 1, 1/2, 1/4 ... with the coarsest off, sum 1", () => {
    const rounded = (stages: number) => deepSupervisionWeights(stages).map((w) => Number(w.toFixed(3)));
    expect(rounded(4)).toEqual([0.667, 0.333, 0]);
    expect(rounded(6)).toEqual([0.533, 0.267, 0.133, 0.067, 0]);
    expect(rounded(2)).toEqual([1]);
  });

  it("counts the reference net's 0.955 TFLOP of a forward pass", () => {
    const { strides, kernels, patch } = poolingTopology([1, 1, 1], [128, 128, 128]);
    const net = { strides, kernels, features: featuresOf(32, 6), inputChannels: 1, outputClasses: 2 };
    expect(forwardOperations(patch, net) / 1e12).toBeCloseTo(0.955, 2);
  });

  it("stops pooling at a bottleneck edge of 4, and pools a single axis only from 12 voxels on", () => {
    expect(poolingTopology([1, 1, 1], [8, 8, 8]).strides).toEqual([one, two]);
    expect(poolingTopology([1, 1, 1], [7, 7, 7]).strides).toEqual([one]);
    expect(poolingTopology([1, 1, 1], [4, 4, 11]).strides).toEqual([one]);
    expect(poolingTopology([1, 1, 1], [4, 4, 12]).strides).toEqual([one, [1, 1, 2]]);
  });

  it("halves a width of 16 at every depth, the cap included", () => {
    expect(featuresOf(16, 6)).toEqual([16, 32, 64, 128, 160, 160]);
  });

  it("counts feature maps of any width by the same rule", () => {
    const strides = [one, two];
    // 2 + 3 maps of 4 features on 8^3, 2 of 8 features on 4^3, and 2 classes.
    expect(featureMapElements([8, 8, 8], { strides, features: [4, 8] }, 2)).toBe(5 * 4 * 512 + 2 * 8 * 64 + 2 * 512);
  });
});

describe("the memory target", () => {
  it("grows the patch with plan.memoryGiB", () => {
    const at = (memoryGiB: number) =>
      planConfiguration({ ...target([0.78, 0.78, 0.78], [526, 512, 512], 100, 2), memoryGiB });
    expect(at(24).patch).toEqual([192, 192, 192]);
    expect(at(24).batch).toBe(2);
  });

  it("plans patch and batch of a narrow network as of nnU-Net's width, and of a wide one as it is", () => {
    const at = (width: number) => planConfiguration({ ...target([0.78, 0.78, 0.78], [526, 512, 512], 100, 2), width });
    expect(at(16)).toEqual(at(32));
    expect(at(64).patch.every((edge) => edge < 128)).toBe(true);
  });
});
