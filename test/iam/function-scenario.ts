// All that the functions of trigger and ledger can come to do, each with its bundle.
import { UpdateItemCommand } from "@aws-sdk/client-dynamodb";
import { PutObjectCommand } from "@aws-sdk/client-s3";
import { StopExecutionCommand } from "@aws-sdk/client-sfn";
import { dropDataset, QUEUE_ARN, uploadEvent } from "../aws/trigger-account.ts";
import { aRequest } from "../workflow/run.ts";
import type { RoleAccount } from "./account.ts";

export class FunctionScenario {
  private readonly at: RoleAccount;
  private request = aRequest();

  constructor(at: RoleAccount) {
    this.at = at;
  }

  /** start-run begins a run, names it, begins its next attempt and refuses two. */
  async startRun(): Promise<void> {
    const { account } = this.at;
    const startRun = await this.at.function("start-run", "TriggerFunctionRole");
    const { runId } = (await startRun.invoke(await dropDataset(account, "phantoms"))) as { runId: string };
    await startRun.invoke(uploadEvent("phantoms", "phantoms")); // a duplicate
    await startRun.invoke(uploadEvent("nothing-there", "1")); // refused: people are told
    const executionArn = `${account.stateMachineArn.replace(":stateMachine:", ":execution:")}:${runId}`;
    await account.sfn.send(new StopExecutionCommand({ executionArn }));
    await startRun.invoke(uploadEvent("phantoms", "2")); // uploaded again: the next attempt
    const caps = { runUsd: 0.01, monthUsd: 1_000 };
    const poor = await this.at.function("start-run", "TriggerFunctionRole", {
      VOXELBURST_LEDGER: JSON.stringify({ table: "ledger", caps }),
    });
    await poor.invoke(await dropDataset(account, "phantoms", "another label", "3")); // over its cap
    const Key = `runs/${runId}/recipe.json`;
    this.request = aRequest({ runId });
    await account.s3.send(new PutObjectCommand({ Bucket: "artefacts", Key, Body: "{}" }));
  }

  /** As if a task had been reserved two days ago, and all its time were over. */
  private async age(taskId: string): Promise<void> {
    const { dynamo } = this.at.account;
    const name = `${this.request.runId}/${taskId}/on-demand-p5.4xlarge`;
    await dynamo.send(
      new UpdateItemCommand({
        TableName: "ledger",
        Key: { pk: { S: "held" }, sk: { S: name } },
        UpdateExpression: "SET #hold.lastsUntilMs = :yesterday",
        ExpressionAttributeNames: { "#hold": "hold" },
        ExpressionAttributeValues: { ":yesterday": { N: String(Date.now() - LONG_AGO) } },
      }),
    );
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
      if (index !== 0) continue;
      await settle.invoke(name);
      await settle.invoke(name); // settled already: it says what it cost
    }
    await this.age("task-1");
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
    SecondaryStatus: ended ? status : "Training",
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
