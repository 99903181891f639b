// SageMaker's records of trainings and transforms: BillableTimeInSeconds is what is charged for.
import {
  DescribeTrainingJobCommand,
  type DescribeTrainingJobResponse,
  DescribeTransformJobCommand,
  paginateListTrainingJobs,
  paginateListTransformJobs,
  SageMakerClient,
  StopTrainingJobCommand,
  StopTransformJobCommand,
} from "@aws-sdk/client-sagemaker";
import type { BoundedJob } from "../../lib/contracts/ledger.ts";
import { SAGEMAKER_LOGS } from "../../lib/contracts/sagemaker-logs.ts";
import type { InstanceTime } from "../ledger/bound.ts";
import type { JobUse } from "../ledger/ports.ts";
import type { LastLines } from "./last-lines.ts";

const isOver = (status: string | undefined) => ["Completed", "Failed", "Stopped"].includes(status ?? "");

/** SecondaryStatus of a training that has no instance. */
const WAITS: ReadonlySet<string> = new Set([
  "Pending",
  "Starting",
  "LaunchingMLInstances",
  "Interrupted",
  "Restarting",
]);

type Span = Pick<InstanceTime, "fromMs" | "toMs">;

interface JobRecord {
  name: string;
  status: string | undefined;
  instances: number;
  /** From then on it is billed. */
  startedAt: Date | undefined;
  /** Of one that runs: when it had its instances. */
  spans: Span[];
  /** Since when our code runs; undefined while instances are found, after an interruption too. */
  worksSince: Date | undefined;
  endedAt: Date | undefined;
  billableSeconds: number | undefined;
}

export class SageMakerRecords {
  private readonly client: SageMakerClient;
  private readonly lines: LastLines | undefined;

  /** @param lines - undefined: nobody asks when a job last said something */
  constructor(client = new SageMakerClient({}), lines?: LastLines) {
    this.client = client;
    this.lines = lines;
  }

  async use(job: BoundedJob): Promise<JobUse> {
    const use: JobUse = { times: [], isAlive: false, running: [] };
    for (const name of await this.names(job)) {
      const record = await this.describe(job, name);
      const running = !isOver(record.status);
      use.isAlive ||= running;
      // What has no instance yet, or never had one, is not billed.
      if (!record.startedAt) continue;
      const spans = running ? record.spans : [{ fromMs: record.startedAt.getTime(), toMs: endOf(record) }];
      for (let instance = 0; instance < record.instances; instance++)
        use.times.push(...spans.map((span) => ({ instance: `${name}#${instance}`, ...span })));
      // What waits for instances, managed spot in the middle of a training too, writes no line and hangs on nothing.
      if (!running || !record.worksSince) continue;
      const group = SAGEMAKER_LOGS[job.service === "training" ? "training" : "transform"];
      const lastSignMs = await this.lines?.lastMsOfAll(group, `${name}/`);
      const startedAtMs = record.worksSince.getTime();
      use.running.push({ id: name, startedAtMs, ...(lastSignMs === undefined ? {} : { lastSignMs }) });
    }
    return use;
  }

  async stop(job: BoundedJob): Promise<void> {
    for (const name of await this.names(job)) {
      const { status } = await this.describe(job, name);
      if (!isOver(status) && status !== "Stopping") await this.stopOne(job, name);
    }
  }

  /** It takes no reason. */
  async stopOne({ service }: BoundedJob, name: string): Promise<void> {
    await (service === "training"
      ? this.client.send(new StopTrainingJobCommand({ TrainingJobName: name }))
      : this.client.send(new StopTransformJobCommand({ TransformJobName: name })));
  }

  private async names({ service, name }: BoundedJob): Promise<string[]> {
    const start = name.replace(/\*$/, "");
    const config = { client: this.client };
    // NameContains looks anywhere in a name.
    const found: (string | undefined)[] = [];
    if (service === "training")
      for await (const { TrainingJobSummaries = [] } of paginateListTrainingJobs(config, { NameContains: start }))
        found.push(...TrainingJobSummaries.map((job) => job.TrainingJobName));
    else
      for await (const { TransformJobSummaries = [] } of paginateListTransformJobs(config, { NameContains: start }))
        found.push(...TransformJobSummaries.map((job) => job.TransformJobName));
    return found.filter(
      (each) => each !== undefined && (name.endsWith("*") ? each.startsWith(start) : each === name),
    ) as string[];
  }

  private async describe({ service }: BoundedJob, name: string): Promise<JobRecord> {
    if (service === "training") {
      const job = await this.client.send(new DescribeTrainingJobCommand({ TrainingJobName: name }));
      return {
        name,
        status: job.TrainingJobStatus,
        instances: job.ResourceConfig?.InstanceCount ?? 1,
        startedAt: job.TrainingStartTime,
        spans: spansOf(job),
        worksSince:
          job.SecondaryStatus === "Training"
            ? (job.SecondaryStatusTransitions?.findLast(({ Status }) => Status === "Training")?.StartTime ??
              job.TrainingStartTime)
            : undefined,
        endedAt: job.TrainingEndTime,
        billableSeconds: job.BillableTimeInSeconds,
      };
    }
    const job = await this.client.send(new DescribeTransformJobCommand({ TransformJobName: name }));
    return {
      name,
      status: job.TransformJobStatus,
      instances: job.TransformResources?.InstanceCount ?? 1,
      startedAt: job.TransformStartTime,
      spans: job.TransformStartTime ? [{ fromMs: job.TransformStartTime.getTime() }] : [],
      worksSince: job.TransformJobStatus === "InProgress" ? job.TransformStartTime : undefined,
      endedAt: job.TransformEndTime,
      billableSeconds: undefined,
    };
  }
}

/**
 * While managed spot looks for another host nothing is billed: the limit of the job's time does not count it either.
 *
 * @returns from its start on, each time between two waits for instances
 */
function spansOf({ SecondaryStatusTransitions = [], TrainingStartTime }: DescribeTrainingJobResponse): Span[] {
  if (!TrainingStartTime) return [];
  const startMs = TrainingStartTime.getTime();
  const spans: Span[] = [{ fromMs: startMs }];
  for (const { Status, StartTime } of SecondaryStatusTransitions) {
    const atMs = Math.max(startMs, StartTime?.getTime() ?? startMs);
    const last = spans.at(-1)!;
    if (WAITS.has(Status!)) last.toMs ??= atMs;
    else if (last.toMs !== undefined) spans.push({ fromMs: atMs });
  }
  return spans.filter(({ fromMs, toMs }) => toMs === undefined || toMs > fromMs);
}

/** Of managed spot less is billable than the job took: the instances that were taken back and waited for are not. */
const endOf = ({ billableSeconds, startedAt, endedAt }: JobRecord): number => {
  const fromMs = startedAt!.getTime();
  return billableSeconds === undefined ? (endedAt?.getTime() ?? fromMs) : fromMs + billableSeconds * 1000;
};
