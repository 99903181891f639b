// voxelburst plan DATASET: ingests and plans, and says what a run would do, take and cost.
import { keys, plan as planSchema, readJson, under, VoxelburstError } from "../../contracts/index.ts";
import type { CommandContext, CommandResult } from "../command.ts";
import { conductWithProgress, failureOf } from "../conduct.ts";
import { EXIT, exitCodeOf } from "../exit-codes.ts";
import { emitPlan } from "../run-output.ts";
import { datasetOptions, type RunOptions } from "./run.ts";

export async function plan(
  context: CommandContext,
  dataset: string,
  options: Pick<RunOptions, "recipe" | "set">,
): Promise<CommandResult> {
  const { workbench, emit } = context;
  const begun = await workbench.beginUntil("Plan", dataset, datasetOptions(options));
  let isShown = false;
  if (begun.claimed) {
    const conducted = await conductWithProgress(context, begun.claimed);
    if (conducted.execution.status === "ABORTED") return { exitCode: EXIT.cancelled, json: { status: "cancelled" } };
    if (conducted.execution.status !== "SUCCEEDED") throw failureOf(undefined, conducted);
    isShown = true;
  }
  const { runId, artefactsUri } = begun.request;
  const planned = await readJson(workbench.store, under(artefactsUri, keys.plan(runId)), planSchema);
  if (!isShown) emitPlan(planned, emit);
  const file = workbench.pathOf(keys.plan(runId));
  if (!planned.refusal) return { exitCode: EXIT.done, json: { status: "go", file, plan: planned } };
  const { code, message, remedy } = planned.refusal;
  emit({ kind: "error", code, text: message, remedy });
  const error = new VoxelburstError(code, message, remedy).toDocument();
  return { exitCode: exitCodeOf(code), json: { status: "no-go", file, plan: planned, error } };
}
