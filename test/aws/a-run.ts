// A run on AWS as its services tell of it: executions, history, jobs, streams. Shapes are those of the SDK's models.
import { OUTPUTS } from "../../lib/contracts/index.ts";
import type { RecordedAws } from "./recorded.ts";

export const RUN = "phantoms-0123456789ab-1";
const MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:Voxelburst";
const EXECUTION = `arn:aws:states:us-east-1:123456789012:execution:Voxelburst:${RUN}`;
/** 2026-11-24 02:00 UTC, in the seconds that AWS's JSON has. */
const START = 1_795_485_600;

const outputs: Record<keyof typeof OUTPUTS, string> = {
  stateMachineArn: MACHINE,
  dataBucket: "data",
  artefactsBucket: "artefacts",
  quarantineBucket: "quarantine",
  ledgerTable: "ledger",
  jobLogGroup: "/voxelburst/jobs",
  dashboard: "Voxelburst",
  version: "0.1.0",
};

export const describeStacks = (values: Partial<typeof outputs> = outputs) => `
<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeStacksResult><Stacks><member>
<StackName>VoxelburstWorkflow</StackName><StackStatus>UPDATE_COMPLETE</StackStatus><CreationTime>2026-11-01T00:00:00Z</CreationTime>
<Outputs>${Object.entries(values)
  .map(
    ([name, value]) =>
      `<member><OutputKey>${OUTPUTS[name as keyof typeof OUTPUTS]}</OutputKey><OutputValue>${value}</OutputValue></member>`,
  )
  .join("")}</Outputs>
</member></Stacks></DescribeStacksResult></DescribeStacksResponse>`;

type Status = "RUNNING" | "SUCCEEDED" | "FAILED" | "ABORTED";

const execution = (status: Status, name = RUN) => ({
  executionArn: EXECUTION.replace(RUN, name),
  stateMachineArn: MACHINE,
  name,
  status,
  startDate: START,
  ...(status === "RUNNING" ? {} : { stopDate: START + 600 }),
});

const batchTask = (stage: string, taskId: string, size?: number) =>
  JSON.stringify({
    JobName: `${stage}-${RUN}-r0-d0`,
    ...(size ? { ArrayProperties: { Size: size } } : {}),
    ContainerOverrides: { Command: [stage, "--task", `s3://artefacts/runs/${RUN}/tasks/${taskId}.json`] },
  });

/** Ingest has ended, plan failed once and was repeated, preprocess runs. */
const history = () => {
  let id = 0;
  const event = (type: string, details: object = {}, previousEventId = id) => ({
    timestamp: START + id,
    type,
    id: ++id,
    previousEventId,
    ...details,
  });
  const task = { resourceType: "batch", resource: "submitJob.sync" };
  const lambda = { resourceType: "lambda", resource: "invoke" };
  const submitted = (JobId: string, JobName: string) => ({
    taskSubmittedEventDetails: { ...task, output: JSON.stringify({ JobArn: "arn", JobId, JobName }) },
  });
  const planParameters = JSON.stringify({
    FunctionName: "arn:aws:lambda:::function:VoxelburstWorkflow-PlanFunction-1",
  });
  return [
    event("ExecutionStarted"),
    event("TaskStateEntered", { stateEnteredEventDetails: { name: "Ingest" } }),
    event("TaskScheduled", {
      taskScheduledEventDetails: { ...task, region: "us-east-1", parameters: batchTask("ingest", "ingest", 2) },
    }),
    event("TaskStarted", { taskStartedEventDetails: task }),
    event("TaskSubmitted", submitted("job-1", `ingest-${RUN}-r0-d0`)),
    event("TaskSucceeded", { taskSucceededEventDetails: task }),
    event("TaskStateExited", { stateExitedEventDetails: { name: "Ingest" } }),
    event("TaskStateEntered", { stateEnteredEventDetails: { name: "Plan" } }),
    event("TaskScheduled", {
      taskScheduledEventDetails: { ...lambda, region: "us-east-1", parameters: planParameters },
    }),
    event("TaskFailed", {
      taskFailedEventDetails: { ...lambda, error: "Lambda.TooManyRequestsException", cause: "Rate exceeded" },
    }),
    event("TaskScheduled", {
      taskScheduledEventDetails: { ...lambda, region: "us-east-1", parameters: planParameters },
    }),
    event("TaskSucceeded", { taskSucceededEventDetails: lambda }),
    event("TaskStateExited", { stateExitedEventDetails: { name: "Plan" } }),
    event("TaskStateEntered", { stateEnteredEventDetails: { name: "Preprocess" } }),
    event("TaskScheduled", {
      taskScheduledEventDetails: { ...task, region: "us-east-1", parameters: batchTask("preprocess", "preprocess", 2) },
    }),
    event("TaskStarted", { taskStartedEventDetails: task }),
    event("TaskSubmitted", submitted("job-2", `preprocess-${RUN}-r0-d0`)),
  ];
};

const progress = (stage: string, index: number, done: number) =>
  JSON.stringify({
    type: "progress",
    time: new Date((START + 60) * 1000).toISOString(),
    stage,
    taskId: stage,
    index,
    done,
    total: 3,
    unit: "cases",
    rate: 1.5,
  }).replaceAll('":', '": ');

/** What each stream says. */
const LINES: Record<string, string[]> = {
  "job-1:0": ["NVIDIA Release 26.03", progress("ingest", 0, 3)],
  "job-1:1": ["reading case-002", progress("ingest", 1, 3)],
  "job-2:0": [progress("preprocess", 0, 2)],
};

/** Puts the run into the server. */
export function recordRun(aws: RecordedAws, status: Status): void {
  let now = status;
  Object.assign(aws.answers, {
    DescribeStacks: describeStacks(),
    ListExecutions: () => ({ executions: [execution(now), execution("SUCCEEDED", "other-ba9876543210-1")] }),
    DescribeExecution: () => execution(now),
    GetExecutionHistory: () => ({ events: history() }),
    StopExecution: () => {
      now = "ABORTED";
      return { stopDate: START + 100 };
    },
    describejobs: ({ jobs }: { jobs: string[] }) => ({ jobs: jobs.map(describeJob) }),
    terminatejob: {},
    GetLogEvents: ({ logStreamName, nextToken }: Record<string, string>) => {
      const events = (LINES[logStreamName!] ?? []).map((message) => ({ timestamp: START * 1000, message }));
      const token = `end of ${logStreamName}`;
      return { events: nextToken === token ? [] : events, nextForwardToken: token, nextBackwardToken: "b" };
    },
    Query: { Items: [], Count: 0, ScannedCount: 0 },
    GetItem: {},
  });
}

function describeJob(jobId: string): object {
  const [parent, index] = jobId.split(":");
  const status = parent === "job-1" ? "SUCCEEDED" : "RUNNING";
  const job = { jobId, jobName: parent, jobQueue: "q", status, startedAt: START * 1000 };
  if (index === undefined) return { ...job, arrayProperties: { size: 2 } };
  // The second child of preprocess has no host yet, and so no stream.
  const logStreamName = LINES[jobId] ? jobId : undefined;
  const logConfiguration = { logDriver: "awslogs", options: { "awslogs-group": "/voxelburst/jobs" } };
  return {
    ...job,
    arrayProperties: { index: Number(index) },
    ecsProperties: { taskProperties: [{ containers: [{ name: "stage", logStreamName, logConfiguration }] }] },
  };
}
