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
  /** A job hangs and the service's limit fails too: only the state's timeout or the guard ends it. */
  unlimited: number;
}

/** A multi-node job is Batch's too: its nodes start together, and whoever is there first waits for the last. */
export type JobKind = "array" | "nodes";

interface Instance {
  id: string;
  fromMs: number;
  toMs: number;
  /** In a warm pool after its job: on the bill, in no record of the job. */
  keptMs?: number;
  usdPerHour: number;
}

interface Attempt {
  /** Of a multi-node job, its nodes'. */
  instances: Instance[];
  startedMs: number;
  stoppedMs: number;
}

/** A child of an array; all of a multi-node job. */
interface Child {
  attempts: Attempt[];
  /** Then nothing of it waits or runs any more. */
  endMs: number;
  /** Batch's, when no attempt was its end. */
  reason?: string;
}

interface SimulatedJob {
  id: string;
  name: string;
  runId: string;
  job: BoundedJob;
  kind: JobKind;
  createdMs: number;
  children: Child[];
  instances: Instance[];
  /** What the ledger counts an instance at; those of spot cost less. */
  odUsdPerHour: number;
}

const FOREVER_SECONDS = 10 * 86_400;
const STOP_SECONDS = 120;
/** EC2 bills the second, from the sixtieth on. */
const LEAST_SECONDS = 60;
/** Batch's own words of what has waited its time: user guide, "Jobs stuck in RUNNABLE due to capacity". */
const IN_VAIN = "Canceled by JobStateTimeLimit action due to reason: CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY";

const chargedMs = ({ fromMs, toMs, keptMs = 0 }: Instance) => Math.max(LEAST_SECONDS * 1000, toMs - fromMs) + keptMs;
const usdOf = (ms: number, usdPerHour: number) => (ms / 3.6e6) * usdPerHour;
const sum = (values: readonly number[]) => values.reduce((total, one) => total + one, 0);

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

  submit(runId: string, job: BoundedJob, odUsdPerHour: number, kind: JobKind = "array"): SimulatedJob {
    const spotUsdPerHour = odUsdPerHour * (0.2 + 0.8 * this.random());
    const submitted: SimulatedJob = {
      id: `job${this.jobs.length}`,
      name: job.name.replace("*", `r${this.jobs.length}-d0`),
      runId,
      job,
      kind,
      createdMs: this.time.nowMs,
      children: Array.from({ length: kind === "nodes" ? 1 : job.children }, () => ({ attempts: [], endMs: 0 })),
      instances: [],
      odUsdPerHour,
    };
    this.jobs.push(submitted);
    if (job.service !== "batch") this.train(submitted);
    else if (kind === "nodes") this.scheduleNodes(submitted, this.random() < 0.5 ? spotUsdPerHour : odUsdPerHour);
    else this.scheduleArray(submitted, this.random() < 0.5 ? spotUsdPerHour : odUsdPerHour);
    return submitted;
  }

  endOf = ({ children }: SimulatedJob): number => Math.max(...children.map(({ endMs }) => endMs));
  isAlive = (job: SimulatedJob): boolean => this.endOf(job) > this.time.nowMs;

  /** USD by run and by month, of every instance's whole life. */
  bill(): { runs: Map<string, number>; months: Map<string, number> } {
    const runs = new Map<string, number>();
    const months = new Map<string, number>();
    for (const { instances, runId } of this.jobs)
      for (const instance of instances) {
        const { fromMs, usdPerHour } = instance;
        const endMs = fromMs + chargedMs(instance);
        runs.set(runId, (runs.get(runId) ?? 0) + usdOf(endMs - fromMs, usdPerHour));
        for (let at = fromMs; at < endMs; ) {
          const date = new Date(at);
          const end = Math.min(endMs, Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1));
          months.set(monthOf(at), (months.get(monthOf(at)) ?? 0) + usdOf(end - at, usdPerHour));
          at = end;
        }
      }
    return { runs, months };
  }

  /**
   * The most that the ledger may say of a run: its bill at the prices that the ledger counts at, and what the services'
   * records do not show. Of each instance of Batch when it began and how long it idled; of a multi-node job its waits;
   * of what was stopped while it waited, whether an instance was on its way; of a warm pool how long it was kept; and a
   * cent for each name and month.
   */
  mostSettledUsd(runId: string): number {
    const jobs = this.jobs.filter((each) => each.runId === runId);
    const cents = 2 * new Set(jobs.map(({ job }) => job.name)).size;
    return cents / 100 + sum(jobs.map((each) => this.mostSettledOf(each)));
  }

  private mostSettledOf({ job, kind, instances, children, odUsdPerHour }: SimulatedJob): number {
    const { waitSeconds, attempts, keepAliveSeconds = 0 } = job;
    const isBatch = job.service === "batch";
    const around = START_SECONDS + IDLE_SECONDS + (kind === "nodes" ? attempts * waitSeconds : 0);
    const margin = isBatch ? around : keepAliveSeconds;
    const stoppedWaiting = children.filter(({ reason }) => reason !== undefined && reason !== IN_VAIN).length;
    const inVain = children.filter(({ reason }) => reason === IN_VAIN).length;
    const unseen = kind === "nodes" ? job.children * stoppedWaiting + (job.children - 1) * inVain : stoppedWaiting;
    const seconds = sum(instances.map((each) => chargedMs(each) / 1000 + margin)) + (isBatch ? unseen * around : 0);
    return usdOf(seconds * 1000, odUsdPerHour);
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

  async stop(job: BoundedJob, reason: string): Promise<void> {
    const nowMs = this.time.nowMs;
    for (const each of this.named(job.name)) {
      if (!this.isAlive(each)) continue;
      const gone = nowMs + this.random() * STOP_SECONDS * 1000;
      for (const child of each.children) {
        if (child.endMs <= nowMs) continue;
        child.attempts = child.attempts
          .filter(({ startedMs }) => startedMs <= nowMs)
          .map((one) => ({ ...one, stoppedMs: Math.min(one.stoppedMs, gone) }));
        // What waits is stopped in its waiting.
        if (!child.attempts.some(({ stoppedMs }) => stoppedMs > nowMs)) child.reason = reason;
        child.endMs = Math.min(child.endMs, gone);
      }
      each.instances = each.instances.filter(({ fromMs }) => fromMs <= nowMs);
      for (const instance of each.instances) {
        const idle = job.service === "batch" ? this.random() * IDLE_SECONDS * 1000 : 0;
        instance.toMs = Math.min(instance.toMs, gone + idle);
      }
    }
  }

  async stopOne(job: BoundedJob, _id: string, reason: string): Promise<void> {
    await this.stop(job, reason);
  }

  private named(name: string): SimulatedJob[] {
    return this.jobs.filter((each) => each.name.startsWith(name.replace("*", "")));
  }

  /** SageMaker: instances that are billed from the job's start to its end, within MaxRuntime over all attempts. */
  private train(submitted: SimulatedJob): void {
    const { job, createdMs, odUsdPerHour: usdPerHour } = submitted;
    const fromMs = createdMs + this.random() * job.waitSeconds * 1000;
    const toMs = fromMs + this.duration(job.attemptSeconds) * 1000;
    submitted.instances = submitted.children.map((_, index) => ({
      id: `${submitted.id}#${index}`,
      fromMs,
      toMs,
      keptMs: this.random() * (job.keepAliveSeconds ?? 0) * 1000,
      usdPerHour,
    }));
    for (const child of submitted.children) child.endMs = toMs;
  }

  /** As many instances as the children fill, each found within the wait or never; a freed place is taken at once. */
  private scheduleArray(submitted: SimulatedJob, usdPerHour: number): void {
    const { job, createdMs } = submitted;
    const most = Math.ceil(job.children / job.childrenPerInstance);
    let waiting = submitted.children;
    let askedForMs = createdMs;
    for (let wave = 0; waiting.length > 0; wave++) {
      const retried: Child[] = [];
      const queue = [...waiting];
      for (let index = 0; index < most && queue.length > 0; index++) {
        if (this.random() < this.weather.noCapacity) continue;
        const instance = this.launch(submitted, askedForMs, `${wave}/${index}`, usdPerHour);
        const reclaimMs = this.reclaimAfter(instance.fromMs);
        const readyMs = instance.fromMs + this.random() * START_SECONDS * 1000;
        for (const child of queue.splice(0, job.childrenPerInstance)) {
          const startedMs = Math.min(readyMs, reclaimMs);
          const wantsMs = startedMs + this.duration(job.attemptSeconds) * 1000;
          child.endMs = Math.min(wantsMs, reclaimMs);
          child.attempts.push({ instances: [instance], startedMs, stoppedMs: child.endMs });
          instance.toMs = Math.max(instance.toMs, child.endMs);
          if (reclaimMs < wantsMs && child.attempts.length < job.attempts) retried.push(child);
        }
        if (reclaimMs === Number.POSITIVE_INFINITY) instance.toMs += this.random() * IDLE_SECONDS * 1000;
      }
      // What found no instance is cancelled when it has waited its time.
      for (const child of queue) {
        child.endMs = Math.max(askedForMs, child.endMs) + job.waitSeconds * 1000;
        child.reason = IN_VAIN;
      }
      waiting = retried;
      askedForMs = Math.max(askedForMs, ...retried.map(({ endMs }) => endMs));
    }
  }

  /** All nodes or none: who is there is paid for meanwhile, and after a loss for as long as another is looked for. */
  private scheduleNodes(submitted: SimulatedJob, usdPerHour: number): void {
    const { job, createdMs, children } = submitted;
    const [all] = children as [Child];
    let askedForMs = createdMs;
    let there: Instance[] = [];
    for (let attempt = 0; attempt < job.attempts; attempt++) {
      const untilMs = askedForMs + job.waitSeconds * 1000;
      for (let node = there.length, missing = false; node < job.children; node++) {
        missing ||= this.random() < this.weather.noCapacity;
        if (!missing) there.push(this.launch(submitted, askedForMs, `${attempt}/${node}`, usdPerHour));
      }
      if (there.length < job.children) {
        for (const instance of there) instance.toMs = untilMs + this.random() * IDLE_SECONDS * 1000;
        Object.assign(all, { endMs: untilMs, reason: IN_VAIN });
        return;
      }
      const lastMs = Math.max(askedForMs, ...there.map(({ fromMs }) => fromMs));
      const startedMs = lastMs + this.random() * START_SECONDS * 1000;
      const reclaims = there.map(() => this.reclaimAfter(startedMs));
      const reclaimMs = Math.min(...reclaims);
      const wantsMs = startedMs + this.duration(job.attemptSeconds) * 1000;
      all.endMs = Math.min(wantsMs, reclaimMs);
      all.attempts.push({ instances: there, startedMs, stoppedMs: all.endMs });
      const kept = there.filter((_, node) => reclaims[node]! > all.endMs);
      for (const instance of there)
        instance.toMs = all.endMs + (kept.includes(instance) ? this.random() * IDLE_SECONDS * 1000 : 0);
      if (wantsMs <= reclaimMs) return;
      [there, askedForMs] = [kept, all.endMs];
    }
  }

  private launch(submitted: SimulatedJob, askedForMs: number, id: string, usdPerHour: number): Instance {
    const fromMs = askedForMs + this.random() * submitted.job.waitSeconds * 1000 * 0.9;
    const instance: Instance = { id: `${submitted.id}/${id}`, fromMs, toMs: fromMs, usdPerHour };
    submitted.instances.push(instance);
    return instance;
  }

  private reclaimAfter(fromMs: number): number {
    if (this.random() >= this.weather.reclaim) return Number.POSITIVE_INFINITY;
    return fromMs + this.random() * MOST_BEFORE_RECLAIM_SECONDS * 1000;
  }

  private duration(attemptSeconds: number): number {
    const draw = this.random();
    if (draw < this.weather.unlimited) return FOREVER_SECONDS;
    if (draw < this.weather.unlimited + this.weather.hang) return attemptSeconds;
    return this.random() * attemptSeconds;
  }

  private answer(command: string, input: { filters?: { values: string[] }[]; jobs?: string[] }): object {
    if (command === "ListJobsCommand")
      return {
        jobSummaryList: this.named(input.filters![0]!.values[0]!).map((each) => ({
          jobId: each.id,
          status: this.isAlive(each) ? "RUNNING" : "SUCCEEDED",
          ...(each.kind === "array" ? { arrayProperties: { size: each.children.length } } : {}),
        })),
      };
    return { jobs: input.jobs!.map((id) => this.describe(id)) };
  }

  /** job3:1 is a child of an array, job3#0 a node, job3 a multi-node job. */
  private describe(id: string): JobDetail {
    const nowMs = this.time.nowMs;
    const [, jobId, index = "0"] = /^(\w+)(?:[:#](\d+))?$/.exec(id)!;
    const { kind, job, children, createdMs, name } = this.jobs.find((each) => each.id === jobId)!;
    const { attempts, endMs, reason } = children[kind === "nodes" ? 0 : Number(index)]!;
    const begun = attempts.filter(({ startedMs }) => startedMs <= nowMs);
    const ended = begun.filter(({ stoppedMs }) => stoppedMs <= nowMs);
    const running = begun.find(({ stoppedMs }) => stoppedMs > nowMs);
    const isOver = endMs <= nowMs;
    const task = ({ instances: [instance] }: Attempt) => ({ taskProperties: [taskOf(instance!)] });
    const hasContainer = kind === "array" || id.includes("#");
    return {
      jobId: id,
      jobName: name,
      jobQueue: job.queue,
      jobDefinition: "definition",
      createdAt: createdMs,
      startedAt: running?.startedMs ?? ended[0]?.startedMs,
      status: running ? "RUNNING" : isOver ? "FAILED" : "RUNNABLE",
      ...(isOver ? { stoppedAt: endMs, statusReason: reason } : {}),
      attempts: ended.map((one) => ({
        startedAt: one.startedMs,
        stoppedAt: one.stoppedMs,
        ...(hasContainer ? task(one) : {}),
      })),
      ...(running && hasContainer ? { ecsProperties: task(running) } : {}),
      ...(id === jobId && kind === "nodes"
        ? { nodeProperties: { numNodes: job.children, mainNode: 0, nodeRangeProperties: [] } }
        : {}),
    };
  }
}

/** Longer than most attempts take. */
export const MOST_BEFORE_RECLAIM_SECONDS = 8_000;

const taskOf = ({ id }: Instance) => ({
  containerInstanceArn: id,
  containers: [
    { logStreamName: id, logConfiguration: { logDriver: "awslogs" as const, options: { "awslogs-group": "jobs" } } },
  ],
});
