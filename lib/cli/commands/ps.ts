// voxelburst ps: the runs of this folder.
import { RunFolder, runIds } from "../../local/run-folder.ts";
import type { CommandContext, CommandResult } from "../command.ts";
import { EXIT } from "../exit-codes.ts";
import { duration, type Table } from "../format.ts";
import { note } from "../messages.ts";

export async function ps({ workbench, emit }: CommandContext): Promise<CommandResult> {
  const runs = runIds(workbench.home)
    .map((runId) => {
      const folder = new RunFolder(workbench.home, runId);
      const history = folder.history();
      const [first, last] = [history[0]?.timestamp, history.at(-1)?.timestamp];
      const status = folder.status();
      const until = status === "running" ? Date.now() : Date.parse(last ?? "");
      return {
        runId,
        status,
        startedAt: first ?? null,
        seconds: first ? Math.max(0, Math.round((until - Date.parse(first)) / 1000)) : null,
      };
    })
    .sort((a, b) => ((a.startedAt ?? "") < (b.startedAt ?? "") ? 1 : -1));
  if (runs.length === 0) emit(note("NoRuns", "there is no run yet; `voxelburst run DATASET` starts one"));
  else emit({ kind: "table", code: "Runs", table: runsTable(runs) });
  return { exitCode: EXIT.done, json: { runs } };
}

export interface ListedRun {
  runId: string;
  status: string;
  startedAt: string | null;
  seconds: number | null;
}

export const runsTable = (runs: readonly ListedRun[]): Table => ({
  columns: [{ title: "run" }, { title: "status" }, { title: "started" }, { title: "time", align: "right" }],
  rows: runs.map((run) => [
    run.runId,
    run.status,
    run.startedAt?.replace("T", " ").slice(0, 16) ?? "-",
    run.seconds === null ? "-" : duration(run.seconds),
  ]),
});
