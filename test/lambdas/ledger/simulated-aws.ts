// Batch and SageMaker as far as money goes: instances that boot, are shared, taken back, found idle; and their bill.
import { BatchClient, type JobDetail } from "@aws-sdk/client-batch";
import { BatchRecords } from "../../../lambdas/clients/job-records.ts";
import { IDLE_SECONDS, monthOf, START_SECONDS } from "../../../lambdas/ledger/bound.ts";
import type { Jobs, JobUse } from "../../../lambdas/ledger/ports.ts";
import type { BoundedJob } from "../../../lib/contracts/index.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** What can go wrong with a job, each with its chance. */
export interface Weather {
  /** An instance is never found. */
  noCapacity: number;
  /** A host is taken back while it works. */
  reclaim: number;
  /** A child hangs until Batch's own limit ends its attempt. */
  hang: number;
  /** A child hangs and Batch's limit fails too: only the state's timeout or the guard ends it. */
  unlimited: number;
}

interface Instance {
  id: string;
  fromMs: number;
  toMs: number;
  /** In a warm pool after its job: on the bill, in no record of the job. */
  keptMs?: number;
  usdPerHour: number;
}

interface Attempt {
  instance: Instance;
  startedMs: number;
  stoppedMs: number;
}

interface SimulatedJob {
  id: string;
  name: string;
  runId: string;
  job: BoundedJob;
  createdMs: number;
  /** One list of attempts a child. */
  children: Attempt[][];
  instances: Instance[];
  /** Children that waited in vain. */
  inVain: Set<number>;
  /** Children that were stopped while they waited. */
  waiting: Set<number>;
  /** Then nothing of it waits or runs any more. */
  endMs: number;
}

const FOREVER_SECONDS = 10 * 86_400;
const STOP_SECONDS = 120;
/** EC2 bills the second, from the sixtieth on. */
const LEAST_SECONDS = 60;

export class SimulatedAws implements Jobs {
  readonly jobs: SimulatedJob[] = [];
  private readonly time: VirtualTime;
  private readonly random: () => number;
  private readonly weather: Weather;
  private readonly records: BatchRecords;

  constructor(time: VirtualTime, random: () => number, weather: Weather) {
    this.time = time;
    this.random = random;
    this.weather = weather;
    // The real reading of Batch's answers, of what Batch would answer here.
    const client = new BatchClient({ region: "us-east-1" });
    client.send = (async (command: { constructor: { name: string }; input: Record<string, never> }) =>
      this.answer(command.constructor.name, command.input)) as never;
    // Everything that runs writes lines: the cap has to hold without the guard's ear for silence.
    this.records = new BatchRecords(client, { lastMs: async () => this.time.nowMs } as never, () => this.time.nowMs);
  }

  submit(runId: string, job: BoundedJob, odUsdPerHour: number): SimulatedJob {
    const spotUsdPerHour = odUsdPerHour * (0.2 + 0.8 * this.random());
    const submitted: SimulatedJob = {
      id: `job${this.jobs.length}`,
      name: job.name.replace("*", `r${this.jobs.length}-d0`),
      runId,
      job,
      createdMs: this.time.nowMs,
      children: Array.from({ length: job.children }, () => []),
      instances: [],
      inVain: new Set(),
      waiting: new Set(),
      endMs: this.time.nowMs,
    };
    this.jobs.push(submitted);
    if (job.service === "batch") this.schedule(submitted, this.random() < 0.5 ? spotUsdPerHour : odUsdPerHour);
    else this.train(submitted, odUsdPerHour);
    return submitted;
  }

  isAlive = ({ endMs }: SimulatedJob): boolean => endMs > this.time.nowMs;

  /** USD by run and by month, of every instance's whole life. */
  bill(): { runs: Map<string, number>; months: Map<string, number> } {
    const runs = new Map<string, number>();
    const months = new Map<string, number>();
    for (const { instances, runId } of this.jobs)
      for (const { fromMs, toMs, keptMs = 0, usdPerHour } of instances) {
        const charged = Math.max(LEAST_SECONDS * 1000, toMs - fromMs) + keptMs;
        runs.set(runId, (runs.get(runId) ?? 0) + (charged / 3.6e6) * usdPerHour);
        for (let at = fromMs; at < fromMs + charged; ) {
          const date = new Date(at);
          const end = Math.min(fromMs + charged, Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1));
          months.set(monthOf(at), (months.get(monthOf(at)) ?? 0) + ((end - at) / 3.6e6) * usdPerHour);
          at = end;
        }
      }
    return { runs, months };
  }

  async use(job: BoundedJob): Promise<JobUse> {
    if (job.service === "batch") return this.records.use(job);
    const use: JobUse = { times: [], isAlive: false, running: [] };
    for (const each of this.named(job.name)) {
      use.isAlive ||= this.isAlive(each);
      for (const { id, fromMs, toMs } of each.instances)
        if (fromMs <= this.time.nowMs)
          use.times.push({ instance: id, fromMs, ...(toMs <= this.time.nowMs ? { toMs } : {}) });
    }
    return use;
  }

  async stop(job: BoundedJob): Promise<void> {
    const nowMs = this.time.nowMs;
    for (const each of this.named(job.name)) {
      if (!this.isAlive(each)) continue;
      const gone = nowMs + this.random() * STOP_SECONDS * 1000;
      each.children = each.children.map((attempts, child) => {
        const begun = attempts.filter(({ startedMs }) => startedMs <= nowMs);
        if (begun.length < attempts.length) each.waiting.add(child);
        return begun.map((one) => ({ ...one, stoppedMs: Math.min(one.stoppedMs, gone) }));
      });
      each.instances = each.instances.filter(({ fromMs }) => fromMs <= nowMs);
      each.inVain.clear(); // they were stopped before their time
      for (const instance of each.instances) {
        const idle = job.service === "batch" ? this.random() * IDLE_SECONDS * 1000 : 0;
        instance.toMs = Math.min(instance.toMs, gone + idle);
      }
      each.endMs = Math.min(each.endMs, gone);
    }
  }

  async stopOne(job: BoundedJob): Promise<void> {
    await this.stop(job);
  }

  private named(name: string): SimulatedJob[] {
    return this.jobs.filter((each) => each.name.startsWith(name.replace("*", "")));
  }

  /** SageMaker: instances that are billed from the job's start to its end, within MaxRuntime over all attempts. */
  private train(submitted: SimulatedJob, usdPerHour: number): void {
    const { job, createdMs } = submitted;
    const fromMs = createdMs + this.random() * job.waitSeconds * 1000;
    const toMs = fromMs + this.random() * job.attemptSeconds * 1000;
    submitted.instances = Array.from({ length: job.children }, (_, index) => ({
      id: `${submitted.id}#${index}`,
      fromMs,
      toMs,
      keptMs: this.random() * (job.keepAliveSeconds ?? 0) * 1000,
      usdPerHour,
    }));
    submitted.endMs = toMs;
  }

  /** Batch: as many instances as the children fill, each found within the wait or never; a freed place is taken at once. */
  private schedule(submitted: SimulatedJob, usdPerHour: number): void {
    const { job, createdMs } = submitted;
    const most = Math.ceil(job.children / job.childrenPerInstance);
    type Waiting = { child: number; attempt: number; sinceMs: number };
    let waiting: Waiting[] = submitted.children.map((_, child) => ({ child, attempt: 1, sinceMs: createdMs }));
    let askedForMs = createdMs;
    for (let wave = 0; waiting.length > 0 && wave < job.attempts; wave++) {
      const retried: Waiting[] = [];
      for (let index = 0; index < most && waiting.length > 0; index++) {
        if (this.random() < this.weather.noCapacity) continue;
        const launchMs = askedForMs + this.random() * job.waitSeconds * 1000 * 0.9;
        const instance: Instance = {
          id: `${submitted.id}/${wave}/${index}`,
          fromMs: launchMs,
          toMs: launchMs,
          usdPerHour,
        };
        submitted.instances.push(instance);
        const reclaimMs =
          this.random() < this.weather.reclaim ? launchMs + this.random() * 8e6 : Number.POSITIVE_INFINITY;
        const readyMs = launchMs + this.random() * START_SECONDS * 1000;
        const taken = waiting.splice(0, job.childrenPerInstance);
        for (const one of taken) {
          const startedMs = Math.min(readyMs, reclaimMs);
          const wantsMs = startedMs + this.duration(job.attemptSeconds) * 1000;
          const stoppedMs = Math.min(wantsMs, reclaimMs);
          submitted.children[one.child]!.push({ instance, startedMs, stoppedMs });
          instance.toMs = Math.max(instance.toMs, stoppedMs);
          if (reclaimMs < wantsMs) retried.push({ ...one, attempt: one.attempt + 1, sinceMs: reclaimMs });
          submitted.endMs = Math.max(submitted.endMs, stoppedMs);
        }
        if (reclaimMs < Number.POSITIVE_INFINITY)
          instance.toMs = Math.min(Math.max(instance.toMs, launchMs), reclaimMs);
        else instance.toMs += this.random() * IDLE_SECONDS * 1000;
      }
      // What found no instance is cancelled when it has waited its time.
      for (const { child } of waiting) submitted.inVain.add(child);
      if (waiting.length > 0) submitted.endMs = Math.max(submitted.endMs, askedForMs + job.waitSeconds * 1000);
      waiting = retried.filter(({ attempt }) => attempt <= job.attempts);
      askedForMs = Math.max(askedForMs, ...retried.map(({ sinceMs }) => sinceMs));
    }
  }

  private endOf({ children, waiting, endMs }: SimulatedJob, child: number): number {
    return waiting.has(child) ? endMs : (children[child]!.at(-1)?.stoppedMs ?? endMs);
  }

  private duration(attemptSeconds: number): number {
    const draw = this.random();
    if (draw < this.weather.unlimited) return FOREVER_SECONDS;
    if (draw < this.weather.unlimited + this.weather.hang) return attemptSeconds;
    return this.random() * attemptSeconds;
  }

  private answer(command: string, input: { filters?: { values: string[] }[]; jobs?: string[] }): object {
    const nowMs = this.time.nowMs;
    if (command === "ListJobsCommand")
      return {
        jobSummaryList: this.named(input.filters![0]!.values[0]!).map((each) => ({
          jobId: each.id,
          status: this.isAlive(each) ? "RUNNING" : "SUCCEEDED",
          arrayProperties: { size: each.children.length },
        })),
      };
    const jobs = input.jobs!.map((id): JobDetail => {
      const [jobId, index] = id.split(":");
      const submitted = this.jobs.find((each) => each.id === jobId)!;
      const begun = submitted.children[Number(index)]!.filter(({ startedMs }) => startedMs <= nowMs);
      const ended = begun.filter(({ stoppedMs }) => stoppedMs <= nowMs);
      const running = begun.find(({ stoppedMs }) => stoppedMs > nowMs);
      return {
        jobId: id,
        jobName: submitted.name,
        jobQueue: submitted.job.queue,
        jobDefinition: "definition",
        createdAt: submitted.createdMs,
        startedAt: running?.startedMs ?? ended[0]?.startedMs,
        status: running ? "RUNNING" : this.isAlive(submitted) ? "RUNNABLE" : "FAILED",
        ...(submitted.inVain.has(Number(index)) ? { statusReason: "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY" } : {}),
        ...(this.isAlive(submitted) ? {} : { stoppedAt: this.endOf(submitted, Number(index)) }),
        attempts: ended.map(({ instance, startedMs, stoppedMs }) => ({
          startedAt: startedMs,
          stoppedAt: stoppedMs,
          taskProperties: [{ containerInstanceArn: instance.id }],
        })),
        ...(running ? { ecsProperties: { taskProperties: [taskOf(running.instance)] } } : {}),
      };
    });
    return { jobs };
  }
}

const taskOf = ({ id }: Instance) => ({
  containerInstanceArn: id,
  containers: [
    { logStreamName: id, logConfiguration: { logDriver: "awslogs" as const, options: { "awslogs-group": "jobs" } } },
  ],
});
