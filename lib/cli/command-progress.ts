// A Python command that belongs to no run, with its progress drawn like a run's task.
import type { StageName } from "../contracts/index.ts";
import { runStageCommand, type StageCommand } from "../local/stage-command.ts";
import type { CommandContext } from "./command.ts";
import { RunView } from "./run-view.ts";

/**
 * Runs `python -m voxelburst ARGS` and shows its progress.
 *
 * @param stage - what its progress events call it
 * @returns the last JSON object that it printed, an empty one if there is none
 */
export async function runWithProgress(
  { workbench, emit, signal }: CommandContext,
  stage: StageName,
  args: readonly [name: string, ...rest: string[]],
  listeners: Pick<StageCommand, "onObject" | "onProse"> = {},
): Promise<Record<string, unknown>> {
  const [name] = args;
  const view = new RunView({ runId: name });
  view.startTask(name, stage);
  let state: "succeeded" | "failed" = "failed";
  try {
    const printed = await runStageCommand({
      home: workbench.home,
      python: workbench.python,
      args,
      signal,
      onProgress(event) {
        view.onProgress({ ...event, taskId: name });
        emit({ kind: "progress", view });
      },
      ...listeners,
    });
    state = "succeeded";
    return printed.at(-1) ?? {};
  } finally {
    view.endTask(name, state);
    emit({ kind: "progress-ended", view });
  }
}
