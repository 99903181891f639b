// Swin UNETR is planned by nnU-Net's rules over its own topology.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { refuseEngines } from "../../../lambdas/plan/choices.ts";
import { planConfiguration, type Target } from "../../../lambdas/plan/configuration.ts";
import { designOf } from "../../../lambdas/plan/design.ts";
import { swinElements, swinFeatures, swinOperations } from "../../../lambdas/plan/swin.ts";
import { featureMapElements, forwardOperations } from "../../../lambdas/plan/topology.ts";
import { problemsOf, recipe } from "../../../lib/contracts/index.ts";
import { h100, laptop, record } from "./fixture.ts";

const target = (given: Partial<Target>): Target => ({
  spacing: [1, 1, 1],
  medianShape: [36, 50, 35],
  cases: 208,
  classes: 3,
  width: 24,
  model: "swin-unetr",
  memoryGiB: 8,
  ...given,
});
const dataset = {
  name: "Demo",
  channels: ["MRI"],
  labels: ["background", "organ"].map((name, value) => ({ value, name })),
};
const swin = (model: object = {}) => recipe.parse({ model: { name: "swin-unetr", ...model } });
const records = ["a", "b", "c", "d", "e"].map((id) => record(id));
const choices = { strategies: ["fused" as const], precision: "fp32" as const };

describe("the patch of swin-unetr", () => {
  it("is Task04's padded to multiples of 32", () => {
    expect(planConfiguration(target({})).patch).toEqual([64, 64, 64]);
  });

  it("is never one place at the bottleneck, where instance norm has nothing to normalise over", () => {
    expect(planConfiguration(target({ medianShape: [20, 30, 20] })).patch).toEqual([32, 64, 32]);
  });

  it("has edges that 32 divides, two places at the bottleneck, and fits the memory or is the smallest", () => {
    const edge = fc.integer({ min: 4, max: 600 });
    const spacing = fc.double({ min: 0.3, max: 6, noNaN: true });
    fc.assert(
      fc.property(
        fc.tuple(edge, edge, edge),
        fc.tuple(spacing, spacing, spacing),
        fc.constantFrom(12, 24, 48),
        fc.constantFrom(1, 8, 40),
        (medianShape, spacing, width, memoryGiB) => {
          const { patch, elements, batch } = planConfiguration(target({ medianShape, spacing, width, memoryGiB }));
          expect(patch.every((one) => one % 32 === 0 && one >= 32)).toBe(true);
          const places = patch.reduce((all, one) => (all * one) / 32, 1);
          expect(places).toBeGreaterThanOrEqual(2);
          if (places > 2) expect(elements).toBeLessThanOrEqual(70_000_000 * memoryGiB);
          expect(batch).toBeGreaterThanOrEqual(2);
        },
      ),
    );
  });

  it("is refused with the next larger one where the recipe's does not fit", () => {
    const given = recipe.parse({ model: "swin-unetr", plan: { patch: [40, 64, 64] } });
    expect(() => designOf(records, dataset, given, h100, choices)).toThrow(
      "plan.patch is 40, 64, 64, whose pooling needs multiples of 32, 32, 32; the next larger patch is 64, 64, 64.",
    );
  });
});

describe("the network of swin-unetr", () => {
  it("has MONAI's six levels and one head, of width 24 on a GPU and 12 without one", () => {
    const [large, small] = [h100, laptop].map((machine) => designOf(records, dataset, swin(), machine, choices));
    expect(large!.network).toEqual({
      model: "swin-unetr",
      inputChannels: 1,
      outputClasses: 2,
      features: [24, 24, 48, 96, 192, 384],
      strides: [[1, 1, 1], ...Array(5).fill([2, 2, 2])],
      kernels: Array(6).fill([3, 3, 3]),
      deepSupervisionWeights: [1],
    });
    expect(small!.network.features[0]).toBe(12);
  });

  it.each([
    [16, ["model.width is 16; allowed: 12, 24, 36, 48 or 60 for swin-unetr: its heads share the features"]],
    [48, []],
  ])("of width %i", (width, problems) => {
    const found = problemsOf(recipe, { model: { name: "swin-unetr", width } });
    expect(found.map(({ field, got, allowed }) => `${field} is ${got}; allowed: ${allowed}`)).toEqual(problems);
  });

  it("runs on every engine but triton, whose kernels are the plain U-Net's", () => {
    const machine = { ...h100, engines: [...h100.engines, "triton" as const] };
    const asked = recipe.parse({ model: "swin-unetr", engines: ["triton"] });
    expect(refuseEngines(asked, machine)).toMatchObject({ code: "EngineUnavailable" });
    expect(refuseEngines(recipe.parse({ engines: ["triton"] }), machine)).toBeUndefined();
    expect(refuseEngines(recipe.parse({ model: "swin-unetr", engines: ["inductor"] }), machine)).toBeUndefined();
  });
});

describe("what swin-unetr takes", () => {
  it.each([
    [12, 222],
    [24, 255],
  ])("of memory at width %i and 64x64x64 is within 5 %% of what autograd was seen to keep", (width, millions) => {
    const elements = swinElements([64, 64, 64], swinFeatures(width), 3) / 1e6;
    expect(Math.abs(elements / millions - 1)).toBeLessThan(0.05);
  });

  it("is what the estimate asks of any network", () => {
    const features = swinFeatures(12);
    const net = { features, inputChannels: 1, outputClasses: 3 };
    const shape = { strides: [], features, kernels: [] };
    const patch = [64, 64, 64];
    expect(featureMapElements(patch, shape, 3, "swin-unetr")).toBe(swinElements(patch, features, 3));
    expect(forwardOperations(patch, { ...net, ...shape, model: "swin-unetr" })).toBe(swinOperations(patch, net));
  });
});
