// voxelburst cost [RUN]: on one machine a run costs nothing; what its minutes would have cost, stage by stage.
import { VoxelburstError } from "../../contracts/index.ts";
import { findRun } from "../../local/run-folder.ts";
import type { CommandContext, CommandResult } from "../command.ts";
import { EXIT } from "../exit-codes.ts";
import { duration, usd } from "../format.ts";

export async function cost({ workbench, emit }: CommandContext, wanted: string | undefined): Promise<CommandResult> {
  const { runId } = findRun(workbench.home, wanted);
  const report = await workbench.report(runId);
  if (!report)
    throw new VoxelburstError(
      "ReportMissing",
      `Run ${runId} has no report yet, and so no dollars.`,
      `\`voxelburst watch ${runId}\` shows it.`,
    );
  const { pricedAs, stages, equivalentUsd } = report;
  emit({
    kind: "table",
    code: "Costs",
    title: pricedAs
      ? `${runId}: the equivalent at ${usd(pricedAs.usdPerHour)} an hour of ${pricedAs.instanceType}, ${pricedAs.date}`
      : runId,
    table: {
      columns: [{ title: "stage" }, { title: "time", align: "right" }, { title: "equivalent", align: "right" }],
      rows: [
        ...stages.map((stage) => [stage.stage, duration(stage.seconds), usd(stage.equivalentUsd)]),
        ["all", duration(report.runningSeconds ?? 0), usd(equivalentUsd)],
      ],
    },
  });
  return { exitCode: EXIT.done, json: { runId, usd: report.usd, equivalentUsd, pricedAs: pricedAs ?? null, stages } };
}
