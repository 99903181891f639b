// The state machine that AWS deploys, executed from its committed file: what runs after what, and where failures go.
import { describe, expect, it } from "vitest";
import { problemsOf, reportInput } from "../../lib/contracts/index.ts";
import { anEngine, aPlan, aReport, aRequest, aTraining, batchCause, failing, planned, reported, run } from "./run.ts";

/** How a job definition with EcsProperties is told its command. */
const commandOf = (command: string[]) => ({
  EcsPropertiesOverride: { TaskProperties: [{ Containers: [{ Name: "stage", Command: command }] }] },
});

describe("a run that succeeds", () => {
  it("goes through the stages in order and ends with the report's output", async () => {
    const { result, tasks } = await run();
    expect(tasks).toEqual(["Ingest", "Plan", "Preprocess", "Train", "Compile", "Infer", "Report", "Notify"]);
    expect(result).toMatchObject({ status: "SUCCEEDED", output: aReport() });
  });

  it("gives each stage the URI of its task", async () => {
    const { argumentsOf } = await run();
    expect(argumentsOf("Ingest")[0]).toMatchObject({
      ArrayProperties: { Size: 3 },
      ...commandOf(["ingest", "--task", "s3://artefacts/runs/hippocampus-0123456789ab-1/tasks/ingest.json"]),
    });
    expect(argumentsOf("Preprocess")[0]).toMatchObject({
      ArrayProperties: { Size: 2 },
      ...commandOf(["preprocess", "--task", "s3://artefacts/runs/x/tasks/preprocess.json"]),
    });
    expect(argumentsOf("Train")[0]).toMatchObject({
      HyperParameters: { task: "s3://artefacts/runs/x/tasks/train-fold0-dali.json" },
      StoppingCondition: { MaxRuntimeInSeconds: 600 },
      CheckpointConfig: { S3Uri: `s3://artefacts/train/${"f00d".padEnd(64, "0")}/checkpoints/` },
    });
    expect(argumentsOf("Train")[0]).toHaveProperty(
      "InputDataConfig[0].DataSource.S3DataSource.S3Uri",
      "s3://artefacts/runs/hippocampus-0123456789ab-1/tasks/train-fold0-dali.manifest.json",
    );
    expect(argumentsOf("Compile")[0]).not.toHaveProperty("ArrayProperties");
    expect(argumentsOf("Infer")[0]).toMatchObject({ ArrayProperties: { Size: 2 } });
  });

  it("calls the report with the request, the plan and no failure", async () => {
    const { reported } = await run();
    expect(problemsOf(reportInput, reported)).toEqual([]);
    expect(reported).toEqual({ request: aRequest(), plan: aPlan(), failures: [], falls: [] });
  });

  it("hands on no description of a job", async () => {
    const { events } = await run();
    const outputs = events.flatMap((event) => {
      const { output } = (event as { stateExitedEventDetails?: { output?: string } }).stateExitedEventDetails ?? {};
      return output ? [output] : [];
    });
    expect(outputs.length).toBeGreaterThan(10);
    expect(outputs.filter((output) => /SECRET|JobId|TrainingJobStatus/.test(output))).toEqual([]);
  });

  it("trains every fold and strategy, and infers with every engine of each", async () => {
    const trainings = ["fold0", "fold1"].map((fold) =>
      aTraining(fold, "amp", { engines: [anEngine(`${fold}-amp`, "torch"), anEngine(`${fold}-amp`, "onnxruntime")] }),
    );
    const { argumentsOf } = await run({ Plan: planned(aPlan({ trainings })) });
    expect(argumentsOf("Train")).toHaveLength(2);
    expect(argumentsOf("Compile")).toHaveLength(4);
    expect(new Set(argumentsOf("Infer").map(({ JobName }) => JobName)).size).toBe(4);
  });
});

describe("what exists already", () => {
  it("skips preprocess when no array is missing", async () => {
    const plan = aPlan({ preprocess: { taskKey: "t", missing: 0, shards: 2 } });
    expect((await run({ Plan: planned(plan) })).tasks).not.toContain("Preprocess");
  });

  it("skips a training whose weights exist, and compiles and infers all the same", async () => {
    const plan = aPlan({ trainings: [aTraining("fold0", "dali", { trained: true })] });
    const { tasks } = await run({ Plan: planned(plan) });
    expect(tasks).not.toContain("Train");
    expect(tasks).toEqual(expect.arrayContaining(["Compile", "Infer"]));
  });

  it("skips an engine that is compiled, and infers all the same", async () => {
    const plan = aPlan({
      trainings: [aTraining("fold0", "dali", { engines: [anEngine("fold0-dali", "torch", true)] })],
    });
    const { tasks } = await run({ Plan: planned(plan) });
    expect(tasks).not.toContain("Compile");
    expect(tasks).toContain("Infer");
  });
});

describe("a plan that says no", () => {
  it("reports, trains nothing and ends as failed with the report's words", async () => {
    const refusal = { code: "OverBudget", message: "It would cost 9 USD.", remedy: "Raise maxUsd." };
    const {
      result,
      tasks,
      reported: input,
    } = await run({
      Plan: planned(aPlan({ go: false, refusal, trainings: [] })),
      Report: reported(aReport({ status: "refused", error: "OverBudget", message: "x was refused." })),
    });
    expect(tasks).toEqual(["Ingest", "Plan", "Report", "Notify"]);
    expect(input).toMatchObject({ plan: { go: false, refusal }, failures: [] });
    expect(result).toEqual({ status: "FAILED", error: "OverBudget", cause: "x was refused." });
  });
});

describe("a failure", () => {
  const failedReport = reported(aReport({ status: "failed", error: "OutOfMemory", message: "ingest failed." }));

  it.each([
    ["Ingest", "ingest", ["Ingest", "IngestChildren", "Report", "Notify"]],
    ["Preprocess", "preprocess", ["Ingest", "Plan", "Preprocess", "PreprocessChildren", "Report", "Notify"]],
  ])("of %s goes to the report and ends the run as failed", async (state, stage, expected) => {
    const answers = { [state]: failing("States.TaskFailed", batchCause()), Report: failedReport };
    const { result, tasks, reported: input } = await run(answers);
    expect(tasks).toEqual(expected);
    expect(problemsOf(reportInput, input)).toEqual([]);
    expect(input?.failures).toMatchObject([{ stage, taskId: stage, error: "States.TaskFailed" }]);
    expect(result).toEqual({ status: "FAILED", error: "OutOfMemory", cause: "ingest failed." });
  });

  it("of the plan reports without a plan, under the error's own name", async () => {
    const cause = JSON.stringify({ errorType: "NoUsableCase", errorMessage: "No case is usable.", trace: ["at x"] });
    const { reported: input } = await run({ Plan: failing("NoUsableCase", cause), Report: failedReport });
    expect(problemsOf(reportInput, input)).toEqual([]);
    expect(input).not.toHaveProperty("plan");
    expect(input?.failures).toEqual([
      {
        stage: "plan",
        taskId: "plan",
        error: "NoUsableCase",
        cause: '{"errorType":"NoUsableCase","errorMessage":"No case is usable."}',
      },
    ]);
  });

  const two = aPlan({ trainings: [aTraining("fold0", "amp"), aTraining("fold1", "amp")] });
  const onFold0 =
    (error: string, cause: string) =>
    ({ arguments: given, stateName }: { arguments: unknown; stateName: string }) => {
      if (JSON.stringify(given).includes("fold0"))
        return (failing(error, cause) as (request: object) => unknown)({ stateName, attempt: 0 });
      return {};
    };

  it("of one training leaves the others alone and skips its engines", async () => {
    const cause = JSON.stringify({
      TrainingJobName: "t",
      TrainingJobStatus: "Failed",
      FailureReason: "CUDA",
      Tags: [],
    });
    const {
      tasks,
      argumentsOf,
      reported: input,
    } = await run({
      Plan: planned(two),
      Train: onFold0("States.TaskFailed", cause),
      Report: failedReport,
    });
    expect(tasks.filter((task) => task === "Train")).toHaveLength(2);
    expect(argumentsOf("Infer").map(({ JobName }) => JobName)).toEqual([
      expect.stringMatching(/^infer-fold1-amp-torch/),
    ]);
    expect(input?.failures).toEqual([
      {
        stage: "train",
        taskId: "train-fold0-amp",
        error: "States.TaskFailed",
        cause: '{"TrainingJobName":"t","TrainingJobStatus":"Failed","FailureReason":"CUDA"}',
      },
    ]);
  });

  it.each([
    ["Compile", "compile"],
    ["Infer", "infer"],
  ])("of %s leaves the other engines alone", async (state, stage) => {
    const { tasks, reported: input } = await run({
      Plan: planned(two),
      [state]: onFold0("States.TaskFailed", batchCause()),
      Report: failedReport,
    });
    expect(tasks.filter((task) => task === "Infer")).toHaveLength(stage === "compile" ? 1 : 2);
    expect(input?.failures).toMatchObject([{ stage, taskId: `${stage}-fold0-amp-torch` }]);
    expect(problemsOf(reportInput, input)).toEqual([]);
  });

  it("of the report ends the run with the report's error", async () => {
    const cause = JSON.stringify({ errorType: "ReportInvalid", errorMessage: "A defect." });
    const { result } = await run({ Report: failing("ReportInvalid", cause) });
    expect(result).toEqual({ status: "FAILED", error: "ReportInvalid", cause });
  });

  it("of the notification changes nothing", async () => {
    expect((await run({ Notify: failing("SNS.AuthorizationErrorException", "no") })).result.status).toBe("SUCCEEDED");
  });
});

describe("the Cause of a failure", () => {
  const causeOf = async (cause: string | undefined) =>
    (await run({ Ingest: failing("States.TaskFailed", cause) })).reported?.failures[0]?.cause;

  it("keeps why a job failed and leaves out its environment and its mounts", async () => {
    expect(JSON.parse((await causeOf(batchCause())) ?? "")).toEqual({
      JobId: "0f7c",
      JobName: "ingest-x-r0-d0",
      StatusReason: "Essential container in task exited",
      Container: {
        ExitCode: 1,
        Reason: "OutOfMemoryError: Container killed due to memory usage",
        LogStreamName: "ingest/default/1",
      },
    });
  });

  it("keeps the counts of an array", async () => {
    const ArrayProperties = { Size: 3, StatusSummary: { FAILED: 1, SUCCEEDED: 2 } };
    const cause = JSON.parse((await causeOf(batchCause({ Container: undefined, ArrayProperties }))) ?? "");
    expect(cause).toMatchObject({ ArrayProperties });
    expect(cause).not.toHaveProperty("Container");
  });

  it.each([
    ["a sentence", "The service had a bad day."],
    ["JSON of another shape", '{"Other":1}'],
    ["nothing", ""],
    ["text that only begins like JSON", '{"JobId": "cut in the mid'],
  ])("is kept as it is when it is %s", async (_what, cause) => {
    expect(await causeOf(cause)).toBe(cause);
  });

  it("is empty when there is none", async () => {
    expect(await causeOf(undefined)).toBe("");
  });

  it("is cut to 8,000 characters, and not parsed, when Step Functions has cut it", async () => {
    const cut = `{${"}".repeat(32_767)}`;
    expect(await causeOf(cut)).toBe(cut.slice(0, 8000));
  });

  it("leaves room for the plan and 100 failures in the report's input", async () => {
    const engines = ["torch", "inductor", "onnxruntime", "tensorrt"] as const;
    const strategies = ["fp32", "amp", "dali", "fused", "ddp"] as const;
    const trainings = ["fold0", "fold1", "fold2", "fold3", "fold4"].flatMap((fold) =>
      strategies.map((strategy) =>
        aTraining(fold, strategy, { engines: engines.map((engine) => anEngine(`${fold}-${strategy}`, engine)) }),
      ),
    );
    const { result, reported: input } = await run({
      Plan: planned(aPlan({ trainings, trainConcurrency: 5 })),
      Compile: failing("States.TaskFailed", "x".repeat(32_000)),
    });
    expect(input?.failures).toHaveLength(100);
    expect(input?.failures[0]?.cause).toHaveLength(1000);
    expect(JSON.stringify(input).length).toBeLessThan(256 * 1024);
    expect(result.status).toBe("SUCCEEDED");
  });
});

describe("a transient error", () => {
  it.each([
    ["Ingest", "Batch.TooManyRequestsException", "JobName"],
    ["Train", "SageMaker.ThrottlingException", "TrainingJobName"],
  ])("submits %s again under another name", async (state, error, name) => {
    const { argumentsOf, result, slept } = await run({ [state]: failing(error, "slow down", 2) });
    const names = argumentsOf(state).map((given) => given[name]);
    expect(names.map((each) => String(each).slice(-6))).toEqual(["-r0-d0", "-r1-d0", "-r2-d0"]);
    expect(result.status).toBe("SUCCEEDED");
    expect(slept.length).toBeGreaterThanOrEqual(2);
  });

  it("is not what a failed job is: that one is not submitted again", async () => {
    const { argumentsOf } = await run({ Ingest: failing("States.TaskFailed", batchCause()) });
    expect(argumentsOf("Ingest")).toHaveLength(1);
  });
});

describe("names of jobs", () => {
  const longest = aRequest({ dataset: "d".repeat(63), attempt: 9999 });
  const fold = "F_".repeat(16);
  const plan = aPlan({
    trainings: [aTraining(fold, "fused", { engines: [anEngine(`${fold}-fused`, "onnxruntime")] })],
  });

  it("fit into what Batch allows, at their longest", async () => {
    const { argumentsOf } = await run({ Plan: planned(plan) }, longest);
    for (const state of ["Ingest", "Preprocess", "Compile", "Infer"]) {
      const name = String(argumentsOf(state)[0]?.JobName);
      expect(name).toMatch(/^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/);
      expect(name).toContain("-0123456789ab-9999-k0-r0-d0");
    }
  });

  it("fit into what SageMaker allows, at their longest", async () => {
    const { argumentsOf } = await run({ Plan: planned(plan) }, longest);
    const name = String(argumentsOf("Train")[0]?.TrainingJobName);
    expect(name).toMatch(/^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$/);
    expect(name).toBe("train-F-F-F-F-F--fused-f00d0000-0123456789ab-9999-k0-r0-d0");
  });

  it("differ between two folds whose names are cut alike", async () => {
    const trainings = ["a", "b"].map((end) =>
      aTraining(`the-same-beginning-${end}`, "amp", { trainHash: end.repeat(64), trained: false }),
    );
    const { argumentsOf } = await run({ Plan: planned(aPlan({ trainings })) });
    expect(new Set(argumentsOf("Train").map(({ TrainingJobName }) => TrainingJobName)).size).toBe(2);
  });
});
