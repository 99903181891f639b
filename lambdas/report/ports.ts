// What the report needs from the outside: the handler gives it AWS, lib/local gives it this machine.
import type {
  Clock,
  Estimate,
  Host,
  Machine,
  NightlyComparison,
  ObjectStore,
  StageName,
} from "../../lib/contracts/index.ts";

/** What an hour costs. */
export interface ReportPrices {
  /**
   * USD an hour for the share of an instance that one job (an array child, a training job) holds.
   * undefined when the price is not known: the job then counts at the plan's named price, and the report says so.
   */
  usdPerHour(job: { stage: StageName; host: Host }): number | undefined;
}

export interface ReportPorts {
  store: ObjectStore;
  clock: Clock;
  /** Where the stages ran. @default - local for a file:// store, otherwise aws; its GPUs are then not known */
  machine?: Pick<Machine, "where" | "gpus">;
  /** Actual prices; not asked on one machine, where a run costs nothing. @default - the plan's named price */
  prices?: ReportPrices;
  /** Told how a nightly benchmark compares with the nights before. @default - nobody is told */
  onNight?(comparison: NightlyComparison): void;
}

/** The named, dated price of a plan's estimate. */
export type PricedAs = Estimate["pricedAs"];
