// What a run has cost and may still cost, by task and rung: what the report and `voxelburst cost` read of the ledger.
import { instancesOf } from "./bound.ts";
import type { Hold, Spent, TaskCost } from "./ports.ts";

/** In the order of the tasks' names, and of each task in that of its rungs. */
export function taskCosts(spent: readonly Spent[], held: readonly Hold[]): TaskCost[] {
  const costs = [
    ...spent.map((one) => costOf(one, { spentUsd: sum(Object.values(one.centsByMonth)) / 100, heldUsd: 0 })),
    ...held.map((one) => costOf(one, { spentUsd: 0, heldUsd: one.cents / 100 })),
  ];
  const byName = (a: TaskCost, b: TaskCost) => (a.taskId < b.taskId ? -1 : a.taskId > b.taskId ? 1 : 0);
  return costs.sort((a, b) => byName(a, b) || a.reservedAtMs - b.reservedAtMs || (a.rung < b.rung ? -1 : 1));
}

const costOf = (
  { stage, taskId, rung, job, usdPerHour, reservedAtMs }: Hold | Spent,
  amounts: Pick<TaskCost, "spentUsd" | "heldUsd">,
): TaskCost => ({
  ...{ stage, taskId, rung, usdPerHour, reservedAtMs },
  service: job.service,
  instanceType: job.instanceType,
  instances: instancesOf(job),
  childrenPerInstance: job.childrenPerInstance,
  ...amounts,
});

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
