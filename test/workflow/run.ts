// Drives the committed state machine in the local interpreter, with what its tasks answer given by the test.
import { readFileSync } from "node:fs";
import type { PlanOutput, ReportInput, ReportOutput, RunRequest } from "../../lib/contracts/index.ts";
import { StatesError, type TaskRequest } from "../../lib/local/asl/index.ts";
import { execute } from "../local/asl/harness.ts";

export const definition = JSON.parse(
  readFileSync(new URL("../../lib/workflow/workflow.asl.json", import.meta.url), "utf8"),
);

export const aRequest = (changes: Partial<RunRequest> = {}): RunRequest => {
  const request = { dataset: "hippocampus", identity: "0123456789ab".padEnd(64, "c"), attempt: 1, ...changes };
  return {
    schema: 1,
    runId: `${request.dataset}-${request.identity.slice(0, 12)}-${request.attempt}`,
    version: "0.1.0",
    datasetUri: `s3://data/datasets/${request.dataset}/`,
    artefactsUri: "s3://artefacts/",
    quarantineUri: "s3://quarantine/",
    ingestShards: 3,
    ...request,
  };
};

type Training = PlanOutput["trainings"][number];

export const anEngine = (training: string, engine: Training["engines"][number]["engine"], compiled = false) => ({
  name: `${training}-${engine}`,
  engine,
  compileTaskKey: `runs/x/tasks/compile-${training}-${engine}.json`,
  compiled,
  inferTaskKey: `runs/x/tasks/infer-${training}-${engine}.json`,
  inferShards: 2,
});

export const aTraining = (fold: string, strategy: Training["strategy"], changes: Partial<Training> = {}): Training => ({
  name: `${fold}-${strategy}`,
  fold,
  strategy,
  gpus: 1,
  taskKey: `runs/x/tasks/train-${fold}-${strategy}.json`,
  trainHash: "f00d".padEnd(64, "0"),
  trained: false,
  maxSeconds: 600,
  engines: [anEngine(`${fold}-${strategy}`, "torch")],
  ...changes,
});

export const aPlan = (changes: Partial<PlanOutput> = {}): PlanOutput => ({
  go: true,
  planKey: "runs/x/plan.json",
  preprocess: { taskKey: "runs/x/tasks/preprocess.json", missing: 5, shards: 2 },
  trainConcurrency: 2,
  trainings: [aTraining("fold0", "dali")],
  ...changes,
});

export const aReport = (changes: Partial<ReportOutput> = {}): ReportOutput => ({
  status: "succeeded",
  error: "",
  message: "It went well.",
  reportKey: "runs/x/report/report.json",
  htmlKey: "runs/x/report/report.html",
  csvKey: "runs/x/report/report.csv",
  ...changes,
});

/** What a task answers: a value, or a function of the request, which may throw. */
type Answer = object | ((request: TaskRequest) => unknown);

/** By the state's name; a state that is not named succeeds as its service would. */
export type Answers = Record<string, Answer>;

const batchJob = (request: TaskRequest) => {
  const { JobName } = request.arguments as { JobName: string };
  return { JobId: "id", JobName, Status: "SUCCEEDED", Container: { Environment: [{ Name: "SECRET", Value: "s" }] } };
};

const byDefault: Answers = {
  Ingest: batchJob,
  Preprocess: batchJob,
  TrainOnCluster: batchJob,
  IngestChildren: { JobSummaryList: [] },
  PreprocessChildren: { JobSummaryList: [] },
  InferChildren: { JobSummaryList: [] },
  InferModel: (request: TaskRequest) => ({
    ModelArn: `arn:aws:sagemaker:us-east-1:000000000000:model/${(request.arguments as { ModelName: string }).ModelName}`,
  }),
  InferTransform: { TransformJobStatus: "Completed" },
  InferDeleteModel: {},
  Compile: batchJob,
  Infer: batchJob,
  Train: { TrainingJobStatus: "Completed" },
  Plan: { StatusCode: 200, Payload: aPlan() },
  Report: { StatusCode: 200, Payload: aReport() },
  Notify: { MessageId: "id" },
};

/** The ledger's calls, of every ladder. */
const LEDGER = /(Reserve|Settle)$/;
const ofLedger = (state: string): Answer | undefined =>
  state.endsWith("Reserve")
    ? { StatusCode: 200, Payload: { granted: true, reservedUsd: 1 } }
    : state.endsWith("Settle")
      ? { StatusCode: 200, Payload: { settled: true, usd: 0.5 } }
      : undefined;

/**
 * @param machine - another definition than the committed one
 * @param drive - what stops it, or the history of a drive that was stopped
 */
export async function run(
  answers: Answers = {},
  request = aRequest(),
  machine: object = definition,
  drive: Pick<NonNullable<Parameters<typeof execute>[1]>, "history" | "signal"> = {},
) {
  const outcome = await execute(machine, {
    ...drive,
    input: JSON.parse(JSON.stringify(request)),
    tasks: (task) => {
      const answer = answers[task.stateName] ?? byDefault[task.stateName] ?? ofLedger(task.stateName);
      if (!answer) throw new Error(`no answer for ${task.stateName}`);
      return typeof answer === "function" ? answer(task) : answer;
    },
  });
  const argumentsOf = (state: string) =>
    outcome.requests.filter((task) => task.stateName === state).map((task) => task.arguments as Record<string, never>);
  return {
    ...outcome,
    /** Names of the states that ran a task, in order; the ledger's calls are left out. */
    tasks: outcome.requests.map((task) => task.stateName).filter((name) => !LEDGER.test(name)),
    /** Of all of them. */
    allTasks: outcome.requests.map((task) => task.stateName),
    argumentsOf,
    /** What the report was called with; undefined when it was not. */
    reported: argumentsOf("Report")[0]?.Payload as ReportInput | undefined,
  };
}

export const planned = (plan: PlanOutput): Answer => ({ StatusCode: 200, Payload: plan });
export const reported = (report: ReportOutput): Answer => ({ StatusCode: 200, Payload: report });

/** A task that fails, every time or only the first times. */
export const failing =
  (error: string, cause?: string, times = Number.POSITIVE_INFINITY): Answer =>
  (request: TaskRequest) => {
    if (request.attempt < times) throw new StatesError(error, cause);
    return byDefault[request.stateName] instanceof Function
      ? (byDefault[request.stateName] as (request: TaskRequest) => unknown)(request)
      : byDefault[request.stateName];
  };

/** What Step Functions puts into Cause when a Batch job has failed: the job's description. */
export const batchCause = (changes: object = {}) =>
  JSON.stringify({
    Attempts: [{ Container: { ExitCode: 1, LogStreamName: "ingest/default/1" }, StatusReason: "Essential container" }],
    Container: {
      Command: ["ingest", "--task", "s3://artefacts/runs/x/tasks/ingest.json"],
      Environment: [{ Name: "AWS_DEFAULT_REGION", Value: "us-east-1" }],
      ExitCode: 1,
      LogStreamName: "ingest/default/1",
      MountPoints: [{ ContainerPath: "/scratch" }],
      Reason: "OutOfMemoryError: Container killed due to memory usage",
    },
    JobId: "0f7c",
    JobName: "ingest-x-r0-d0",
    Status: "FAILED",
    StatusReason: "Essential container in task exited",
    ...changes,
  });
