// What the ledger says of a run's tasks, and of the earlier runs whose results it shows.
import type { ReportInput } from "../../lib/contracts/index.ts";
import type { TaskCost } from "../ledger/ports.ts";
import type { Job, RunFacts } from "./gather.ts";
import type { ReportPorts } from "./ports.ts";

export interface Amounts {
  /** Of this run: every task on every rung. */
  own: readonly TaskCost[];
  /** Where a job ran, in whichever run that was: the last rung that was reserved for its task. */
  rungOf(job: Job): TaskCost | undefined;
  /** Why there is nothing. */
  unread?: string;
}

/** Never throws: a run whose ledger cannot be read still gets its report. */
export async function amountsOf({ request }: ReportInput, facts: RunFacts, ports: ReportPorts): Promise<Amounts> {
  const none = (unread: string): Amounts => ({ own: [], rungOf: () => undefined, unread });
  const { costs } = ports;
  if (!costs) return none("it was not asked");
  const runIds = [...new Set([request.runId, ...facts.jobs.map(({ result }) => result.runId)])];
  try {
    const byRun = new Map(await Promise.all(runIds.map(async (runId) => [runId, await costs(runId)] as const)));
    return {
      own: byRun.get(request.runId)!,
      rungOf: ({ taskId, result }) =>
        byRun
          .get(result.runId)!
          .filter((cost) => cost.taskId === taskId)
          .toSorted((a, b) => a.reservedAtMs - b.reservedAtMs)
          .at(-1),
    };
  } catch (error) {
    // The name alone: a message may have ARNs in it.
    return none((error as Error).name);
  }
}
