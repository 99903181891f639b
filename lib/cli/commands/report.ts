// voxelburst report [RUN]: the table of a run and where its report lies.
import { spawn } from "node:child_process";
import { VoxelburstError } from "../../contracts/index.ts";
import { findRun } from "../../local/run-folder.ts";
import type { CommandContext, CommandResult } from "../command.ts";
import { showRun } from "../conduct.ts";
import { EXIT } from "../exit-codes.ts";
import { warning } from "../messages.ts";

export async function report(
  context: CommandContext,
  wanted: string | undefined,
  options: { open?: boolean },
): Promise<CommandResult> {
  const folder = findRun(context.workbench.home, wanted);
  const document = await context.workbench.report(folder.runId);
  if (!document)
    throw new VoxelburstError(
      "ReportMissing",
      `Run ${folder.runId} has no report yet; it is ${folder.status()}.`,
      `\`voxelburst watch ${folder.runId}\` shows it, \`voxelburst resume ${folder.runId}\` goes on with it.`,
    );
  const shown = await showRun(context, folder.runId, document.status, folder.status());
  const { html } = shown.json as { html: string };
  if (options.open)
    spawn("xdg-open", [html], { detached: true, stdio: "ignore" })
      .once("error", () => context.emit(warning("BrowserMissing", "there is no xdg-open here: open the file yourself")))
      .unref();
  // Reading the report of a run that failed is not a failure.
  return { ...shown, exitCode: EXIT.done };
}
