// voxelburst logs [RUN] [STAGE] --on aws: what the jobs of a run have said, and why its functions failed.
import { type Cloud, openCloud } from "../../../aws/cloud.ts";
import { jobsOf, type LogStream } from "../../../aws/jobs.ts";
import type { RunEvent } from "../../../aws/runs.ts";
import type { CommandContext, CommandResult } from "../../command.ts";
import { EXIT } from "../../exit-codes.ts";
import { note } from "../../messages.ts";
import { stageAndRun } from "../logs.ts";

export async function logs(
  { emit }: CommandContext,
  first: string | undefined,
  second: string | undefined,
): Promise<CommandResult> {
  const { wanted, stage } = stageAndRun(first, second);
  const cloud = await openCloud();
  const run = await cloud.runs.find(wanted);
  const events = await cloud.runs.history(run);
  const shown: string[] = [];
  for (const job of jobsOf(events).filter((one) => stage === undefined || one.stage === stage))
    for (const stream of await resolved(cloud, await cloud.jobs.streams(job))) {
      const title = `${job.name}${stream.index === undefined ? "" : ` (${stream.index})`}`;
      const lines = await cloud.logs.next(stream);
      // Progress is a line twice a second: the bars have shown it.
      const said = lines
        .map(({ text }) => text)
        .filter((text) => text !== "" && !text.startsWith('{"type": "progress"'));
      shown.push(`${stream.group}/${stream.stream}`);
      emit(note("Log", `==> ${title}\n${said.join("\n")}\n`));
    }
  const failures = functionFailures(events).filter((one) => stage === undefined || one.stage === stage);
  for (const failure of failures) emit(note("Log", `==> ${failure.stage} (a function)\n${failure.cause}\n`));
  if (shown.length === 0 && failures.length === 0)
    emit(
      note(
        "NoLogs",
        `run ${run.runId} has no log${stage ? ` of ${stage}` : ""}: nothing of it has started, or Batch has forgotten it`,
      ),
    );
  return { exitCode: EXIT.done, json: { runId: run.runId, logs: shown, failures } };
}

async function resolved(cloud: Cloud, streams: readonly LogStream[]): Promise<LogStream[]> {
  const found: LogStream[] = [];
  for (const stream of streams) found.push(...(await cloud.logs.resolve(stream)));
  return found;
}

/** plan and report are functions: the history has what they threw. */
function functionFailures(events: readonly RunEvent[]): { stage: string; cause: string }[] {
  const state = new Map<number, string>();
  const failures: { stage: string; cause: string }[] = [];
  for (const event of events) {
    const name = event.stateEnteredEventDetails?.name ?? state.get(event.previousEventId ?? 0);
    if (name) state.set(event.id!, name);
    const failed = event.type === "TaskFailed" ? event.taskFailedEventDetails : undefined;
    if (failed?.resourceType === "lambda" && name)
      failures.push({ stage: name.toLowerCase(), cause: `${failed.error}: ${failed.cause ?? ""}` });
  }
  return failures;
}
