// The jobs of a run, as its history names them: where they log, and how they are stopped.
import { BatchClient, type JobDetail, TerminateJobCommand } from "@aws-sdk/client-batch";
import {
  DescribeTrainingJobCommand,
  DescribeTransformJobCommand,
  SageMakerClient,
  StopTrainingJobCommand,
  StopTransformJobCommand,
} from "@aws-sdk/client-sagemaker";
import { describeJobs } from "../../lambdas/clients/describe-jobs.ts";
import { type StageName, stageName } from "../contracts/index.ts";
import { SAGEMAKER_LOGS } from "../contracts/sagemaker-logs.ts";
import type { RunEvent } from "./runs.ts";

export interface RunJob {
  kind: "batch" | "training" | "transform";
  /** Batch's id, SageMaker's name. */
  id: string;
  name: string;
  stage: StageName;
  /** The state's name with which an event ended it; undefined while it runs. */
  ended?: "succeeded" | "failed";
}

/** Streams of CloudWatch Logs; a prefix where the service makes up the rest of the name. */
export interface LogStream {
  group: string;
  stream: string;
  isPrefix: boolean;
  job: RunJob;
  /** Array child or node. */
  index?: number;
}

const nameInArn = (arn: string | undefined) => arn?.split("/").at(-1);

/** In the order in which they were submitted; a job that was tried again stands there for every try. */
export function jobsOf(events: readonly RunEvent[]): RunJob[] {
  const jobs: RunJob[] = [];
  /** Which job an event belongs to: events name their predecessor. */
  const byEvent = new Map<number, RunJob>();
  for (const event of events) {
    const submitted = event.taskSubmittedEventDetails;
    if (event.type === "TaskSubmitted" && submitted?.output) {
      const job = jobOf(JSON.parse(submitted.output));
      if (!job) continue;
      jobs.push(job);
      byEvent.set(event.id!, job);
      continue;
    }
    const job = byEvent.get(event.previousEventId ?? 0);
    if (!job) continue;
    if (event.type === "TaskSucceeded") job.ended = "succeeded";
    if (event.type === "TaskFailed" || event.type === "TaskTimedOut") job.ended = "failed";
  }
  return jobs;
}

interface Submitted {
  JobId?: string;
  JobName?: string;
  TrainingJobArn?: string;
  TransformJobArn?: string;
}

function jobOf({ JobId, JobName, TrainingJobArn, TransformJobArn }: Submitted): RunJob | undefined {
  if (JobId && JobName) return { kind: "batch", id: JobId, name: JobName, stage: stageOf(JobName) };
  const training = nameInArn(TrainingJobArn);
  if (training) return { kind: "training", id: training, name: training, stage: "train" };
  const transform = nameInArn(TransformJobArn);
  if (transform) return { kind: "transform", id: transform, name: transform, stage: "infer" };
  return undefined;
}

/** Jobs are named after their stage: infer-fold0-ddp-torch-<run>-r0-d0. */
function stageOf(jobName: string): StageName {
  const parsed = stageName.safeParse(jobName.split("-")[0]);
  return parsed.success ? parsed.data : "ingest";
}

export class RunJobs {
  private readonly batch: BatchClient;
  private readonly sageMaker: SageMakerClient;

  constructor(batch: BatchClient = new BatchClient({}), sageMaker: SageMakerClient = new SageMakerClient({})) {
    this.batch = batch;
    this.sageMaker = sageMaker;
  }

  /** Where the job's containers write: one stream a child and attempt. Batch forgets a job seven days after its end. */
  async streams(job: RunJob): Promise<LogStream[]> {
    if (job.kind !== "batch") {
      return [{ group: SAGEMAKER_LOGS[job.kind], stream: `${job.id}/`, isPrefix: true, job }];
    }
    const [parent] = await describeJobs(this.batch, [job.id]);
    if (!parent) return [];
    const children = parent.arrayProperties?.size ?? 0;
    const nodes = parent.nodeProperties?.numNodes ?? 0;
    const ids =
      children > 0
        ? Array.from({ length: children }, (_, index) => `${job.id}:${index}`)
        : Array.from({ length: nodes }, (_, index) => `${job.id}#${index}`);
    const details = ids.length > 0 ? await describeJobs(this.batch, ids) : [parent];
    return details.flatMap((detail) => streamsOf(job, detail));
  }

  /**
   * Stops a job that is still there. Step Functions does so for the tasks of an execution that is stopped, but not for
   * one whose state has timed out before.
   *
   * @returns whether there was anything to stop
   */
  async stop(job: RunJob): Promise<boolean> {
    if (job.kind === "batch") {
      const [detail] = await describeJobs(this.batch, [job.id]);
      if (!detail || detail.status === "SUCCEEDED" || detail.status === "FAILED") return false;
      await this.batch.send(new TerminateJobCommand({ jobId: job.id, reason: "voxelburst cancel" }));
      return true;
    }
    if (job.kind === "training") {
      const { TrainingJobStatus } = await this.sageMaker.send(
        new DescribeTrainingJobCommand({ TrainingJobName: job.id }),
      );
      if (TrainingJobStatus !== "InProgress") return false;
      await this.sageMaker.send(new StopTrainingJobCommand({ TrainingJobName: job.id }));
      return true;
    }
    const { TransformJobStatus } = await this.sageMaker.send(
      new DescribeTransformJobCommand({ TransformJobName: job.id }),
    );
    if (TransformJobStatus !== "InProgress") return false;
    await this.sageMaker.send(new StopTransformJobCommand({ TransformJobName: job.id }));
    return true;
  }
}

function streamsOf(job: RunJob, detail: JobDetail): LogStream[] {
  const index = detail.arrayProperties?.index ?? detail.nodeDetails?.nodeIndex;
  // A definition with ecsProperties (a stop timeout needs it) describes its containers there.
  const containers = [
    ...(detail.container ? [detail.container] : []),
    ...(detail.ecsProperties?.taskProperties ?? []).flatMap((task) => task.containers ?? []),
  ];
  return containers.flatMap((container) => {
    const group = container.logConfiguration?.options?.["awslogs-group"] ?? "/aws/batch/job";
    return container.logStreamName
      ? [{ group, stream: container.logStreamName, isPrefix: false, job, ...(index === undefined ? {} : { index }) }]
      : [];
  });
}
