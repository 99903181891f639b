// voxelburst cancel RUN: ends a run that another process conducts here, as Ctrl-C in its terminal would.
import { setTimeout as wait } from "node:timers/promises";
import { findRun } from "../../local/run-folder.ts";
import { RunLock } from "../../local/run-lock.ts";
import type { CommandContext, CommandResult } from "../command.ts";
import { EXIT } from "../exit-codes.ts";
import { note } from "../messages.ts";

const LOOK_MS = 200;

export async function cancel({ workbench, emit, signal }: CommandContext, wanted: string): Promise<CommandResult> {
  const folder = findRun(workbench.home, wanted);
  const { runId } = folder;
  const holder = RunLock.holder(folder.folder);
  if (!holder) {
    const status = folder.status();
    emit(note("RunNotRunning", `run ${runId} is ${status}: there is nothing to cancel`));
    return { exitCode: EXIT.done, json: { runId, status } };
  }
  process.kill(holder.pid, "SIGINT");
  emit(note("Cancelling", `run ${runId} is told to end; what runs may write its checkpoint`));
  while (RunLock.holder(folder.folder) && !signal.aborted) await wait(LOOK_MS);
  const status = folder.status();
  emit(note("RunCancelled", `run ${runId} is ${status}; \`voxelburst resume ${runId}\` goes on from here`));
  return { exitCode: EXIT.done, json: { runId, status } };
}
