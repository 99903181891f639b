import { beforeAll, describe, expect, it } from "vitest";
import {
  type CaseScores,
  type InferResult,
  inferTaskId,
  type TrainResult,
  trainTaskId,
} from "../../../lib/contracts/index.ts";
import { type Produced, produce } from "./produce.ts";
import { RunFixture } from "./run-fixture.ts";

/** nnU-Net's convention, written again: nanmean over cases for each class, plain mean over classes. */
function nnunetDice(scores: readonly CaseScores[]): { classes: Map<string, number>; mean: number } {
  const sums = new Map<string, [number, number]>();
  for (const { classes } of scores)
    for (const { class: name, dice } of classes) {
      const [sum, n] = sums.get(name) ?? [0, 0];
      sums.set(name, dice === null ? [sum, n] : [sum + dice, n + 1]);
    }
  const classes = new Map([...sums].map(([name, [sum, n]]) => [name, sum / n]));
  return { classes, mean: [...classes.values()].reduce((sum, value) => sum + value, 0) / classes.size };
}

describe("the report of a whole run", () => {
  const run = new RunFixture({ strategies: ["fp32", "dali"], engines: ["onnxruntime", "torch"] });
  let made: Produced;
  beforeAll(async () => {
    made = await produce(run, { machine: { where: "local", gpus: 0 } });
  });

  it("succeeds and says in one sentence what came out", () => {
    expect(made.output).toMatchObject({ status: "succeeded", error: "" });
    expect(made.output.message).toMatch(
      /^phantoms-0123456789ab-1 succeeded: mean Dice 0\.\d{3}, volumes\/s .+ with onnxruntime, \$\d/,
    );
  });

  it("orders rows by the ladder, whatever the plan's order: trainings first, then their engines", () => {
    expect(made.json.rows.map((row) => [row.kind, row.strategy, row.engine])).toEqual([
      ["training", "fp32", undefined],
      ["training", "dali", undefined],
      ["engine", "fp32", "torch"],
      ["engine", "fp32", "onnxruntime"],
      ["engine", "dali", "torch"],
      ["engine", "dali", "onnxruntime"],
    ]);
  });

  it("scores by nnU-Net's convention, recomputed here from the scores of both array children", () => {
    for (const segmentation of made.json.segmentations) {
      const expected = nnunetDice(run.scoresOf(segmentation.fold, segmentation.strategy, segmentation.engine));
      expect(segmentation.meanDice).toBeCloseTo(expected.mean, 12);
      expect(segmentation.cases).toHaveLength(12);
      for (const { class: name, dice } of segmentation.classes)
        expect(dice).toBeCloseTo(expected.classes.get(name)!, 12);
    }
    expect(made.json.segmentations).toHaveLength(4);
  });

  it("gives a training the Dice of the reference engine torch and names it", () => {
    const training = made.json.rows.find((row) => row.kind === "training" && row.strategy === "dali")!;
    const torch = made.json.segmentations.find(({ name }) => name === "fold1-dali-torch")!;
    expect(training.diceFrom).toBe("torch");
    expect(training.dice).toBe(torch.meanDice);
  });

  it("takes a training's numbers from its result, and none that it does not have", () => {
    const result = run.read<TrainResult>(run.resultKey(trainTaskId("fold1", "dali")));
    const row = made.json.rows.find((entry) => entry.kind === "training" && entry.strategy === "dali")!;
    expect(row).toMatchObject({
      gpu: result.host.device,
      gpus: 0,
      batch: 2,
      volumesPerSecond: result.volumesPerSecond,
      patchesPerSecond: result.patchesPerSecond,
      windowsPerSecond: null,
      gpuBusyPercent: null,
      p50Ms: result.stepLatency.p50Ms,
      versions: result.host.versions,
    });
  });

  it("measures speed-up against the first row of the same kind", () => {
    const training = made.json.rows.filter((row) => row.kind === "training");
    const engines = made.json.rows.filter((row) => row.kind === "engine");
    expect(training[0]!.speedUp).toBe(1);
    expect(training[1]!.speedUp).toBeCloseTo(training[1]!.volumesPerSecond! / training[0]!.volumesPerSecond!, 12);
    expect(engines[0]!.speedUp).toBe(1);
    expect(engines[1]!.speedUp).toBeCloseTo(1.7, 9);
  });

  it("merges array children: first start to last end, sums, the largest memory", () => {
    const ingest = made.json.stages.find(({ stage }) => stage === "ingest")!;
    expect(ingest).toMatchObject({ seconds: 15, cpuOrGpuSeconds: 27, peakMemoryMiB: 435, done: 24, skipped: 0 });
  });

  it("names every version that a stage's jobs loaded, and every fallback once", () => {
    const host = (name: string) => made.json.stages.find(({ stage }) => stage === name)!.host!;
    expect(host("infer").versions).toMatchObject({ torch: "2.11.0", onnxruntime: "1.24.0" });
    expect(host("preprocess").fallbacks).toEqual(["DALI ran on the CPU: there is no GPU on this machine."]);
  });

  it("costs nothing on one machine and names the equivalent: the minutes at the plan's price", () => {
    const { usdPerHour } = run.plan.estimate.pricedAs;
    expect(made.json.usd).toBe(0);
    expect(made.json.pricedAs).toEqual(run.plan.estimate.pricedAs);
    const train = made.json.stages.find(({ stage }) => stage === "train")!;
    expect(train.equivalentUsd).toBeCloseTo((train.seconds / 3600) * usdPerHour, 9);
    expect(made.json.equivalentUsd).toBeCloseTo(
      made.json.stages.reduce((sum, stage) => sum + stage.equivalentUsd, 0),
      12,
    );
    const row = made.json.rows[0]!;
    expect(row.usdPer1000Volumes).toBeCloseTo((1000 / row.volumesPerSecond! / 3600) * usdPerHour, 9);
    expect(made.json.notes.join(" ")).toContain("On one machine a run costs nothing");
  });

  it("carries quarantine, warnings with their cases, fallbacks, parity, curves, overrides and notes", () => {
    expect(made.json.quarantine.map(({ caseId }) => caseId)).toEqual(["case-bad-affine", "case-truncated"]);
    expect(made.json.warnings).toContainEqual({
      code: "SmallStructure",
      message: "The lesion has fewer than 30 voxels.",
      caseId: "case-003",
    });
    expect(made.json.warnings.filter(({ code }) => code === "BackendFallback")).toHaveLength(1);
    expect(made.json.parities).toHaveLength(4);
    expect(made.json.curves.map(({ name, points }) => [name, points.length])).toEqual([
      ["fold1-fp32", 120],
      ["fold1-dali", 120],
    ]);
    expect(made.json.overrides).toEqual(["model.width", "train.steps"]);
    expect(made.json.notes).toContain("The batch is 2: the patch fills the planned memory.");
    expect(made.json.cases).toEqual({ training: 24, test: 0, validation: 12, quarantined: 2 });
  });
});

describe("engines of an array", () => {
  it("adds the rates of children that ran at once and not of those in turn", async () => {
    const inTurn = new RunFixture();
    const atOnce = new RunFixture();
    const taskId = inferTaskId("fold1", "dali", "onnxruntime");
    const { startedAt } = atOnce.read<InferResult>(atOnce.resultKey(taskId, 0));
    atOnce.change<InferResult>(atOnce.resultKey(taskId, 1), (result) => {
      result.startedAt = startedAt;
    });
    const rowOf = async (run: RunFixture) => (await produce(run)).json.rows.find((row) => row.kind === "engine")!;
    const [one, two] = [await rowOf(inTurn), await rowOf(atOnce)];
    expect(one.volumesPerSecond).toBeCloseTo(1.7 / 0.9, 9);
    expect(two.volumesPerSecond).toBeCloseTo((2 * 1.7) / 0.9, 9);
    expect(two.windowsPerSecond).toBeCloseTo(2 * one.windowsPerSecond!, 9);
    expect(two.note).toBe("2 array children, 2 at once.");
  });

  it("counts a GPU a child that ran at once, but never more than the machine has", async () => {
    const run = new RunFixture({ gpu: true });
    const taskId = inferTaskId("fold1", "dali", "onnxruntime");
    const { startedAt } = run.read<InferResult>(run.resultKey(taskId, 0));
    run.change<InferResult>(run.resultKey(taskId, 1), (result) => {
      result.startedAt = startedAt;
    });
    const gpusOn = async (gpus: number) =>
      (await produce(run, { machine: { where: "local", gpus } })).json.rows.find((row) => row.kind === "engine")!.gpus;
    expect(await gpusOn(2)).toBe(2);
    expect(await gpusOn(1)).toBe(1);
  });

  it("gives the slowest child's latency, as percentiles cannot be merged", async () => {
    const run = new RunFixture();
    run.change<InferResult>(run.resultKey(inferTaskId("fold1", "dali", "onnxruntime"), 1), (result) => {
      result.windowLatency = { p50Ms: 500, p95Ms: 900 };
    });
    const row = (await produce(run)).json.rows.find((entry) => entry.kind === "engine")!;
    expect([row.p50Ms, row.p95Ms]).toEqual([500, 900]);
  });

  it("does not call a rate measured when every mask existed before", async () => {
    const run = new RunFixture();
    for (const index of [0, 1])
      run.change<InferResult>(run.resultKey(inferTaskId("fold1", "dali", "onnxruntime"), index), (result) => {
        Object.assign(result, { done: 0, skipped: result.cases, fileToMaskSeconds: 0, modelSeconds: 0, windows: 0 });
        Object.assign(result, { windowsPerSecond: 0, volumesPerSecond: 0, windowLatency: { p50Ms: 0, p95Ms: 0 } });
      });
    const { json } = await produce(run);
    const row = json.rows.find((entry) => entry.kind === "engine")!;
    expect(row).toMatchObject({
      volumesPerSecond: null,
      windowsPerSecond: null,
      p50Ms: null,
      speedUp: null,
      usdPer1000Volumes: null,
    });
    expect(row.dice).not.toBeNull();
    expect(row.note).toContain("All 12 masks existed before this run");
  });
});

describe("scores", () => {
  it("leaves a case that is empty on both sides out of the class mean and counts it as empty", async () => {
    const run = new RunFixture();
    const key = `runs/${run.runId}/infer/${inferTaskId("fold1", "dali", "onnxruntime")}.0.scores.jsonl`;
    run.changeLines<CaseScores>(key, ([first, ...rest]) => {
      const lesion = first!.classes[1]!;
      Object.assign(lesion, { dice: null, hd95Mm: null, nsd: null, referenceVoxels: 0, predictedVoxels: 0 });
      return [{ ...first!, meanDice: first!.classes[0]!.dice }, ...rest];
    });
    const { json } = await produce(run);
    const lesion = json.segmentations[0]!.classes[1]!;
    const expected = nnunetDice(run.scoresOf("fold1", "dali", "onnxruntime"));
    expect(lesion).toMatchObject({ cases: 12, emptyReference: 1, emptyPrediction: 1 });
    expect(lesion.dice).toBeCloseTo(expected.classes.get("lesion")!, 12);
    expect(json.segmentations[0]!.meanDice).toBeCloseTo(expected.mean, 12);
  });

  it("says so when a class is defined in no case, and means over the others", async () => {
    const run = new RunFixture();
    for (const index of [0, 1])
      run.changeLines<CaseScores>(
        `runs/${run.runId}/infer/${inferTaskId("fold1", "dali", "onnxruntime")}.${index}.scores.jsonl`,
        (lines) =>
          lines.map((line) => ({
            ...line,
            classes: line.classes.map((entry) =>
              entry.class === "lesion" ? { ...entry, dice: null, hd95Mm: null, nsd: null } : entry,
            ),
          })),
      );
    const { json } = await produce(run);
    const [organ, lesion] = json.segmentations[0]!.classes;
    expect(lesion!.dice).toBeNull();
    expect(json.segmentations[0]!.meanDice).toBe(organ!.dice);
    expect(json.warnings.map(({ code }) => code)).toContain("ClassWithoutDice");
  });

  it("keeps test cases, which have no label, out of every mean", async () => {
    const run = new RunFixture();
    const before = (await produce(run)).json.segmentations[0]!;
    const key = `runs/${run.runId}/infer/${inferTaskId("fold1", "dali", "onnxruntime")}.0.scores.jsonl`;
    run.changeLines<CaseScores>(key, (lines) => [
      ...lines,
      { ...lines[0]!, caseId: "unlabelled-1", part: "test", classes: [], meanDice: null },
    ]);
    const after = (await produce(run)).json.segmentations[0]!;
    expect(after.cases).toHaveLength(13);
    expect(after.meanDice).toBe(before.meanDice);
    expect(after.classes).toEqual(before.classes);
  });

  it("counts a case once when a repeated child listed it twice", async () => {
    const run = new RunFixture();
    const before = (await produce(run)).json.segmentations[0]!;
    const key = `runs/${run.runId}/infer/${inferTaskId("fold1", "dali", "onnxruntime")}.0.scores.jsonl`;
    run.changeLines<CaseScores>(key, (lines) => [...lines, lines[0]!]);
    expect((await produce(run)).json.segmentations[0]).toEqual(before);
  });
});

describe("a resumed run", () => {
  it("does not pay for the night in between, and says that it paused", async () => {
    const run = new RunFixture();
    run.change<InferResult>(run.resultKey(inferTaskId("fold1", "dali", "onnxruntime"), 1), (result) => {
      result.startedAt = new Date(Date.parse(result.startedAt) + 8 * 3_600_000).toISOString();
    });
    const undisturbed = (await produce(new RunFixture())).json;
    const { json } = await produce(run);
    expect(json.equivalentUsd).toBeCloseTo(undisturbed.equivalentUsd, 6);
    expect(json.elapsedSeconds! - undisturbed.elapsedSeconds!).toBeCloseTo(8 * 3600, 3);
    expect(json.runningSeconds).toBeCloseTo(undisturbed.runningSeconds!, 3);
    expect(json.notes.join(" ")).toContain("no stage was running");
  });
});
