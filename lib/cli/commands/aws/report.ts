// voxelburst report [RUN] --on aws: the table of a run, and where its report lies.
import { openCloud, reportOf } from "../../../aws/cloud.ts";
import { VoxelburstError } from "../../../contracts/index.ts";
import type { CommandContext, CommandResult } from "../../command.ts";
import { EXIT } from "../../exit-codes.ts";
import { showCloudRun } from "./show-run.ts";

export async function report(context: CommandContext, wanted: string | undefined): Promise<CommandResult> {
  const cloud = await openCloud();
  const run = await cloud.runs.find(wanted);
  if (!(await reportOf(cloud, run.runId)))
    throw new VoxelburstError(
      "ReportMissing",
      `Run ${run.runId} has no report yet; it is ${run.status}.`,
      `\`voxelburst watch ${run.runId} --on aws\` shows it.`,
    );
  // Reading the report of a run that failed is not a failure.
  return { ...(await showCloudRun(context, cloud, run, run.status)), exitCode: EXIT.done };
}
