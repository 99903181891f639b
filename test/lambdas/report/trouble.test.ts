import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { withoutPaths } from "../../../lambdas/report/failures.ts";
import {
  type CompileResult,
  compileTaskId,
  hashOf,
  inferTaskId,
  keys,
  type TrainResult,
  trainTaskId,
} from "../../../lib/contracts/index.ts";
import { produce } from "./produce.ts";
import { RunFixture } from "./run-fixture.ts";

const batchCause = (reason: string, container: object = {}) =>
  JSON.stringify({ JobName: "infer-x-r0-d0", Status: "FAILED", StatusReason: reason, Container: container });

/** Everything from a stage on, as if the run had ended before it. */
function endBefore(run: RunFixture, stage: "preprocess" | "train" | "infer"): void {
  const results = `runs/${run.runId}/results/`;
  const gone = {
    preprocess: ["preprocess", "train", "compile", "infer"],
    train: ["train", "compile", "infer"],
    infer: ["infer"],
  };
  run.removeAll(...gone[stage].map((name) => results + name), `runs/${run.runId}/infer/`);
}

describe("a run that failed", () => {
  it("in ingest, before there was a plan, reports what there is", async () => {
    const run = new RunFixture();
    endBefore(run, "preprocess");
    run.remove(keys.plan(run.runId));
    run.input.plan = undefined;
    run.fail({
      code: "NoValidCase",
      message: "None of the 2 cases is valid.",
      remedy: "Correct the cases in quarantine.",
      stage: "plan",
      taskId: "plan",
    });
    run.input.failures.push({ stage: "plan", taskId: "plan", error: "NoValidCase", cause: "{}" });
    const { json, html, output, csv } = await produce(run);
    expect(output).toMatchObject({ status: "failed", error: "NoValidCase" });
    expect(output.message).toContain("None of the 2 cases is valid. Correct the cases in quarantine.");
    expect(json.errors).toHaveLength(1);
    expect(json.rows).toEqual([]);
    expect(json.quarantine).toHaveLength(2);
    expect(json.notes.join(" ")).toContain("before plan could name a price");
    expect(html).toContain("The run failed");
    expect(csv.trim().split("\r\n")).toHaveLength(1);
  });

  it("with nothing at all in its store still gets a report", async () => {
    const run = new RunFixture();
    run.store.objects.clear();
    run.input.plan = undefined;
    run.input.failures.push({
      stage: "ingest",
      taskId: "ingest",
      error: "States.TaskFailed",
      cause: batchCause("Host EC2 (instance i-0) terminated."),
    });
    const { json, output } = await produce(run);
    expect(output.status).toBe("failed");
    expect(json.errors).toEqual([
      expect.objectContaining({
        code: "TaskFailed",
        message: "ingest ended with States.TaskFailed: Host EC2 (instance i-0) terminated.",
        stage: "ingest",
      }),
    ]);
    expect(json.errors[0]!.remedy).toContain("Resume the run later");
    expect(json.stages).toEqual([]);
    expect(json.elapsedSeconds).toBeUndefined();
  });

  it("in one training keeps the others' rows and leaves its own empty, with the reason", async () => {
    const run = new RunFixture({ strategies: ["amp", "dali"] });
    run.removeAll(
      ...["train", "compile", "infer"].map((stage) => `runs/${run.runId}/results/${stage}-fold1-dali`),
      `runs/${run.runId}/infer/infer-fold1-dali`,
    );
    run.fail({
      code: "OutOfMemory",
      message: "Too little memory.",
      remedy: "Lower plan.batch.",
      stage: "train",
      taskId: "train-fold1-dali",
    });
    run.input.failures.push({ stage: "train", taskId: "train-fold1-dali", error: "States.TaskFailed", cause: "{}" });
    const { json } = await produce(run);
    const [amp, dali] = json.rows;
    expect(json.errors.map(({ code }) => code)).toEqual(["OutOfMemory"]);
    expect(amp!.volumesPerSecond).not.toBeNull();
    expect(dali).toMatchObject({
      gpu: "not measured",
      volumesPerSecond: null,
      dice: null,
      batch: null,
      note: "train failed: OutOfMemory.",
    });
    expect(json.rows.at(-1)).toMatchObject({
      strategy: "dali",
      engine: "onnxruntime",
      dice: null,
      gpu: "not measured",
    });
  });

  it("prefers a job's own error document to the service's Cause", async () => {
    const run = new RunFixture();
    endBefore(run, "infer");
    const taskId = inferTaskId("fold1", "dali", "onnxruntime");
    run.fail({
      code: "EngineMissing",
      message: "ONNX Runtime is not installed.",
      remedy: "Run `npm run setup`.",
      stage: "infer",
      taskId,
      index: 1,
    });
    run.input.failures.push({
      stage: "infer",
      taskId,
      error: "States.TaskFailed",
      cause: batchCause("Essential container in task exited", { ExitCode: 1 }),
    });
    const { json } = await produce(run);
    expect(json.errors).toHaveLength(1);
    expect(json.errors[0]).toMatchObject({ code: "EngineMissing", index: 1 });
  });

  it("takes the whole error document where a function put it into its message, without the paths in it", async () => {
    const run = new RunFixture();
    endBefore(run, "preprocess");
    run.input.plan = undefined;
    const document = {
      schema: 1,
      code: "SplitsUnknownCase",
      message: "splits.json names a case that file:///scans/JANE/a.nii.gz is not.",
      remedy: "Correct splits.json.",
      field: "fold1.val[0]",
    };
    const cause = JSON.stringify({ errorType: document.code, errorMessage: JSON.stringify(document) });
    run.input.failures.push({ stage: "plan", taskId: "plan", error: document.code, cause });
    const { json, output } = await produce(run);
    expect(json.errors).toEqual([
      {
        ...document,
        message: "splits.json names a case that (path left out) is not.",
        stage: "plan",
        taskId: "plan",
      },
    ]);
    expect(output.message).toContain("Correct splits.json.");
  });

  it.each([
    ["States.Timeout", "", "Timeout", /last checkpoint/],
    [
      "States.TaskFailed",
      batchCause("OutOfMemoryError: Container killed due to memory usage"),
      "TaskFailed",
      /plan\.batch/,
    ],
    [
      "SageMaker.AmazonSageMakerException",
      JSON.stringify({ FailureReason: "CapacityError: no p5 in us-east-1" }),
      "AmazonSageMakerException",
      /rung/,
    ],
    [
      "OverBudget",
      JSON.stringify({ errorType: "OverBudget", errorMessage: "The run would cost 50 USD." }),
      "OverBudget",
      /resume/,
    ],
    ["", "", "StageFailed", /voxelburst logs/],
    // A Cause is cut to 8,000 characters: it need not be JSON any more.
    [
      "States.TaskFailed",
      '{"StatusReason":"Task failed to start","Attempts":[{"Contai',
      "TaskFailed",
      /voxelburst logs/,
    ],
  ])("makes an error of %s without a document", async (error, cause, code, remedy) => {
    const run = new RunFixture();
    endBefore(run, "train");
    run.input.failures.push({ stage: "train", taskId: "train-fold1-dali", error, cause });
    const { json } = await produce(run);
    expect(json.errors).toHaveLength(1);
    expect(json.errors[0]!.code).toBe(code);
    expect(json.errors[0]!.remedy).toMatch(remedy);
    expect(json.errors[0]!.message).toMatch(/\.$/);
  });

  it("is noticed when a result is missing although nothing was caught", async () => {
    const run = new RunFixture();
    run.remove(run.resultKey(inferTaskId("fold1", "dali", "onnxruntime"), 1));
    const { json, output } = await produce(run);
    expect(output).toMatchObject({ status: "failed", error: "ResultMissing" });
    expect(json.errors[0]!.message).toBe("1 of the 2 array children of infer-fold1-dali-onnxruntime left a result.");
  });

  it("does not blame what could not start because an earlier stage failed", async () => {
    const run = new RunFixture();
    endBefore(run, "preprocess");
    run.input.failures.push({
      stage: "preprocess",
      taskId: "preprocess",
      error: "States.TaskFailed",
      cause: batchCause("exited"),
    });
    expect((await produce(run)).json.errors.map(({ taskId }) => taskId)).toEqual(["preprocess"]);
  });

  it("names an object that does not fit its contract, and goes on", async () => {
    const run = new RunFixture();
    run.put(run.resultKey("compile-fold1-dali-onnxruntime"), "{ not json");
    run.change<TrainResult>(run.resultKey(trainTaskId("fold1", "dali")), (result) => {
      (result as { steps: unknown }).steps = -1;
    });
    const { json, output } = await produce(run);
    expect(output.status).toBe("failed");
    const invalid = json.errors.filter(({ code }) => code === "DocumentInvalid");
    expect(invalid.map(({ message }) => message)).toEqual([
      expect.stringContaining("compile-fold1-dali-onnxruntime.json is not JSON"),
      expect.stringMatching(/train-fold1-dali\.json does not fit its schema: steps is -1; allowed: at least 0/),
    ]);
    expect(json.stages.map(({ stage }) => stage)).toEqual(["ingest", "preprocess", "infer"]);
  });

  it("reads the quarantine of an array child that failed after it had refused a case", async () => {
    const run = new RunFixture();
    run.remove(run.resultKey("ingest", 1));
    run.input.failures.push({ stage: "ingest", taskId: "ingest", error: "States.TaskFailed", cause: "" });
    expect((await produce(run)).json.quarantine.map(({ caseId }) => caseId)).toContain("case-truncated");
  });
});

describe("a run that was refused", () => {
  it("says why and what to do, with the estimate", async () => {
    const run = new RunFixture();
    endBefore(run, "preprocess");
    const refusal = {
      code: "OverBudget",
      message: "The run would cost at most 41.20 USD; maxUsd is 10.",
      remedy: "Raise maxUsd.",
    };
    run.input.plan = { ...run.input.plan!, go: false, refusal };
    const { json, output, html } = await produce(run);
    expect(output).toMatchObject({ status: "refused", error: "OverBudget" });
    expect(json.errors).toEqual([{ schema: 1, stage: "plan", ...refusal }]);
    expect(json.estimate).toEqual(run.plan.estimate);
    expect(html).toContain("The run was refused");
    expect(html).not.toContain("voxelburst resume");
  });
});

describe("an error that a retry cured", () => {
  it("is a warning of a run that succeeded", async () => {
    const run = new RunFixture();
    run.fail({
      code: "StageFailed",
      message: "The host was lost.",
      remedy: "None.",
      stage: "preprocess",
      taskId: "preprocess",
      index: 1,
    });
    const { json, output } = await produce(run);
    expect(output.status).toBe("succeeded");
    expect(json.warnings.find(({ code }) => code === "RecoveredAfterRetry")?.message).toContain(
      "preprocess (child 1) failed once",
    );
  });
});

describe("what an earlier run made", () => {
  it("is shown with its run's name and costs this run nothing", async () => {
    const run = new RunFixture();
    const training = trainTaskId("fold1", "dali");
    const compiling = compileTaskId("fold1", "dali", "onnxruntime");
    const trained = run.read<TrainResult>(run.resultKey(training));
    const compiled = run.read<CompileResult>(run.resultKey(compiling));
    run.remove(run.resultKey(training));
    run.remove(run.resultKey(compiling));
    run.put(`train/${hashOf(["fold1", "dali"])}/result.json`, { ...trained, runId: "phantoms-ffffffffffff-1" });
    run.put(`${compiled.enginePrefix}result.json`, { ...compiled, runId: "phantoms-ffffffffffff-1" });
    run.put(keys.task(run.runId, compiling), {
      schema: 1,
      stage: "compile",
      taskId: compiling,
      runId: run.runId,
      version: "0.1.0",
      dataset: "phantoms",
      datasetUri: run.input.request.datasetUri,
      artefactsUri: run.root,
      runPrefix: keys.run(run.runId),
      inputHash: hashOf("x"),
      planKey: keys.plan(run.runId),
      casesKey: keys.taskCases(run.runId, compiling),
      fold: "fold1",
      strategy: "dali",
      engine: "onnxruntime",
      modelPrefix: trained.modelPrefix,
      outputPrefix: compiled.enginePrefix,
    });
    Object.assign(run.input.plan!.trainings[0]!, { trained: true });
    Object.assign(run.input.plan!.trainings[0]!.engines[0]!, { compiled: true });
    const { json, output } = await produce(run);
    expect(output.status).toBe("succeeded");
    expect(json.rows[0]).toMatchObject({
      volumesPerSecond: trained.volumesPerSecond,
      note: "Trained and timed by the earlier run phantoms-ffffffffffff-1.",
    });
    for (const stage of ["train", "compile"])
      expect(json.stages.find((entry) => entry.stage === stage)).toMatchObject({
        seconds: 0,
        done: 0,
        skipped: 1,
        equivalentUsd: 0,
      });
  });

  it("counts preprocessing that was skipped whole", async () => {
    const run = new RunFixture();
    run.removeAll(`runs/${run.runId}/results/preprocess`);
    run.input.plan!.preprocess.missing = 0;
    const { json, output } = await produce(run);
    expect(output.status).toBe("succeeded");
    expect(json.stages.find(({ stage }) => stage === "preprocess")).toMatchObject({ seconds: 0, done: 0, skipped: 24 });
  });
});

describe("a patient's file", () => {
  const secret = "DOE_JANE_1970";

  it("is named nowhere, whatever a Cause or an error says", async () => {
    const run = new RunFixture({ where: "aws" });
    endBefore(run, "train");
    run.fail({
      code: "StageFailed",
      message: `FileNotFoundError: s3://data/datasets/phantoms/${secret}/1.dcm`,
      remedy: "Look.",
      stage: "train",
      taskId: "train-fold1-dali",
      got: `datasets/phantoms/${secret}/1.dcm`,
    });
    run.input.failures.push({
      stage: "train",
      taskId: "train-other",
      error: "X",
      cause: JSON.stringify({ errorMessage: `cannot read /mnt/scans/${secret}/a.nii.gz or C:\\scans\\${secret}.dcm` }),
    });
    const { html, json, output, csv } = await produce(run);
    for (const text of [html, JSON.stringify(json), output.message, csv]) expect(text).not.toContain(secret);
    expect(json.errors).toHaveLength(2);
  });

  it("disappears from any text that holds its URI or its path", () => {
    const segment = fc.stringMatching(/^[A-Za-z0-9._-]{1,12}$/);
    const path = fc.array(segment, { minLength: 2, maxLength: 5 }).map((parts) => parts.join("/"));
    fc.assert(
      fc.property(
        path,
        fc.constantFrom("s3://bucket/", "file:///", "/", "datasets/phantoms/"),
        fc.constantFrom("", "'", '"', "("),
        (tail, head, quote) => {
          const marked = `${tail}/${secret}`;
          expect(withoutPaths(`got ${quote}${head}${marked}${quote} here`, "datasets/phantoms/")).not.toContain(secret);
        },
      ),
    );
  });

  it("leaves ordinary sentences as they are", () => {
    for (const text of ["12 volumes/s and 3 patches/s.", "bf16/fp16 is allowed", "ratio 3/4, exit code 1"])
      expect(withoutPaths(text, "datasets/phantoms/")).toBe(text);
  });
});
