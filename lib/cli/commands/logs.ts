// voxelburst logs [RUN] [STAGE]: what the processes of a run have said.
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { stageName, VoxelburstError } from "../../contracts/index.ts";
import { isMissing } from "../../local/disk-error.ts";
import { findRun } from "../../local/run-folder.ts";
import type { CommandContext, CommandResult } from "../command.ts";
import { EXIT } from "../exit-codes.ts";
import { note } from "../messages.ts";

/**
 * One argument may be either: no run is called like a stage alone.
 *
 * @throws VoxelburstError UsageInvalid
 */
export function stageAndRun(first: string | undefined, second: string | undefined) {
  const isStage = second === undefined && stageName.safeParse(first).success;
  const [wanted, stage] = isStage ? [undefined, first] : [first, second];
  if (stage !== undefined && !stageName.safeParse(stage).success)
    throw new VoxelburstError(
      "UsageInvalid",
      `${stage} is no stage; allowed: ${stageName.options.join(", ")}.`,
      "Name a stage, or leave it out for all of them.",
    );
  return { wanted, stage };
}

export async function logs(
  { workbench, emit }: CommandContext,
  first: string | undefined,
  second: string | undefined,
): Promise<CommandResult> {
  const { wanted, stage } = stageAndRun(first, second);
  const folder = findRun(workbench.home, wanted);
  const files = logFiles(folder.logs).filter((name) => stage === undefined || name.startsWith(`${stage}-`));
  if (files.length === 0)
    emit(note("NoLogs", `run ${folder.runId} has no log${stage ? ` of ${stage}` : ""}: nothing of it has started`));
  const all = files.map((name) => ({ file: path.join(folder.logs, name), name }));
  for (const { file, name } of all) {
    // Progress is a line twice a second: the bars have shown it.
    const lines = readFileSync(file, "utf8").split("\n");
    const said = lines.filter((line) => line !== "" && !line.startsWith('{"type": "progress"'));
    emit(note("Log", `==> ${name}\n${said.join("\n")}\n`));
  }
  return { exitCode: EXIT.done, json: { runId: folder.runId, logs: all.map(({ file }) => file) } };
}

function logFiles(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith(".log"))
      .sort(new Intl.Collator("en", { numeric: true }).compare);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}
