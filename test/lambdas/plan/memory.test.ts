// What plan says of memory, held to what the stages took on two cores without a GPU.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { CaseRecord, Machine, RecipeInput } from "../../../lib/contracts/index.ts";
import { ids, laptop, Run, record } from "./fixture.ts";

const benchmark = fileURLToPath(new URL("../../../docs/benchmarks/large-volumes.json", import.meta.url));
const large = JSON.parse(readFileSync(benchmark, "utf8"));

const machine: Machine = { ...laptop, memoryGiB: 23.5, bf16: false };
const fused: RecipeInput = { strategies: ["fused"], engines: ["onnxruntime"], train: { steps: 3 } };
/** As docs/benchmarks/large-volumes.md runs them. */
const ofPhantoms: RecipeInput = {
  ...fused,
  model: { width: 16 },
  plan: { batch: 1 },
  folds: ["fold0"],
  infer: { overlap: 0 },
};
const patient = "patient-0123456789abcdef";
/** Those of `voxelburst phantoms --seed 7`: two visits of a patient, then one that is stored as floats. */
const phantoms = (shapeZyx: [number, number, number], spacingsMm: [along: number, inPlane: number][]): CaseRecord[] =>
  spacingsMm.map(([z, xy], i) => ({
    ...record(`phantom-00${i + 1}`, { shapeZyx, spacingMmZyx: [z, xy, xy], ...(i < 2 ? { patient } : {}) }),
    dtype: i === 2 ? "float32" : "int16",
  }));

async function estimated(records: CaseRecord[], recipe: RecipeInput, on = machine) {
  const { plan } = await (await Run.of({ records, recipe })).plan(on);
  return {
    plan,
    saidMiB: Object.fromEntries(plan.estimate.stages.map((one) => [one.stage, one.memoryGiB * 1024])),
  };
}

/** Never less than was taken, and at most half as much again. */
function expectNear(saidMiB: Record<string, number>, takenMiB: Record<string, number>) {
  for (const [stage, taken] of Object.entries(takenMiB)) {
    const why = `${stage}: ${Math.round(saidMiB[stage]!)} MiB said, ${taken} taken`;
    expect(saidMiB[stage]! / taken, why).toBeGreaterThanOrEqual(1);
    expect(saidMiB[stage]! / taken, why).toBeLessThanOrEqual(1.5);
  }
}

describe("the memory that a plan says", () => {
  it("is 1 to 1.5 times what three volumes of 512x512x400 took in every stage", async () => {
    const records = phantoms([400, 512, 512], [[0.776, 0.677], [0.792, 0.688], [0.842, 0.741]]); // biome-ignore format: a case each
    const { plan, saidMiB } = await estimated(records, ofPhantoms);
    expect({ patch: plan.patch, features: plan.network.features, spacingMmZyx: plan.spacingMmZyx }).toEqual({
      patch: large.plan.patch,
      features: large.plan.features,
      spacingMmZyx: large.plan.spacingMmZyx,
    });
    expect(plan.folds[0]!.validation).toEqual(["phantom-003"]);
    expectNear(saidMiB, large.peakMemoryMiB);
  });

  it("is that for integers too, of which ingest makes no copy in floats", async () => {
    const records = phantoms([400, 512, 512], [[0.776, 0.677], [0.792, 0.688]]); // biome-ignore format: a case each
    const { saidMiB } = await estimated([...records, record("x", { shapeZyx: [400, 512, 512] })], ofPhantoms);
    const ofIntegers = large.ofEachChild.find((one: { stage: string; index: number }) => one.stage === "ingest" && one.index === 1); // biome-ignore format: one expression
    expectNear(saidMiB, { ingest: ofIntegers.peakMemoryMiB });
  });

  // The largest process of each stage by its own peakMemoryMiB, November 2026, versions as in large-volumes.md.
  it("is that for three volumes of 256x256x128", async () => {
    const records = phantoms([128, 256, 256], [[1.566, 0.875], [1.598, 0.889], [1.7, 0.958]]); // biome-ignore format: a case each
    const { plan, saidMiB } = await estimated(records, ofPhantoms);
    expect(plan.patch).toEqual([48, 80, 80]);
    const takenMiB = { ingest: 144.5, preprocess: 965.4, train: 1720.9, compile: 1415.5, infer: 1187.4 };
    expectNear(saidMiB, takenMiB);
  });

  it("is that for Task04, whose cases are small: its processes are their libraries", async () => {
    const { plan, saidMiB } = await estimated(ids(20).map((id) => record(id)), fused); // biome-ignore format: short
    expect(plan).toMatchObject({ patch: [40, 56, 40], batch: 2 });
    expectNear(saidMiB, { ingest: 86.9, preprocess: 557.9, train: 1288.6, compile: 1052.7, infer: 744.1 });
  });

  it("is that for the demo's phantoms", async () => {
    const records = ids(14).map((id) => record(id, { shapeZyx: [50, 52, 52], spacingMmZyx: [1.6, 1.6, 1.6] }));
    const { plan, saidMiB } = await estimated(records, { ...fused, plan: { batch: 2 } });
    expect(plan.patch).toEqual([56, 56, 56]);
    expectNear(saidMiB, { ingest: 91.7, preprocess: 573.6, train: 1539.4, compile: 1129.6, infer: 797.9 });
  });

  it("of a training is no more than the machine has: arrays are mapped where they do not fit", async () => {
    const many = ids(50).map((id) => record(id, { shapeZyx: [400, 512, 512] }));
    const { saidMiB } = await estimated(many, ofPhantoms);
    expect(saidMiB.train).toBeLessThanOrEqual(machine.memoryGiB * 1024);
    expect(saidMiB.train).toBeGreaterThan(20_000);
  });
});
