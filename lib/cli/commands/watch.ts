// voxelburst watch [RUN]: shows a run that another process conducts, from its history and progress on disk.
import { setTimeout as wait } from "node:timers/promises";
import { findRun } from "../../local/run-folder.ts";
import type { CommandContext, CommandResult } from "../command.ts";
import { showRun, viewOf } from "../conduct.ts";
import { EXIT } from "../exit-codes.ts";
import { note } from "../messages.ts";
import type { RunView } from "../run-view.ts";

const LOOK_MS = 400;

export async function watch(context: CommandContext, wanted: string | undefined): Promise<CommandResult> {
  const { workbench, emit, signal } = context;
  const folder = findRun(workbench.home, wanted);
  const { runId } = folder;
  emit(note("RunWatched", `run ${runId}`));
  const view: RunView = viewOf(workbench, { runId });
  const history = folder.tailHistory();
  const progress = folder.tailProgress();
  for (;;) {
    // The status first: what was written before it ended is then read below.
    const status = folder.status();
    for (const event of history.next()) view.onHistory(event);
    for (const event of progress.next()) view.onProgress(event);
    emit({ kind: "progress", view });
    if (status !== "running" || signal.aborted) {
      emit({ kind: "progress-ended", view });
      if (status === "running") {
        emit(note("StillRunning", `run ${runId} goes on without this watch`));
        return showRun(context, runId, "running", "open").then((end) => ({ ...end, exitCode: EXIT.cancelled }));
      }
      return end(context, runId, status);
    }
    await wait(LOOK_MS, undefined, { signal }).catch(() => undefined);
  }
}

async function end(context: CommandContext, runId: string, status: string): Promise<CommandResult> {
  if (status === "succeeded") return showRun(context, runId, "succeeded", "succeeded");
  if (status === "failed" || status === "timed-out") {
    const report = await context.workbench.report(runId);
    return showRun(context, runId, report?.status === "refused" ? "refused" : "failed", status);
  }
  const words = status === "cancelled" ? "was cancelled" : "was cut off: its process has ended";
  context.emit(note("RunStopped", `run ${runId} ${words}; \`voxelburst resume ${runId}\` goes on`));
  return showRun(context, runId, status === "cancelled" ? "cancelled" : "interrupted", status);
}
