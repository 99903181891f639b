// Runs as executions of the deployed state machine.
import {
  DescribeExecutionCommand,
  type ExecutionListItem,
  type ExecutionStatus,
  type HistoryEvent,
  paginateGetExecutionHistory,
  paginateListExecutions,
  SFNClient,
  StopExecutionCommand,
} from "@aws-sdk/client-sfn";
import { VoxelburstError } from "../contracts/index.ts";

/** The words that `ps` has for runs on one machine too. */
export type RunStatus = "running" | "succeeded" | "failed" | "cancelled" | "timed-out";

export interface CloudRun {
  runId: string;
  executionArn: string;
  status: RunStatus;
  startedAt: Date;
  stoppedAt?: Date;
}

/** An event of Step Functions' history as JSON has it: times are text. */
export type RunEvent = Omit<HistoryEvent, "timestamp"> & { timestamp: string };

const STATUS: Record<ExecutionStatus, RunStatus> = {
  RUNNING: "running",
  PENDING_REDRIVE: "running",
  SUCCEEDED: "succeeded",
  FAILED: "failed",
  ABORTED: "cancelled",
  TIMED_OUT: "timed-out",
};

/** Step Functions lists an account's executions of 90 days; nobody reads so many. */
const MOST_LISTED = 1_000;

const runOf = (execution: ExecutionListItem): CloudRun => ({
  runId: execution.name!,
  executionArn: execution.executionArn!,
  status: STATUS[execution.status!],
  startedAt: execution.startDate!,
  ...(execution.stopDate ? { stoppedAt: execution.stopDate } : {}),
});

export class CloudRuns {
  private readonly stateMachineArn: string;
  private readonly client: SFNClient;

  constructor(stateMachineArn: string, client: SFNClient = new SFNClient({})) {
    this.stateMachineArn = stateMachineArn;
    this.client = client;
  }

  /** The latest first. */
  async list(most = MOST_LISTED): Promise<CloudRun[]> {
    const runs: CloudRun[] = [];
    const pages = paginateListExecutions({ client: this.client }, { stateMachineArn: this.stateMachineArn });
    for await (const { executions } of pages) {
      runs.push(...(executions ?? []).map(runOf));
      if (runs.length >= most) break;
    }
    return runs.sort((a, b) => b.startedAt.getTime() - a.startedAt.getTime()).slice(0, most);
  }

  /**
   * The run that a person means: a whole name, a part that only one run has, or nothing for the latest.
   *
   * @throws VoxelburstError RunNotFound or RunAmbiguous
   */
  async find(wanted: string | undefined): Promise<CloudRun> {
    const all = await this.list();
    if (wanted === undefined) {
      if (all[0]) return all[0];
      throw new VoxelburstError(
        "RunNotFound",
        "There is no run yet.",
        "Start one with `voxelburst run DATASET --on aws`.",
      );
    }
    const exact = all.find(({ runId }) => runId === wanted);
    if (exact) return exact;
    const matching = all.filter(({ runId }) => runId.includes(wanted));
    if (matching.length === 1) return matching[0]!;
    if (matching.length > 1)
      throw new VoxelburstError(
        "RunAmbiguous",
        `${wanted} is a part of ${matching.length} runs' names: ${matching
          .slice(0, 4)
          .map(({ runId }) => runId)
          .join(", ")}.`,
        "Write more of the name.",
        { got: wanted },
      );
    throw new VoxelburstError("RunNotFound", `There is no run ${wanted}.`, "`voxelburst ps --on aws` lists the runs.", {
      got: wanted,
    });
  }

  async status(run: CloudRun): Promise<CloudRun> {
    const found = await this.client.send(new DescribeExecutionCommand({ executionArn: run.executionArn }));
    return {
      ...run,
      status: STATUS[found.status!],
      ...(found.stopDate ? { stoppedAt: found.stopDate } : {}),
    };
  }

  /** From the first event on. Events are numbered, so that a caller that has seen n of them leaves those out. */
  async history(run: CloudRun): Promise<RunEvent[]> {
    const events: RunEvent[] = [];
    const pages = paginateGetExecutionHistory(
      { client: this.client },
      { executionArn: run.executionArn, includeExecutionData: true, maxResults: 1_000 },
    );
    for await (const page of pages)
      for (const event of page.events ?? []) events.push({ ...event, timestamp: event.timestamp!.toISOString() });
    return events;
  }

  async stop(run: CloudRun): Promise<void> {
    await this.client.send(
      new StopExecutionCommand({
        executionArn: run.executionArn,
        error: "RunCancelled",
        cause: "cancelled by a person (voxelburst cancel)",
      }),
    );
  }
}
