// What the guard is told of a training on SageMaker, from the service's own answers.
import { CloudWatchLogsClient } from "@aws-sdk/client-cloudwatch-logs";
import { SageMakerClient } from "@aws-sdk/client-sagemaker";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { LastLines } from "../../../lambdas/clients/last-lines.ts";
import { SageMakerRecords } from "../../../lambdas/clients/sagemaker-records.ts";
import { centsByMonth, LOOK_AHEAD_SECONDS, mostCents } from "../../../lambdas/ledger/bound.ts";
import type { BoundedJob } from "../../../lib/contracts/ledger.ts";
import { RecordedAws } from "../../aws/recorded.ts";

const SECONDS = 1_795_485_600;
const HOUR = 3_600;
const NAME = "train-fold0-fused-x-k0-r0-d0";
const job: BoundedJob = {
  service: "training",
  name: "train-fold0-fused-x-k0-*",
  instanceType: "p5.48xlarge",
  children: 1,
  childrenPerInstance: 1,
  attemptSeconds: 43_200,
  attempts: 1,
  waitSeconds: 14_400,
};

let aws: RecordedAws;
let records: SageMakerRecords;
beforeEach(async () => {
  aws = new RecordedAws();
  const config = {
    endpoint: await aws.start(),
    region: "us-east-1",
    credentials: { accessKeyId: "a", secretAccessKey: "s" },
  };
  records = new SageMakerRecords(new SageMakerClient(config), new LastLines(new CloudWatchLogsClient(config)));
  aws.answers.ListTrainingJobs = { TrainingJobSummaries: [{ TrainingJobName: NAME }] };
  aws.answers.DescribeLogStreams = { logStreams: [] };
});
afterEach(() => aws.stop());

const training = (SecondaryStatus: string, transitions: [status: string, hoursAgo: number][]) => {
  aws.answers.DescribeTrainingJob = {
    TrainingJobName: NAME,
    TrainingJobStatus: "InProgress",
    SecondaryStatus,
    SecondaryStatusTransitions: transitions.map(([Status, hoursAgo]) => ({
      Status,
      StartTime: SECONDS - hoursAgo * HOUR,
    })),
    CreationTime: SECONDS - 9 * HOUR,
    TrainingStartTime: SECONDS - 8 * HOUR,
    ResourceConfig: { InstanceCount: 1 },
  };
};

describe("a training", () => {
  it("can hang while it trains", async () => {
    training("Training", [["Training", 8]]);
    expect((await records.use(job)).running).toEqual([{ id: NAME, startedAtMs: (SECONDS - 8 * HOUR) * 1000 }]);
  });

  it("that goes on after Spot took its host has been at it since then, not since it first began", async () => {
    training("Training", [
      ["Training", 8],
      ["Interrupted", 3],
      ["Training", 0.1],
    ]);
    expect((await records.use(job)).running).toEqual([{ id: NAME, startedAtMs: (SECONDS - 0.1 * HOUR) * 1000 }]);
  });

  it.each(["Interrupted", "Starting", "Restarting", "LaunchingMLInstances", "Downloading"])(
    "that is %s waits for SageMaker, and hangs on nothing",
    async (status) => {
      training(status, [
        ["Training", 8],
        [status, 3],
      ]);
      const use = await records.use(job);
      expect(use).toMatchObject({ isAlive: true, running: [] });
    },
  );

  const at = (hoursAgo: number) => (SECONDS - hoursAgo * HOUR) * 1000;
  const ID = `${NAME}#0`;

  it("is billed for when it has instances: not before, and not while Spot looks for others", async () => {
    training("Starting", [["Starting", 9]]);
    Reflect.deleteProperty(aws.answers.DescribeTrainingJob as object, "TrainingStartTime");
    expect(await records.use(job)).toMatchObject({ isAlive: true, times: [] });
    training("Interrupted", [
      ["Starting", 9],
      ["Downloading", 8],
      ["Training", 7.9],
      ["Interrupted", 3],
    ]);
    expect((await records.use(job)).times).toEqual([{ instance: ID, fromMs: at(8), toMs: at(3) }]);
    training("Training", [
      ["Starting", 9],
      ["Downloading", 8],
      ["Training", 7.9],
      ["Interrupted", 3],
      ["Starting", 2.9],
      ["Downloading", 1],
      ["Training", 0.9],
    ]);
    expect((await records.use(job)).times).toEqual([
      { instance: ID, fromMs: at(8), toMs: at(3) },
      { instance: ID, fromMs: at(1) },
    ]);
  });

  it("that keeps its limit is left alone by the guard, however long it waited and was interrupted", async () => {
    const short = { ...job, attemptSeconds: 3_600, waitSeconds: 7_200 };
    training("Training", [
      ["Starting", 1.5],
      ["Training", 1.4],
      ["Interrupted", 1.2],
      ["Training", 0.5],
    ]);
    Object.assign(aws.answers.DescribeTrainingJob as object, { TrainingStartTime: SECONDS - 1.4 * HOUR });
    const nowMs = SECONDS * 1000;
    const spent = Object.values(centsByMonth((await records.use(short)).times, short, 10, nowMs))[0]!;
    expect(spent).toBe(Math.ceil(0.7 * 1_000));
    expect(spent + (LOOK_AHEAD_SECONDS * 10) / 36).toBeLessThan(mostCents(short, 10));
  });
});
