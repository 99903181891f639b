// voxelburst cost [RUN] --on aws: what a run cost and may still cost, and how much of the month is used.
import { openCloud } from "../../../aws/cloud.ts";
import type { CommandContext, CommandResult } from "../../command.ts";
import { EXIT } from "../../exit-codes.ts";
import { usd } from "../../format.ts";
import { note } from "../../messages.ts";

export async function cost({ emit }: CommandContext, wanted: string | undefined): Promise<CommandResult> {
  const { runs, costs } = await openCloud();
  const run = await runs.find(wanted);
  const stages = await costs.ofRun(run.runId);
  const month = new Date().toISOString().slice(0, 7);
  const committedUsd = await costs.committedUsd(month);
  const total = (of: "spentUsd" | "heldUsd") => stages.reduce((sum, stage) => sum + stage[of], 0);
  emit({
    kind: "table",
    code: "Costs",
    title: `${run.runId} (${run.status})`,
    table: {
      columns: [
        { title: "task" },
        { title: "rung" },
        { title: "instance type" },
        { title: "spent", align: "right" },
        { title: "held", align: "right" },
      ],
      rows: [
        ...stages.map((stage) => [
          stage.taskId,
          stage.rung,
          stage.instanceType,
          usd(stage.spentUsd),
          usd(stage.heldUsd),
        ]),
        ["all", "", "", usd(total("spentUsd")), usd(total("heldUsd"))],
      ],
    },
  });
  emit(
    note(
      "Month",
      `${month}: ${usd(committedUsd)} spent or held by all runs; held is the most that a job may still cost`,
    ),
  );
  return {
    exitCode: EXIT.done,
    json: { runId: run.runId, stages, spentUsd: total("spentUsd"), heldUsd: total("heldUsd"), month, committedUsd },
  };
}
