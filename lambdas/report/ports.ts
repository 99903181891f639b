// What the report needs from the outside: the handler gives it AWS, lib/local gives it this machine.
import type { Clock, Estimate, Machine, NightlyComparison, ObjectStore } from "../../lib/contracts/index.ts";
import type { TaskCost } from "../ledger/ports.ts";

export interface ReportPorts {
  store: ObjectStore;
  clock: Clock;
  /** Where the stages ran. @default - local for a file:// store, otherwise aws; its GPUs are then not known */
  machine?: Pick<Machine, "where" | "gpus">;
  /**
   * What a run has cost and may still cost, from the ledger. Not asked on one machine, where a run costs nothing; where
   * it throws, jobs count at their share of the plan's instance, and the report says so. @default - as if it threw
   */
  costs?(runId: string): Promise<TaskCost[]>;
  /** Told how a nightly benchmark compares with the nights before. @default - nobody is told */
  onNight?(comparison: NightlyComparison): void;
}

/** The named, dated price of a plan's estimate. */
export type PricedAs = Estimate["pricedAs"];
