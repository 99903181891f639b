// voxelburst ps --on aws: the runs of the deployment.
import { openCloud } from "../../../aws/cloud.ts";
import type { CommandContext, CommandResult } from "../../command.ts";
import { EXIT } from "../../exit-codes.ts";
import { note } from "../../messages.ts";
import { runsTable } from "../ps.ts";

/** More than a person reads; --json has as many. */
const SHOWN = 100;

export async function ps({ emit }: CommandContext): Promise<CommandResult> {
  const { runs } = await openCloud();
  const listed = (await runs.list(SHOWN)).map(({ runId, status, startedAt, stoppedAt }) => ({
    runId,
    status,
    startedAt: startedAt.toISOString(),
    seconds: Math.max(0, Math.round(((stoppedAt?.getTime() ?? Date.now()) - startedAt.getTime()) / 1000)),
  }));
  if (listed.length === 0)
    emit(note("NoRuns", "there is no run yet; `voxelburst run DATASET --on aws` uploads one and starts it"));
  else emit({ kind: "table", code: "Runs", table: runsTable(listed) });
  return { exitCode: EXIT.done, json: { runs: listed } };
}
