// What the ledger needs from the outside: a store that decides atomically, prices, and the services' own records of jobs.
import type { BoundedJob, Clock, LedgerStage, ObjectStore } from "../../lib/contracts/index.ts";
import type { InstanceTime } from "./bound.ts";

/** Money that may still be spent: the most that the next try of a task on a rung can cost. */
export interface Hold {
  /** <runId>/<taskId>/<rung> */
  name: string;
  runId: string;
  taskId: string;
  stage: LedgerStage;
  rung: string;
  job: BoundedJob;
  usdPerHour: number;
  cents: number;
  /** Every month that the job can reach into: the hold counts in each. */
  months: string[];
  reservedAtMs: number;
  /** Then everything of it has ended, by the services' own limits. */
  lastsUntilMs: number;
}

/** What the tries of a task on a rung did cost together. */
export interface Spent {
  name: string;
  runId: string;
  taskId: string;
  stage: LedgerStage;
  rung: string;
  job: BoundedJob;
  usdPerHour: number;
  /** Of the last try. */
  reservedAtMs: number;
  centsByMonth: Record<string, number>;
  settledAtMs: number;
}

/** What a task on a rung, with all of its tries there, has cost and may still cost. */
export interface TaskCost {
  stage: LedgerStage;
  taskId: string;
  rung: string;
  service: BoundedJob["service"];
  /** EC2's name of it; of several that the service may choose from, the dearest. */
  instanceType: string;
  /** Of one instance, as it was held and settled. */
  usdPerHour: number;
  /** The most that the job had at once. */
  instances: number;
  childrenPerInstance: number;
  reservedAtMs: number;
  spentUsd: number;
  /** The most that it may still cost; 0 when it is settled. */
  heldUsd: number;
}

/** A run or a month: what is held for it and what was spent may not pass the cap together. */
export interface Limit {
  account: string;
  capCents: number;
}

export const runAccount = (runId: string): string => `run#${runId}`;
export const monthAccount = (month: string): string => `month#${month}`;

export interface LedgerStore {
  /** All or nothing: adds the hold to every account, or says which one would pass its cap. A hold of that name stays. */
  hold(hold: Hold, limits: readonly Limit[]): Promise<{ held: Hold } | { full: string }>;
  held(name: string): Promise<Hold | undefined>;
  allHeld(): Promise<Hold[]>;
  /** All or nothing: what was spent takes the hold's place. False when another did it first. */
  settle(hold: Hold, spent: Spent): Promise<boolean>;
  spent(runId: string): Promise<Spent[]>;
  /** What a run has cost and may still cost, in the order of costs.ts. */
  costs(runId: string): Promise<TaskCost[]>;
  committedCents(account: string): Promise<number>;
}

/** A job or an array child that runs now. */
export interface RunningJob {
  id: string;
  startedAtMs: number;
  /** Of its last line, where its log can be read. */
  lastSignMs?: number;
}

/** Every try of a job, as the service remembers it. */
export interface JobUse {
  times: InstanceTime[];
  /** Whether anything of it waits, runs or stops. */
  isAlive: boolean;
  running: RunningJob[];
}

export interface Jobs {
  use(job: BoundedJob): Promise<JobUse>;
  /** Asks the service to stop whatever of it waits or runs. */
  stop(job: BoundedJob, reason: string): Promise<void>;
  /** Of its running ones, the one with that id: an array's child, and the others go on. */
  stopOne(job: BoundedJob, id: string, reason: string): Promise<void>;
}

export interface Caps {
  runUsd: number;
  monthUsd: number;
}

export interface LedgerPorts {
  /** Of the run's recipe. */
  store: Pick<ObjectStore, "get">;
  ledger: LedgerStore;
  jobs: Jobs;
  /** @throws VoxelburstError PriceUnknown */
  usdPerHour(job: BoundedJob): number;
  caps: Caps;
  clock: Clock;
}
