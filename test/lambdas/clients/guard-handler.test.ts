// The guard as Lambda loads it, between recorded answers of the services: what it says of a look that failed.
import { marshall } from "@aws-sdk/util-dynamodb";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { RecordedAws } from "../../aws/recorded.ts";

const aws = new RecordedAws();
let handler: (event: unknown, context: never) => Promise<unknown>;
const said: string[] = [];

beforeAll(async () => {
  vi.stubEnv("AWS_ENDPOINT_URL", await aws.start());
  vi.stubEnv("AWS_REGION", "us-east-1");
  vi.stubEnv("AWS_ACCESS_KEY_ID", "a");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "s");
  // Logs and metrics then go through the console that a test can listen to.
  vi.stubEnv("POWERTOOLS_DEV", "true");
  vi.stubEnv("POWERTOOLS_METRICS_DISABLED", "false");
  vi.stubEnv("VOXELBURST_LEDGER", '{"table":"ledger","caps":{"runUsd":100,"monthUsd":1000}}');
  vi.stubEnv("VOXELBURST_TOPIC_ARN", "arn:aws:sns:us-east-1:123456789012:topic");
  vi.stubEnv("VOXELBURST_STATE_MACHINE_ARN", "arn:aws:states:us-east-1:123456789012:stateMachine:voxelburst");
  for (const level of ["log", "info", "error"] as const)
    vi.spyOn(console, level).mockImplementation((line: string) => void said.push(String(line)));
  ({ handler } = (await import("../../../lambdas/guard/handler.ts")) as never);
}, 60_000);
afterAll(() => {
  aws.stop();
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

const HOUR = 3_600_000;
const holdOf = (taskId: string, nowMs: number) => ({
  name: `demo-1/${taskId}/spot`,
  runId: "demo-1",
  taskId,
  stage: "infer",
  rung: "spot",
  job: {
    service: "batch",
    name: `${taskId}-*`,
    queue: "queue",
    instanceType: "g6.xlarge",
    children: 1,
    childrenPerInstance: 1,
    attemptSeconds: 3_600,
    attempts: 1,
    waitSeconds: 600,
  },
  usdPerHour: 1,
  cents: 1,
  months: ["2026-11"],
  reservedAtMs: nowMs - HOUR,
  lastsUntilMs: nowMs + HOUR,
});

it("logs the failed look by the reservation's name, counts it, stops what others have to, and ends with an error", async () => {
  const nowMs = Date.now();
  const jobs = ["refused", "dear"];
  aws.answers.Query = (({ ExpressionAttributeValues: values }: Record<string, object>) =>
    JSON.stringify(values).includes('"held"')
      ? { Items: jobs.map((id) => marshall({ pk: "held", sk: id, hold: holdOf(id, nowMs) })) }
      : { Items: [] }) as never;
  aws.answers.GetItem = {};
  aws.answers.listjobs = (({ filters: [{ values }] }: { filters: [{ values: [string] }] }) =>
    values[0].startsWith("refused")
      ? { __type: "AccessDeniedException", message: "not authorized to perform: batch:ListJobs" }
      : { jobSummaryList: [{ jobId: "job", jobName: "dear-1", status: "RUNNING" }] }) as never;
  aws.answers.describejobs = {
    jobs: [{ jobId: "job", status: "RUNNING", createdAt: nowMs - HOUR, startedAt: nowMs - HOUR, attempts: [] }],
  };
  aws.answers.terminatejob = { ok: true };
  aws.answers.Publish = "<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>";

  const context = { getRemainingTimeInMillis: () => 60_000, functionName: "guard", memoryLimitInMB: "1" } as never;
  await expect(handler({}, context)).rejects.toMatchObject({
    name: "GuardIncomplete",
    message: expect.stringContaining("demo-1/refused/spot"),
  });
  expect(aws.inputsOf("terminatejob")).toMatchObject([{ jobId: "job" }]);
  expect(aws.inputsOf("Publish")).toMatchObject([{ Subject: "demo-1 was stopped" }]);
  const lines = said.map((line) => JSON.parse(line));
  expect(lines).toContainEqual(
    expect.objectContaining({
      level: "ERROR",
      message: "look failed",
      reservation: "demo-1/refused/spot",
      error: expect.objectContaining({ name: "AccessDeniedException" }),
    }),
  );
  expect(lines).toContainEqual(expect.objectContaining({ LooksFailed: 1, JobsStopped: 1, Reservations: 2 }));
});
