// voxelburst resume [RUN]: goes on with a run that was killed, cancelled or failed. Finished stages are not redone.
import { keys, under, VoxelburstError } from "../../contracts/index.ts";
import { findRun } from "../../local/run-folder.ts";
import { folderPath } from "../../local/workbench.ts";
import type { CommandContext, CommandResult } from "../command.ts";
import { conductAndShow, showRun } from "../conduct.ts";
import { note } from "../messages.ts";
import { runBegun } from "./run.ts";

export async function resume(context: CommandContext, wanted: string | undefined): Promise<CommandResult> {
  const { workbench, emit } = context;
  const folder = findRun(workbench.home, wanted);
  const { runId } = folder;
  const status = folder.status();
  if (status === "succeeded") {
    emit(note("RunSucceeded", `run ${runId} has succeeded; there is nothing to resume`));
    return showRun(context, runId, "succeeded", "succeeded");
  }
  if (status === "running")
    throw new VoxelburstError(
      "RunStillRunning",
      `Run ${runId} is being conducted by another process.`,
      `Follow it with \`voxelburst watch ${runId}\`.`,
    );
  const request = await workbench.request(runId);
  const claimed = await workbench.continue(request);
  if (claimed) {
    emit(note("RunResumed", `run ${runId} goes on`));
    return conductAndShow(context, claimed, "redriven");
  }
  // It failed and has reported that, or the software has changed since: the next attempt skips what exists.
  const recipe = await workbench.store.get(under(request.artefactsUri, keys.recipe(runId)));
  const examined = await workbench.examine(folderPath(request.datasetUri), {
    recipe: { name: "the run's recipe", text: new TextDecoder().decode(recipe) },
    ...(request.nonce === undefined ? {} : { nonce: request.nonce }),
  });
  if (examined.identity !== request.identity)
    emit(
      note(
        "IdentityChanged",
        request.version === workbench.version
          ? "the dataset has changed since: this is another run"
          : `the software has changed since (${request.version} is now ${workbench.version}): this is another run`,
      ),
    );
  return runBegun(context, await workbench.begin(examined));
}
