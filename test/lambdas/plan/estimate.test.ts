import { describe, expect, it } from "vitest";
import { windowsOf } from "../../../lambdas/plan/estimate.ts";
import {
  type Estimate,
  keys,
  type Machine,
  preprocessCase,
  type RecipeInput,
  type StageName,
} from "../../../lib/contracts/index.ts";
import { h100, ids, laptop, Run, record } from "./fixture.ts";

const records = ids(20).map((id) => record(id));
const estimateOf = async (recipe: RecipeInput, machine: Machine = laptop, cases = records) =>
  (await (await Run.of({ records: cases, recipe })).plan(machine)).plan.estimate;
const stage = (estimate: Estimate, name: StageName) => estimate.stages.find((item) => item.stage === name)!;

describe("the estimate", () => {
  it("has a line for every stage, which add up", async () => {
    const estimate = await estimateOf({});
    expect(estimate.stages.map((item) => item.stage)).toEqual([
      "ingest",
      "plan",
      "preprocess",
      "train",
      "compile",
      "infer",
      "report",
    ]);
    expect(estimate.minutes).toBeCloseTo(
      estimate.stages.reduce((sum, item) => sum + item.minutes, 0),
      1,
    );
    for (const item of estimate.stages) expect(item.memoryGiB).toBeGreaterThan(0);
  });

  it("takes a budget in minutes at its word", async () => {
    for (const minutes of [1, 10, 60]) {
      const train = stage(await estimateOf({ train: { minutes } }), "train").minutes;
      expect(train).toBeGreaterThanOrEqual(minutes);
      expect(train).toBeLessThan(minutes + 2);
    }
  });

  it("counts a budget in steps by the network's operations: four times the width's, four times the batch's", async () => {
    const train = async (recipe: RecipeInput) =>
      stage(await estimateOf({ ...recipe, train: { steps: 2000 } }), "train").minutes;
    const narrow = await train({ model: { width: 16 } });
    expect((await train({ model: { width: 32 } })) / narrow).toBeGreaterThan(3);
    expect((await train({ model: { width: 16 }, plan: { batch: 8 } })) / narrow).toBeGreaterThan(3);
    const fast = await estimateOf({ model: { width: 16 }, train: { steps: 2000 } }, { ...laptop, convGflops: 1400 });
    expect(narrow / stage(fast, "train").minutes).toBeGreaterThan(3);
  });

  it("multiplies by folds, strategies and engines", async () => {
    const one = await estimateOf({ train: { minutes: 5 } });
    const many = await estimateOf({
      train: { minutes: 5 },
      folds: ["fold0", "fold1"],
      strategies: ["amp", "dali"],
      engines: ["torch", "onnxruntime"],
    });
    expect(stage(many, "train").minutes / stage(one, "train").minutes).toBeCloseTo(4, 1);
    expect(stage(many, "infer").minutes / stage(one, "infer").minutes).toBeGreaterThan(5);
  });

  it("leaves out what exists already", async () => {
    const run = await Run.of({ records });
    const { output } = await run.plan();
    for (const item of await run.lines(keys.taskCases(run.request.runId, "preprocess"), preprocessCase))
      await run.putJson(keys.arraysMeta(item.outputHash), {});
    await run.putJson(keys.outputResult(keys.output("train", output.trainings[0]!.trainHash)), {});
    const { estimate } = (await run.plan()).plan;
    expect([stage(estimate, "preprocess").minutes, stage(estimate, "train").minutes]).toEqual([0, 0]);
    expect(stage(estimate, "infer").minutes).toBeGreaterThan(0);
  });

  it("takes ingest's time from its results, where it has left them", async () => {
    const run = await Run.of({ records });
    for (const index of [0, 1]) {
      const result = {
        schema: 1,
        stage: "ingest",
        runId: run.request.runId,
        taskId: "ingest",
        index,
        inputHash: run.request.identity,
        version: "0.1.0",
        startedAt: "2026-08-01T00:00:00Z",
        seconds: 60 + index * 30,
        peakMemoryMiB: 90,
        host: { backend: "cpu", device: "x", devices: 0, cpus: 2, versions: {}, fallbacks: [] },
        cases: 10,
        done: 10,
        skipped: 0,
        quarantined: 0,
        casesKey: keys.ingested(run.request.runId, index),
        quarantineKey: keys.quarantined(run.request.runId, index),
      };
      await run.putJson(keys.result(run.request.runId, "ingest", index), result);
    }
    expect(stage((await run.plan()).plan.estimate, "ingest").minutes).toBe(1.5);
  });

  it("costs nothing on one machine, beside the equivalent at a named and dated price", async () => {
    const estimate = await estimateOf({ capacity: { pricedAs: "g6e.xlarge" } });
    expect(estimate.usd).toBe(0);
    expect(estimate.pricedAs).toMatchObject({ instanceType: "g6e.xlarge", usdPerHour: 1.861 });
    const paid = estimate.stages.filter((item) => !["plan", "report"].includes(item.stage));
    const minutes = paid.reduce((sum, item) => sum + item.minutes, 0);
    expect(estimate.equivalentUsd).toBeCloseTo((minutes / 60) * 1.861, 1);
  });

  it("costs dollars on AWS, at the price of the machine's own type", async () => {
    const estimate = await estimateOf({ capacity: { pricedAs: "g6e.xlarge" } }, h100);
    expect(estimate.pricedAs.instanceType).toBe("p5.4xlarge");
    expect(estimate.usd).toBeGreaterThan(0);
    expect(estimate.usd).toBe(estimate.equivalentUsd);
  });

  it("grows with the volumes, in minutes and in memory", async () => {
    const large = ids(20).map((id) => record(id, { shapeZyx: [400, 512, 512], spacingMmZyx: [1, 0.8, 0.8] }));
    const recipe: RecipeInput = { model: { width: 16 }, plan: { batch: 1 }, train: { steps: 3 } };
    const [a, b] = [await estimateOf(recipe), await estimateOf(recipe, laptop, large)];
    for (const name of ["ingest", "preprocess", "train", "compile", "infer"] as const) {
      expect(stage(b, name).minutes, name).toBeGreaterThan(stage(a, name).minutes);
      expect(stage(b, name).memoryGiB, name).toBeGreaterThan(stage(a, name).memoryGiB);
    }
  });
});

describe("the windows of a volume", () => {
  const windows = (shape: number[], patch: [number, number, number], overlap = 0.5) =>
    windowsOf(shape, { patch, infer: { overlap, mirroring: false, nsdToleranceMm: 1 } });

  it("are 147 for 200x512x512 in patches of 128 cubed (performance.md)", () => {
    expect(windows([200, 512, 512], [128, 128, 128])).toBe(147);
  });

  it("are one where the patch covers the volume, however small that is", () => {
    expect(windows([35, 51, 36], [40, 56, 40])).toBe(1);
    expect(windows([1, 1, 1], [40, 56, 40])).toBe(1);
  });

  it("are fewer with less overlap", () => {
    expect(windows([129, 128, 128], [128, 128, 128], 0)).toBe(2);
    expect(windows([256, 256, 256], [128, 128, 128], 0)).toBe(8);
  });
});
