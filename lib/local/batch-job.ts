// batch:submitJob.sync on one machine: a job, or the children of an array, as processes; results in DescribeJobs' shape.
import { randomUUID } from "node:crypto";
import * as z from "zod";
import { stageName } from "../contracts/index.ts";
import { ERROR, StatesError } from "./asl/errors.ts";
import type { TaskRequest } from "./asl/ports.ts";
import { runNodes } from "./batch-nodes.ts";
import { type Container, containerOf, type RetryStrategy, type Submission, submissionOf } from "./batch-submission.ts";
import { type ChildEnd, runChild } from "./child.ts";
import { argumentsOf, type JobHost, type JsonRecord, jobSignal, sdkMetadata } from "./job-host.ts";
import { fanOut } from "./slots.ts";

interface Attempt {
  Container: { ExitCode?: number; LogStreamName: string; Reason?: string };
  StartedAt: number;
  StoppedAt: number;
  StatusReason: string;
}

interface Child {
  Status: "SUCCEEDED" | "FAILED";
  StatusReason?: string;
  Attempts: Attempt[];
}

/**
 * What every job definition of lib/stages/stage-job.ts says: a reclaimed host is retried, whatever else fails is not.
 * The state machine names its definitions and does not repeat it.
 */
const RETRY_OF_DEFINITION: RetryStrategy = {
  Attempts: 3,
  EvaluateOnExit: [
    { OnStatusReason: "Host EC2*", Action: "RETRY" },
    { OnReason: "*", Action: "EXIT" },
  ],
};

const INJECTED_TIMEOUT_SECONDS = 0.5;
const NO_CAPACITY =
  "Canceled by JobStateTimeLimit action due to reason: CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY (injected)";

const clientError = (cause: string) => new StatesError("Batch.ClientException", `${cause} (Service: AWSBatch)`);

/**
 * @returns the job as DescribeJobs gives it, in Step Functions' PascalCase
 * @throws StatesError States.TaskFailed with that as Cause when the job failed; Batch.ClientException for a bad request
 */
export async function submitJob(request: TaskRequest, host: JobHost): Promise<JsonRecord> {
  const parsed = submissionOf.safeParse(argumentsOf(request));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw clientError(`${issue?.path.join(".")}: ${issue?.message}`);
  }
  const submission = parsed.data;
  const container = containerOf(submission);
  if (!container) throw clientError("ContainerOverrides: no command for the job's container");
  const { JobName } = submission;
  const JobId = randomUUID();
  const CreatedAt = Date.now();
  const about = {
    JobArn: `arn:aws:batch:local:000000000000:job/${JobId}`,
    JobId,
    JobName,
    JobQueue: submission.JobQueue,
    JobDefinition: submission.JobDefinition,
    CreatedAt,
  };
  if (!host.run.claimJob(JobName, { ...about, Status: "SUBMITTED" }))
    throw clientError(`A job of this run already has the name ${JobName}.`);
  await request.submitted({ JobArn: about.JobArn, JobId, JobName, ...sdkMetadata });

  const size = submission.ArrayProperties?.Size;
  const children = await runChildren(submission, container, about, request, host);
  const describe = size === undefined ? describePlain(children[0]!, container) : describeArray(children);
  const times = children.flatMap((child) => child.Attempts);
  const detail = {
    ...about,
    ...describe,
    StartedAt: Math.min(...times.map((attempt) => attempt.StartedAt), Date.now()),
    StoppedAt: Math.max(...times.map((attempt) => attempt.StoppedAt), CreatedAt),
    RetryStrategy: submission.RetryStrategy ?? RETRY_OF_DEFINITION,
    ...(submission.Timeout ? { Timeout: submission.Timeout } : {}),
    DependsOn: [],
    Parameters: {},
    Tags: {},
    PlatformCapabilities: [],
    ...(container.nodes === undefined ? {} : { NodeProperties: { NumNodes: container.nodes, MainNode: 0 } }),
  };
  host.run.recordJob(JobName, size === undefined ? detail : { ...detail, Children: children });
  if (detail.Status === "FAILED") throw new StatesError(ERROR.taskFailed, JSON.stringify(detail));
  return detail;
}

const listingOf = z.looseObject({ ArrayJobId: z.string(), JobStatus: z.enum(["SUCCEEDED", "FAILED"]) });

/** aws-sdk:batch:listJobs of an array's children in one status. */
export async function listJobs(request: TaskRequest, { run }: JobHost): Promise<JsonRecord> {
  const listing = listingOf.safeParse(argumentsOf(request));
  if (!listing.success) throw clientError("ArrayJobId and JobStatus are needed");
  const { ArrayJobId, JobStatus } = listing.data;
  const parent = (run.jobs() as { JobId?: string; Children?: Child[] }[]).find(({ JobId }) => JobId === ArrayJobId);
  const children = (parent?.Children ?? []).map(({ Status, StatusReason }, Index) => ({
    JobId: `${ArrayJobId}:${Index}`,
    Status,
    ...(StatusReason === undefined ? {} : { StatusReason }),
    ArrayProperties: { Index },
  }));
  return { JobSummaryList: children.filter(({ Status }) => Status === JobStatus) };
}

/**
 * What DescribeJobs says of a container: in EcsProperties where its definition has them, as ours do, else in Container.
 * A multi-node job's parent tells of no container; its attempts are those of the main node.
 */
function describePlain({ Status, StatusReason, Attempts }: Child, container: Container) {
  const { isEcs, name, command, environment, nodes } = container;
  const of = (details: object, attempt?: Attempt["Container"]) => {
    const one = { ...details, ...attempt };
    return isEcs ? { TaskProperties: [{ Containers: [{ Name: name, ...one }] }] } : { Container: one };
  };
  const whole = of({ Command: command, Environment: environment }, Attempts.at(-1)?.Container);
  return {
    Status,
    ...(StatusReason === undefined ? {} : { StatusReason }),
    Attempts: Attempts.map(({ Container, ...attempt }) => ({ ...attempt, ...of({}, Container) })),
    ...(nodes !== undefined ? {} : isEcs ? { EcsProperties: whole } : whole),
  };
}

/** An array's parent carries counts, not its children's reasons: as on AWS. */
function describeArray(children: readonly Child[]) {
  const count = (status: string) => children.filter((child) => child.Status === status).length;
  const failed = count("FAILED");
  return {
    Status: failed > 0 ? "FAILED" : "SUCCEEDED",
    ...(failed > 0 ? { StatusReason: "Array Child Job failed" } : {}),
    Attempts: [],
    ArrayProperties: {
      Size: children.length,
      StatusSummary: {
        STARTING: 0,
        FAILED: failed,
        RUNNING: 0,
        SUCCEEDED: count("SUCCEEDED"),
        RUNNABLE: 0,
        SUBMITTED: 0,
        PENDING: 0,
      },
    },
  };
}

async function runChildren(
  submission: Submission,
  container: Container,
  { JobId: jobId }: { JobId: string },
  request: TaskRequest,
  host: JobHost,
): Promise<Child[]> {
  const { command, environment, nodes } = container;
  const size = submission.ArrayProperties?.Size;
  const stage = stageName.safeParse(command[0]).data;
  const onGpus = stage !== "ingest" && host.slots.capacity.gpuIds.length > 0;
  const memoryMiB = await host.memoryMiBOf(stage);
  const { atOnce, cpusEach } = fanOut(size ?? 1, memoryMiB, onGpus, host.slots.capacity);
  // The nodes of a training have the whole machine, as its GPUs go.
  const gpus =
    nodes === undefined
      ? Number(onGpus)
      : Math.min(await host.gpusOf(command.at(-1)), host.slots.capacity.gpuIds.length);
  using stop = jobSignal(submission.JobName, request.signal, host);
  const { signal } = stop;

  const retry = submission.RetryStrategy ?? RETRY_OF_DEFINITION;

  const runOne = async (index: number | undefined): Promise<Child> => {
    const attempts: Attempt[] = [];
    const most = retry.Attempts ?? 1;
    const logStream = index === undefined ? submission.JobName : `${submission.JobName}.${index}`;
    for (;;) {
      if (signal.aborted) return { Status: "FAILED", StatusReason: "Terminated by the engine", Attempts: attempts };
      const fault = host.faults.take(stage);
      if (fault === "no-capacity") return { Status: "FAILED", StatusReason: NO_CAPACITY, Attempts: attempts };
      let end: ChildEnd;
      try {
        using lease = await host.slots.acquire({ cpus: cpusEach, gpus, memoryMiB }, signal);
        const spec = {
          python: host.python,
          args: [...host.entry, ...command],
          cwd: host.run.folder,
          logFile: host.run.logFile(logStream),
          timeoutSeconds: fault === "timeout" ? INJECTED_TIMEOUT_SECONDS : submission.Timeout?.AttemptDurationSeconds,
          isReclaimed: fault === "reclaim",
          signal,
          onProgress: host.onProgress,
        };
        const environmentOf = (cpus: number, gpuIds: readonly string[], more: Record<string, string> = {}) =>
          host.environment(cpus, gpuIds, {
            AWS_BATCH_JOB_ID: index === undefined ? jobId : `${jobId}:${index}`,
            AWS_BATCH_JOB_ATTEMPT: String(attempts.length + 1),
            AWS_BATCH_JQ_NAME: submission.JobQueue,
            ...(index === undefined
              ? {}
              : { AWS_BATCH_JOB_ARRAY_INDEX: String(index), AWS_BATCH_JOB_ARRAY_SIZE: String(size) }),
            ...Object.fromEntries(environment.map(({ Name, Value }) => [Name, Value])),
            ...more,
          });
        end =
          nodes === undefined
            ? await runChild({ ...spec, env: environmentOf(cpusEach, lease.gpuIds) })
            : await runNodes(spec, { nodes, cpus: cpusEach, gpuIds: lease.gpuIds }, environmentOf);
      } catch (error) {
        if (error === signal.reason) continue;
        throw error;
      }
      const attempt = describeAttempt(end, logStream);
      attempts.push(attempt);
      if (end.error) host.onError(end.error);
      if (end.exitCode === 0) return { Status: "SUCCEEDED", Attempts: attempts };
      // Batch retries neither what it was told to stop nor what took too long.
      const isDecided = end.endedBy === "cancel" || end.endedBy === "timeout";
      const again = attempts.length < most && !isDecided && isRetried(attempt, retry);
      if (!again) return { Status: "FAILED", StatusReason: attempt.StatusReason, Attempts: attempts };
    }
  };
  // Awaited here: what `using` holds is let go of when this function returns, and the children must be within reach of
  // `stop` for as long as they work.
  return size === undefined
    ? [await runOne(undefined)]
    : await settleAll(
        Array.from({ length: size }, (_, index) => index),
        atOnce,
        runOne,
      );
}

/** A failed child does not stop the others, as on AWS; an error of the engine itself does, once they have ended. */
async function settleAll(
  indices: readonly number[],
  atOnce: number,
  runOne: (index: number) => Promise<Child>,
): Promise<Child[]> {
  const children = new Array<Child>(indices.length);
  let next = 0;
  const work = async () => {
    for (let at = next++; at < indices.length; at = next++) children[at] = await runOne(indices[at]!);
  };
  const ends = await Promise.allSettled(Array.from({ length: atOnce }, work));
  const broken = ends.find((end) => end.status === "rejected");
  if (broken) throw broken.reason;
  return children;
}

function describeAttempt(end: ChildEnd, logStream: string): Attempt {
  const reasons = {
    itself: "Essential container in task exited",
    timeout: "Job attempt duration exceeded timeout",
    cancel: "Terminated by the engine",
    reclaim: "Host EC2 (instance injected) terminated.",
  };
  return {
    Container: {
      // A host that is gone has no exit code to tell.
      ...(end.endedBy === "reclaim" ? {} : { ExitCode: end.exitCode }),
      LogStreamName: logStream,
      ...(end.outOfMemory ? { Reason: "OutOfMemoryError: Container killed due to memory usage" } : {}),
    },
    StartedAt: end.startedAt.getTime(),
    StoppedAt: end.stoppedAt.getTime(),
    StatusReason: reasons[end.endedBy],
  };
}

/** Batch's evaluateOnExit: the first rule whose patterns all match decides; without a match the attempt is repeated. */
function isRetried(attempt: Attempt, strategy: RetryStrategy): boolean {
  const rules = strategy.EvaluateOnExit ?? [];
  const rule = rules.find(
    (one) =>
      matches(one.OnStatusReason, attempt.StatusReason) &&
      matches(one.OnReason, attempt.Container.Reason ?? "") &&
      matches(one.OnExitCode, String(attempt.Container.ExitCode ?? "")),
  );
  return rule === undefined || rule.Action.toUpperCase() === "RETRY";
}

/** Patterns may end in an asterisk. */
const matches = (pattern: string | undefined, text: string): boolean =>
  pattern === undefined || (pattern.endsWith("*") ? text.startsWith(pattern.slice(0, -1)) : text === pattern);
