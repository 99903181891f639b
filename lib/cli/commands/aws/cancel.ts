// voxelburst cancel RUN --on aws: stops the execution and whatever of it still runs.
import { openCloud } from "../../../aws/cloud.ts";
import { jobsOf } from "../../../aws/jobs.ts";
import type { CommandContext, CommandResult } from "../../command.ts";
import { EXIT } from "../../exit-codes.ts";
import { plural } from "../../format.ts";
import { note } from "../../messages.ts";

export async function cancel({ emit }: CommandContext, wanted: string): Promise<CommandResult> {
  const cloud = await openCloud();
  const run = await cloud.runs.find(wanted);
  const wasRunning = run.status === "running";
  if (wasRunning) await cloud.runs.stop(run);
  // Also of a run that is over: a state that timed out has left its job behind.
  const stopped: string[] = [];
  for (const job of jobsOf(await cloud.runs.history(run))) if (await cloud.jobs.stop(job)) stopped.push(job.name);
  const words = wasRunning ? "is cancelled" : `was ${run.status} already`;
  emit(note("RunCancelled", `run ${run.runId} ${words}; ${plural(stopped.length, "job")} told to stop`));
  return {
    exitCode: EXIT.done,
    json: { runId: run.runId, status: wasRunning ? "cancelled" : run.status, stopped },
  };
}
