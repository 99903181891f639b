// What the guard is told of a Batch job that runs, from the service's own answers.
import { BatchClient } from "@aws-sdk/client-batch";
import { CloudWatchLogsClient } from "@aws-sdk/client-cloudwatch-logs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { BatchRecords } from "../../../lambdas/clients/job-records.ts";
import { LastLines } from "../../../lambdas/clients/last-lines.ts";
import type { BoundedJob } from "../../../lib/contracts/ledger.ts";
import { RecordedAws } from "../../aws/recorded.ts";

const HOUR = 3_600_000;
const NOW = Date.UTC(2026, 10, 24, 12);
const job: BoundedJob = {
  service: "batch",
  name: "train-x-*",
  queue: "arn:aws:batch:us-east-1:123456789012:job-queue/Cluster",
  instanceType: "p5.48xlarge",
  children: 2,
  childrenPerInstance: 1,
  attemptSeconds: 43_200,
  attempts: 3,
  waitSeconds: 600,
};
/** A container as EcsProperties tell of it. */
const container = (stream: string) => ({
  ecsProperties: {
    taskProperties: [
      {
        containerInstanceArn: `arn:${stream}`,
        containers: [
          {
            logStreamName: stream,
            logConfiguration: { logDriver: "awslogs", options: { "awslogs-group": "jobs" } },
          },
        ],
      },
    ],
  },
});

let aws: RecordedAws;
let records: BatchRecords;
beforeEach(async () => {
  aws = new RecordedAws();
  const config = {
    endpoint: await aws.start(),
    region: "us-east-1",
    credentials: { accessKeyId: "a", secretAccessKey: "s" },
  };
  const lines = new LastLines(new CloudWatchLogsClient(config));
  records = new BatchRecords(new BatchClient(config), lines, () => NOW);
});
afterEach(() => aws.stop());

const running = { status: "RUNNING", createdAt: NOW - 4 * HOUR, startedAt: NOW - 3 * HOUR, attempts: [] };

describe("a job that runs", () => {
  it("last said something when its container last wrote a line", async () => {
    aws.answers.listjobs = { jobSummaryList: [{ jobId: "job", jobName: "train-x-1", status: "RUNNING" }] };
    aws.answers.describejobs = { jobs: [{ jobId: "job", ...running, ...container("one") }] };
    aws.answers.GetLogEvents = { events: [{ timestamp: NOW - 1_000, message: "{}" }] };
    const {
      running: [found],
    } = await records.use(job);
    expect(found).toEqual({ id: "job", startedAtMs: NOW - 3 * HOUR, lastSignMs: NOW - 1_000 });
    expect(aws.inputsOf("GetLogEvents")).toMatchObject([{ logGroupName: "jobs", logStreamName: "one" }]);
  });

  // Without it the guard would take every training of several nodes for silent after an hour, and stop it.
  it("of several nodes last said something when its main node did: the parent has no container", async () => {
    aws.answers.listjobs = {
      jobSummaryList: [{ jobId: "job", jobName: "train-x-1", status: "RUNNING", nodeProperties: { numNodes: 2 } }],
    };
    aws.answers.describejobs = (({ jobs: [id] }: { jobs: [string] }) => ({
      jobs: [
        id === "job"
          ? { jobId: id, ...running, nodeProperties: { numNodes: 2, mainNode: 1, nodeRangeProperties: [] } }
          : { jobId: id, ...running, ...container(`stream of ${id}`), nodeDetails: { nodeIndex: 1, isMainNode: true } },
      ],
    })) as never;
    aws.answers.GetLogEvents = { events: [{ timestamp: NOW - 2_000, message: "{}" }] };
    const use = await records.use(job);
    expect(use.running).toEqual([{ id: "job", startedAtMs: NOW - 3 * HOUR, lastSignMs: NOW - 2_000 }]);
    expect(aws.inputsOf("GetLogEvents")).toMatchObject([{ logStreamName: "stream of job#1" }]);
    // Both of its nodes are paid for.
    expect(use.times.map(({ instance }) => instance)).toEqual(["job#0", "job#1"]);
  });
});

describe("a job that waited in vain", () => {
  const waited = (numNodes: number, statusReason: string) => {
    aws.answers.listjobs = { jobSummaryList: [{ jobId: "job", jobName: "train-x-1", status: "FAILED" }] };
    aws.answers.describejobs = {
      jobs: [
        {
          jobId: "job",
          status: "FAILED",
          statusReason,
          createdAt: NOW - HOUR,
          stoppedAt: NOW,
          attempts: [],
          ...(numNodes > 1 ? { nodeProperties: { numNodes, mainNode: 0, nodeRangeProperties: [] } } : {}),
        },
      ],
    };
    return records.use(job);
  };

  it.each(["CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY", "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE"])(
    "for %s had no instance, as Batch words it when its time is over",
    async (reason) => {
      const { times, isAlive } = await waited(1, `Canceled by JobStateTimeLimit action due to reason: ${reason}`);
      expect({ times, isAlive }).toEqual({ times: [], isAlive: false });
    },
  );

  it("for the last of its nodes may have paid for the others", async () => {
    const reason = "Canceled by JobStateTimeLimit action due to reason: CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY";
    const { times } = await waited(2, reason);
    expect(times).toEqual([{ instance: "job~0~0", fromMs: NOW - 2_400_000, toMs: NOW }]);
  });

  it("and was stopped by somebody may have had all of its instances on their way", async () => {
    expect((await waited(2, "voxelburst: the state that started it has ended")).times).toHaveLength(2);
  });
});
