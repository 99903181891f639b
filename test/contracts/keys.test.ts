import { describe, expect, it } from "vitest";
import {
  compileTaskId,
  hashOf,
  inferTaskId,
  keyPrefix,
  keys,
  objectKey,
  runId,
  trainTaskId,
} from "../../lib/contracts/index.ts";

const run = "hippocampus-0123456789ab-1";
const hash = hashOf("something");

describe("object keys", () => {
  const all = {
    dataset: keys.dataset("hippocampus"),
    run: keys.run(run),
    outputs: keys.outputs("train"),
    output: keys.output("preprocess", hash),
    request: keys.request(run),
    recipe: keys.recipe(run),
    definition: keys.definition(run),
    splits: keys.splits(run),
    plan: keys.plan(run),
    task: keys.task(run, "train-fold1-dali"),
    taskCases: keys.taskCases(run, "train-fold1-dali"),
    channelManifest: keys.channelManifest(run, "train-fold1-dali"),
    results: keys.results(run),
    result: keys.result(run, "ingest", 3),
    errors: keys.errors(run),
    error: keys.error(run, "plan"),
    ingested: keys.ingested(run, 0),
    quarantined: keys.quarantined(run, 1),
    quarantine: keys.quarantine(run),
    quarantineEntry: keys.quarantineEntry(run, "case_001"),
    scores: keys.scores(run, "infer-fold1-dali-torch", 0),
    masks: keys.masks(run, "fold1-dali-torch"),
    report: keys.report(run, "report.html"),
    transformLines: keys.transformLines(run, "infer-x"),
    transformShard: keys.transformShard(run, "infer-x", 0),
    transformAnswers: keys.transformAnswers(run, "infer-x"),
    checkpoints: keys.checkpoints(hash),
    trainingArchive: keys.trainingArchive(run),
    nights: keys.nights("hippocampus"),
    night: keys.night("hippocampus", "2026-11-24T02:00:00Z"),
    outputResult: keys.outputResult(keys.output("train", hash)),
    caseRecord: keys.caseRecord(hash),
    arraysMeta: keys.arraysMeta(hash),
    caseScores: keys.caseScores(hash),
  } satisfies Record<keyof typeof keys, string>;

  it.each(Object.entries(all))("keys.%s is an object key that the contracts take", (_, key) => {
    expect(objectKey.safeParse(key).success).toBe(true);
  });

  it("are distinct, so that nothing overwrites anything", () => {
    expect(new Set(Object.values(all)).size).toBe(Object.keys(all).length);
  });

  it("end in a slash exactly where they are prefixes", () => {
    const prefixes = Object.entries(all)
      .filter(([, key]) => keyPrefix.safeParse(key).success)
      .map(([name]) => name);
    expect(prefixes).toEqual([
      "dataset",
      "run",
      "outputs",
      "output",
      "results",
      "errors",
      "quarantine",
      "masks",
      "transformLines",
      "transformAnswers",
      "checkpoints",
      "trainingArchive",
      "nights",
    ]);
  });

  it("sort nights by their time, whatever offset it was written with", () => {
    const night = (time: string) => keys.night("hippocampus", time);
    expect(night("2026-11-24T03:00:00+01:00")).toBe(night("2026-11-24T02:00:00Z"));
    expect(night("2026-11-24T02:00:00Z") < night("2026-11-24T02:00:01+00:00")).toBe(true);
  });

  it("put an array child's index behind the task, and none behind a job that is no array", () => {
    expect(keys.result(run, "ingest", 3)).toBe(`runs/${run}/results/ingest.3.json`);
    expect(keys.result(run, "train-fold1-dali")).toBe(`runs/${run}/results/train-fold1-dali.json`);
    expect(keys.error(run, "infer-x", 0)).toBe(`runs/${run}/errors/infer-x.0.json`);
  });

  it("keep a run apart from outputs that runs share", () => {
    const ofRun = Object.values(all).filter((key) => key.startsWith(keys.run(run)));
    expect(ofRun.filter((key) => key.includes(hash))).toEqual([]);
    expect(all.caseRecord.startsWith(keys.output("ingest", hash))).toBe(true);
    expect(all.arraysMeta.startsWith(keys.output("preprocess", hash))).toBe(true);
  });

  it("write nothing below the prefix whose dataset.json starts a run", () => {
    const written = Object.entries(all).filter(([name]) => name !== "dataset");
    expect(written.filter(([, key]) => key.startsWith("datasets/"))).toEqual([]);
  });

  it("name tasks by fold, strategy and engine", () => {
    expect([
      trainTaskId("fold1", "dali"),
      compileTaskId("fold1", "dali", "torch"),
      inferTaskId("fold1", "dali", "torch"),
    ]).toEqual(["train-fold1-dali", "compile-fold1-dali-torch", "infer-fold1-dali-torch"]);
  });

  it.each(["a/../b", "..", "/a", "a\\b", "a\u0000b", "a\nb", "a\u007fb", "", "x".repeat(901)])(
    "may not be %j",
    (key) => {
      expect(objectKey.safeParse(key).success).toBe(false);
    },
  );

  it.each(["a", "a..b/c", "imagesTr/größe (1).nii.gz", "[x]/y", "日本/ä", "dicom/", "😀.nii"])("may be %j", (key) => {
    expect(objectKey.safeParse(key).success).toBe(true);
  });
});

describe("a run's id", () => {
  it("is the dataset, twelve digits of its identity and the attempt", () => {
    expect(runId.safeParse(run).success).toBe(true);
    for (const wrong of ["hippocampus-0123456789ab", "Hippo-0123456789ab-1", "h-0123456789AB-1", "h-0123456789ab-0"])
      expect(runId.safeParse(wrong).success).toBe(false);
  });
});
