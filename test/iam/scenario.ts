// A run in which every role does all that its code can do: each function's bundle and each stage's process, for real.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand } from "@aws-sdk/client-s3";
import { StopExecutionCommand } from "@aws-sdk/client-sfn";
import { type PlanOutput, planOutput, type RunRequest, runRequest } from "../../lib/contracts/index.ts";
import { QUEUE_ARN, uploadEvent } from "../aws/trigger-account.ts";
import type { RoleAccount } from "./account.ts";

const CPU_MACHINE = JSON.stringify({
  where: "local",
  gpus: 0,
  cpus: 2,
  memoryGiB: 16,
  bf16: false,
  engines: ["onnxruntime"],
});
const RECIPE = `train: {steps: 6, checkpointMinutes: 0.01}
model: {name: unet3d, width: 4}
plan: {batch: 2}
strategies: fp32
engines: onnxruntime
`;

export class Scenario {
  readonly at: RoleAccount;
  private readonly folder: string;
  request!: RunRequest;
  plan!: PlanOutput;

  constructor(at: RoleAccount, folder: string) {
    this.at = at;
    this.folder = folder;
  }

  private get machine() {
    return { VOXELBURST_MACHINE: CPU_MACHINE };
  }

  private async put(bucket: string, key: string, body: Uint8Array | string): Promise<void> {
    await this.at.account.s3.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: body }));
  }

  /** Uploads phantoms, and lets start-run begin, name, redrive and refuse. */
  async startRun(): Promise<void> {
    const dataset = path.join(this.folder, "phantoms");
    const args = ["phantoms", "--out", dataset, "--seed", "5", "--cases", "5", "--size", "16"];
    await this.at.stage("IngestJobRole", args);
    for (const file of readdirSync(dataset, { recursive: true, withFileTypes: true }))
      if (file.isFile()) {
        const full = path.join(file.parentPath, file.name);
        await this.put("data", `datasets/phantoms/${path.relative(dataset, full)}`, readFileSync(full));
      }
    await this.put("data", "datasets/phantoms/recipe.yaml", RECIPE);
    const { sfn, stateMachineArn } = this.at.account;
    const startRun = await this.at.function("start-run", "TriggerFunctionRole");
    const { runId } = (await startRun.invoke(uploadEvent("phantoms", "1"))) as { runId: string };
    const { s3 } = this.at.account;
    const { Body } = await s3.send(new GetObjectCommand({ Bucket: "artefacts", Key: `runs/${runId}/request.json` }));
    this.request = runRequest.parse(JSON.parse(await Body!.transformToString()));

    await startRun.invoke(uploadEvent("phantoms", "1")); // a duplicate
    await startRun.invoke(uploadEvent("nothing-there", "1")); // refused: people are told
    const executionArn = `${stateMachineArn.replace(":stateMachine:", ":execution:")}:${runId}`;
    await sfn.send(new StopExecutionCommand({ executionArn }));
    this.at.answers = { "states:RedriveExecution": { redriveDate: 1 } };
    await startRun.invoke(uploadEvent("phantoms", "2")); // uploaded again: goes on

    const caps = { runUsd: 0.01, monthUsd: 1_000 };
    const poor = await this.at.function("start-run", "TriggerFunctionRole", {
      VOXELBURST_LEDGER: JSON.stringify({ table: "ledger", caps }),
    });
    await this.put("data", "datasets/phantoms/recipe.yaml", `${RECIPE}foldCount: 3\n`);
    await poor.invoke(uploadEvent("phantoms", "3")); // over its cap
    await this.put("data", "datasets/phantoms/recipe.yaml", RECIPE);
    this.at.answers = {};
  }

  private async array(role: string, stage: string, taskKey: string, shards: number): Promise<void> {
    for (let index = 0; index < shards; index++)
      await this.at.stage(role, [stage, "--task", `s3://artefacts/${taskKey}`], {
        AWS_BATCH_JOB_ARRAY_INDEX: String(index),
        AWS_BATCH_JOB_ARRAY_SIZE: String(shards),
      });
  }

  async ingestAndPlan(): Promise<void> {
    const { runId, ingestShards } = this.request;
    await this.array("IngestJobRole", "ingest", `runs/${runId}/tasks/ingest.json`, ingestShards);
    const plan = await this.at.function("plan", "PlanFunctionRole", this.machine);
    this.plan = planOutput.parse(await plan.invoke({ request: this.request }));
  }

  async preprocess(): Promise<void> {
    const { taskKey, shards } = this.plan.preprocess;
    await this.array("PreprocessJobRole", "preprocess", taskKey, shards);
  }

  /** SageMaker fills and empties /opt/ml itself, with the same role. */
  async train(role: string): Promise<void> {
    const [training] = this.plan.trainings;
    const base = path.join(this.folder, `ml-${role}`);
    const at = (...parts: string[]) => path.join(base, ...parts);
    for (const folder of ["input/config", "input/data/arrays", "model", "output/data", "checkpoints"])
      mkdirSync(at(folder), { recursive: true });
    const write = (name: string, value: object) => writeFileSync(at("input", "config", name), JSON.stringify(value));
    write("hyperparameters.json", { task: `s3://artefacts/${training!.taskKey}` });
    write("resourceconfig.json", { current_host: "algo-1", hosts: ["algo-1"], network_interface_name: "lo" });
    write("inputdataconfig.json", { arrays: { TrainingInputMode: "File" } });
    const { s3 } = this.at.account;
    const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: "artefacts", Prefix: "preprocess/" }));
    for (const { Key } of Contents) {
      const { Body } = await s3.send(new GetObjectCommand({ Bucket: "artefacts", Key: Key! }));
      const file = at("input", "data", "arrays", Key!.slice("preprocess/".length));
      mkdirSync(path.dirname(file), { recursive: true });
      writeFileSync(file, await Body!.transformToByteArray());
    }
    await this.at.stage(role, ["train"], { SAGEMAKER_BASE_DIR: base, TRAINING_JOB_NAME: "train-x" });
  }

  async compileAndInfer(): Promise<void> {
    const [engine] = this.plan.trainings[0]!.engines;
    await this.at.stage("CompileJobRole", ["compile", "--task", `s3://artefacts/${engine!.compileTaskKey}`]);
    await this.array("InferJobRole", "infer", engine!.inferTaskKey, engine!.inferShards);
  }

  async report(): Promise<void> {
    const report = await this.at.function("report", "ReportFunctionRole", this.machine);
    await report.invoke({ request: this.request, plan: this.plan, failures: [] });
  }

  /** What was reserved runs; it is reserved anew, settled, and looked at by the guard. */
  async ledger(): Promise<void> {
    const reserve = await this.at.function("reserve", "LedgerReserveRole");
    const settle = await this.at.function("settle", "LedgerSettleRole");
    const guard = await this.at.function("guard", "GuardFunctionRole");
    const limits = {
      instanceType: "p5.4xlarge",
      children: 1,
      childrenPerInstance: 1,
      attemptSeconds: 60,
      attempts: 1,
      waitSeconds: 0,
    };
    const jobs = [
      { stage: "infer", job: { ...limits, service: "batch", name: "infer-x-*", queue: QUEUE_ARN } },
      // Within what is held for it, and silent: its run is asked about.
      { stage: "train", job: { ...limits, attemptSeconds: 300_000, service: "training", name: "train-x-*" } },
      { stage: "infer", job: { ...limits, service: "transform", name: "infer-y-*" } },
    ];
    for (const [index, about] of jobs.entries()) {
      const name = { request: this.request, taskId: `task-${index}`, rung: "on-demand-p5.4xlarge" };
      this.at.answers = nothingFound;
      await reserve.invoke({ ...name, ...about });
      this.at.answers = running;
      // What still runs of an earlier try is stopped, here by Reserve, by Settle and by the guard in turn.
      await reserve.invoke({ ...name, ...about }).catch((error: Error) => {
        if (error.name !== "JobStopping") throw error;
      });
      await settle.invoke(name);
    }
    await guard.invoke({});
    this.at.answers = ended;
    for (const [index, about] of jobs.entries()) {
      const name = { request: this.request, taskId: `task-${index}`, rung: "on-demand-p5.4xlarge" };
      await reserve.invoke({ ...name, ...about });
      if (index === 0) await settle.invoke(name);
    }
    // Ended long ago: the guard settles what nobody did.
    await guard.invoke({});
    const caps = { runUsd: 0.01, monthUsd: 1_000 };
    const poor = await this.at.function("reserve", "LedgerReserveRole", {
      VOXELBURST_LEDGER: JSON.stringify({ table: "ledger", caps }),
    });
    await poor.invoke({ request: this.request, taskId: "task-9", rung: "x", ...jobs[0]! });
  }
}

const LONG_AGO = 86_400_000;
const startedMs = () => Date.now() - LONG_AGO;
const container = {
  logStreamName: "stream",
  containerInstanceArn: "arn:instance",
  logConfiguration: { logDriver: "awslogs", options: { "awslogs-group": "jobs" } },
};
const batchJob = (more: object) => ({
  jobs: [
    { jobId: "job", jobName: "infer-x-1", jobQueue: QUEUE_ARN, jobDefinition: "d", createdAt: startedMs(), ...more },
  ],
});
const lists = (status: string) => ({
  "batch:ListJobs": { jobSummaryList: [{ jobId: "job", jobName: "infer-x-1", status }] },
  "batch:TerminateJob": {},
  "sagemaker:ListTrainingJobs": {
    TrainingJobSummaries: [
      {
        TrainingJobName: "train-x-1",
        TrainingJobArn: "a",
        CreationTime: startedMs() / 1000,
        TrainingJobStatus: status,
      },
    ],
  },
  "sagemaker:ListTransformJobs": {
    TransformJobSummaries: [
      {
        TransformJobName: "infer-y-1",
        TransformJobArn: "a",
        CreationTime: startedMs() / 1000,
        TransformJobStatus: status,
      },
    ],
  },
  "sagemaker:StopTrainingJob": {},
  "sagemaker:StopTransformJob": {},
  "logs:GetLogEvents": { events: [{ timestamp: startedMs(), message: "{}" }] },
  "logs:DescribeLogStreams": { logStreams: [{ logStreamName: "x-1/algo-1" }] },
});
const described = (status: string, ended: boolean) => ({
  "sagemaker:DescribeTrainingJob": {
    TrainingJobName: "train-x-1",
    TrainingJobStatus: status,
    CreationTime: startedMs() / 1000,
    TrainingStartTime: startedMs() / 1000,
    ...(ended ? { TrainingEndTime: startedMs() / 1000 + 60, BillableTimeInSeconds: 60 } : {}),
    ResourceConfig: { InstanceCount: 1 },
  },
  "sagemaker:DescribeTransformJob": {
    TransformJobName: "infer-y-1",
    TransformJobStatus: status,
    CreationTime: startedMs() / 1000,
    TransformStartTime: startedMs() / 1000,
    ...(ended ? { TransformEndTime: startedMs() / 1000 + 60 } : {}),
    TransformResources: { InstanceCount: 1 },
  },
});
const running = {
  ...lists("RUNNING"),
  ...described("InProgress", false),
  "batch:DescribeJobs": batchJob({ status: "RUNNING", startedAt: startedMs(), container }),
};
const ended = {
  ...lists("SUCCEEDED"),
  ...described("Completed", true),
  "batch:DescribeJobs": batchJob({
    status: "SUCCEEDED",
    attempts: [{ startedAt: startedMs(), stoppedAt: startedMs() + 60_000, container }],
    stoppedAt: startedMs() + 60_000,
  }),
};
const nothingFound = {
  ...lists("RUNNING"),
  "batch:ListJobs": { jobSummaryList: [] },
  "sagemaker:ListTrainingJobs": { TrainingJobSummaries: [] },
  "sagemaker:ListTransformJobs": { TransformJobSummaries: [] },
};
