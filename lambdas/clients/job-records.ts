// The services' own records of a job: which instances it had and when, what of it still runs, and how to stop it.
import {
  BatchClient,
  type JobDetail,
  type JobSummary,
  paginateListJobs,
  TerminateJobCommand,
} from "@aws-sdk/client-batch";
import { WAITED_IN_VAIN } from "../../lib/contracts/batch-reasons.ts";
import { VoxelburstError } from "../../lib/contracts/error.ts";
import type { BoundedJob } from "../../lib/contracts/ledger.ts";
import { instanceStartMs } from "../ledger/bound.ts";
import type { Jobs, JobUse } from "../ledger/ports.ts";
import { describeJobs } from "./describe-jobs.ts";
import type { LastLines } from "./last-lines.ts";
import { SageMakerRecords } from "./sagemaker-records.ts";

/** Batch on its own; trainings and transforms are SageMaker's. */
export class JobRecords implements Jobs {
  private readonly batch: BatchRecords;
  private readonly sageMaker: SageMakerRecords;

  constructor(batch = new BatchRecords(), sageMaker = new SageMakerRecords()) {
    this.batch = batch;
    this.sageMaker = sageMaker;
  }

  use(job: BoundedJob): Promise<JobUse> {
    return job.service === "batch" ? this.batch.use(job) : this.sageMaker.use(job);
  }

  stop(job: BoundedJob, reason: string): Promise<void> {
    return job.service === "batch" ? this.batch.stop(job, reason) : this.sageMaker.stop(job);
  }

  stopOne(job: BoundedJob, id: string, reason: string): Promise<void> {
    return job.service === "batch" ? this.batch.stopOne(job, id, reason) : this.sageMaker.stopOne(job, id);
  }
}

const isOver = (status: string | undefined) => status === "SUCCEEDED" || status === "FAILED";

export class BatchRecords implements Jobs {
  private readonly client: BatchClient;
  private readonly lines: LastLines | undefined;
  private readonly now: () => number;

  /** @param lines - undefined: nobody asks when a job last said something */
  constructor(client = new BatchClient({}), lines?: LastLines, now = () => Date.now()) {
    this.client = client;
    this.lines = lines;
    this.now = now;
  }

  async use(job: BoundedJob): Promise<JobUse> {
    const use: JobUse = { times: [], isAlive: false, running: [] };
    for (const summary of await this.list(job)) {
      use.isAlive ||= !isOver(summary.status);
      for (const detail of await describeJobs(this.client, childIds(summary))) await this.add(detail, job, use);
    }
    return use;
  }

  async stop(job: BoundedJob, reason: string): Promise<void> {
    for (const { jobId, status } of await this.list(job)) if (!isOver(status)) await this.stopOne(job, jobId!, reason);
  }

  async stopOne(_job: BoundedJob, jobId: string, reason: string): Promise<void> {
    await this.client.send(new TerminateJobCommand({ jobId, reason }));
  }

  private async add(detail: JobDetail, job: BoundedJob, use: JobUse): Promise<void> {
    const nodes = detail.nodeProperties?.numNodes;
    let askedForMs = detail.createdAt ?? 0;
    const add = (instance: string | undefined, startedMs: number, toMs: number | undefined) => {
      // The nodes of a job wait for each other, and are paid for meanwhile.
      const fromMs = instanceStartMs(askedForMs, startedMs, nodes ? job.waitSeconds : 0);
      for (let node = 0; node < (nodes ?? 1); node++)
        use.times.push({
          // A child whose instance Batch does not name had one of its own, as each node of a multi-node job has.
          instance: nodes ? `${detail.jobId}#${node}` : (instance ?? detail.jobId!),
          fromMs,
          ...(toMs === undefined ? {} : { toMs }),
        });
    };
    for (const attempt of detail.attempts ?? []) {
      if (attempt.startedAt === undefined) continue;
      const stoppedMs = attempt.stoppedAt ?? attempt.startedAt;
      add(instanceOf(attempt.taskProperties?.[0] ?? attempt.container), attempt.startedAt, stoppedMs);
      askedForMs = stoppedMs;
    }
    if (isOver(detail.status)) this.addWait(detail, askedForMs, job, use);
    if (detail.status !== "RUNNING" || detail.startedAt === undefined) return;
    add(instanceOf(detail.ecsProperties?.taskProperties?.[0] ?? detail.container), detail.startedAt, undefined);
    const lastSignMs = await this.lastSign(detail);
    use.running.push({
      id: detail.jobId!,
      startedAtMs: detail.startedAt,
      ...(lastSignMs === undefined ? {} : { lastSignMs }),
    });
  }

  /**
   * What was stopped while it waited may have had an instance on its way, which Batch's records do not show. What waited
   * in vain had none, or of several nodes all but one: then the reason is Batch's own.
   */
  private addWait(detail: JobDetail, waitedFromMs: number, job: BoundedJob, use: JobUse): void {
    const toMs = detail.stoppedAt ?? (detail.attempts?.length ? waitedFromMs : this.now());
    const [arrayId, index = "0"] = detail.jobId!.split(":") as [string, string?];
    if (toMs <= waitedFromMs) return;
    const waiting = Math.floor(Number(index) / job.childrenPerInstance);
    const found = (detail.nodeProperties?.numNodes ?? 1) - (detail.statusReason?.includes(WAITED_IN_VAIN) ? 1 : 0);
    for (let node = 0; node < found; node++)
      use.times.push({
        instance: `${arrayId}~${waiting}~${node}`,
        fromMs: instanceStartMs(waitedFromMs, toMs, detail.nodeProperties ? job.waitSeconds : 0),
        toMs,
      });
  }

  /** A job of several nodes has no container itself: its main node tells how all of them get on. */
  private async lastSign(detail: JobDetail): Promise<number | undefined> {
    if (detail.nodeProperties) {
      const [main] = await describeJobs(this.client, [`${detail.jobId}#${detail.nodeProperties.mainNode ?? 0}`]);
      return main && this.lastLine(main);
    }
    return this.lastLine(detail);
  }

  private async lastLine({ container, ecsProperties }: JobDetail): Promise<number | undefined> {
    const { logStreamName, logConfiguration } = ecsProperties?.taskProperties?.[0]?.containers?.[0] ?? container ?? {};
    const group = logConfiguration?.options?.["awslogs-group"];
    return logStreamName && group ? this.lines?.lastMs(group, logStreamName) : undefined;
  }

  private async list({ queue, name }: BoundedJob): Promise<JobSummary[]> {
    if (!queue)
      throw new VoxelburstError(
        "QueueMissing",
        `The reservation of ${name} names no queue.`,
        "Deploy the stack that belongs to this code.",
        { field: "job.queue" },
      );
    const found: JobSummary[] = [];
    // With a filter, jobs of every status are listed. A name that ends in * matches what begins so.
    const filters = [{ name: "JOB_NAME", values: [name] }];
    for await (const page of paginateListJobs({ client: this.client }, { jobQueue: queue, filters }))
      found.push(...(page.jobSummaryList ?? []));
    return found;
  }
}

/** Jobs with EcsProperties tell it of their task, others of their container. */
const instanceOf = (part: { containerInstanceArn?: string | undefined } | undefined) => part?.containerInstanceArn;

/** An array's parent holds no instance; its children are <id>:<index>. */
function childIds({ jobId, arrayProperties }: JobSummary): string[] {
  const size = arrayProperties?.size;
  return size ? Array.from({ length: size }, (_, index) => `${jobId}:${index}`) : [jobId!];
}
