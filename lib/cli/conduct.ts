// Conducts a claimed run in front of a person: progress while it works, the plan once it is made, the report at the end.
import {
  type ErrorDocument,
  keys,
  plan as planSchema,
  type Report,
  type RunRequest,
  readJson,
  under,
  VoxelburstError,
} from "../contracts/index.ts";
import type { ExecutionResult, HistoryEvent } from "../local/asl/index.ts";
import type { ClaimedRun } from "../local/executions.ts";
import { fromDocument } from "../local/stage-command.ts";
import type { Workbench } from "../local/workbench.ts";
import type { CommandContext, CommandResult } from "./command.ts";
import { EXIT, exitCodeOf } from "./exit-codes.ts";
import { note } from "./messages.ts";
import { emitPlan, emitReport, type RunStatusName, resultOf } from "./run-output.ts";
import { RunView } from "./run-view.ts";

/** How often the clocks on the bars move when nothing else happens. */
const TICK_MS = 500;

/** A view of a run that knows how many cases each of its tasks has. */
export function viewOf(workbench: Workbench, request: Pick<RunRequest, "runId">): RunView {
  const known = new Map<string, number>();
  return new RunView({ runId: request.runId, casesOf: (taskId) => known.get(taskId) ?? count(taskId) });

  function count(taskId: string): number | undefined {
    const cases = workbench.countLines(keys.taskCases(request.runId, taskId));
    if (cases !== undefined) known.set(taskId, cases);
    return cases;
  }
}

export interface Conducted {
  execution: ExecutionResult;
  /** Error documents of stages and lambdas, in the order in which they came. */
  errors: ErrorDocument[];
}

/** @throws VoxelburstError when the engine itself fails; the run can then be resumed */
export async function conductWithProgress(context: CommandContext, claimed: ClaimedRun): Promise<Conducted> {
  const { emit, workbench, signal } = context;
  const view = viewOf(workbench, claimed.request);
  for (const event of claimed.history) view.onHistory(event);
  const tick = setInterval(() => emit({ kind: "progress", view }), TICK_MS);
  const errors: ErrorDocument[] = [];
  let planShown: Promise<void> = Promise.resolve();
  try {
    const execution = await workbench.conduct(
      claimed,
      {
        onHistory(event) {
          view.onHistory(event);
          emit({ kind: "progress", view });
          // Before training: this is where the hours go, and where a person may still say no.
          if (isPlanned(event)) planShown = showPlan(context, claimed.request);
        },
        onProgress(event) {
          view.onProgress(event);
          emit({ kind: "progress", view });
        },
        onError: (error) => errors.push(error),
        onNotice: () => undefined, // the report's own words follow
      },
      signal,
      context.faults,
    );
    return { execution, errors };
  } finally {
    clearInterval(tick);
    emit({ kind: "progress-ended", view });
    await planShown;
  }
}

/** Conducts a whole run and shows how it ends. */
export async function conductAndShow(
  context: CommandContext,
  claimed: ClaimedRun,
  outcome: string,
): Promise<CommandResult> {
  const { emit, workbench } = context;
  const { runId } = claimed.request;
  const conducted = await conductWithProgress(context, claimed);
  const { status } = conducted.execution;
  if (status === "ABORTED") {
    emit(note("RunCancelled", `cancelled; \`voxelburst resume ${runId}\` goes on from here`));
    const { result } = await resultOf(workbench, runId, "cancelled", outcome);
    return { exitCode: EXIT.cancelled, json: result };
  }
  if (status === "SUCCEEDED") return showRun(context, runId, "succeeded", outcome);
  const report = await workbench.report(runId);
  return showRun(context, runId, report?.status === "refused" ? "refused" : "failed", outcome, conducted);
}

const isPlanned = (event: HistoryEvent) =>
  event.type === "TaskStateExited" && event.stateExitedEventDetails?.name === "Plan";

async function showPlan({ workbench, emit }: CommandContext, request: RunRequest): Promise<void> {
  const uri = under(request.artefactsUri, keys.plan(request.runId));
  if (await workbench.store.exists(uri)) emitPlan(await readJson(workbench.store, uri, planSchema), emit);
}

/** The end of a run, now or long ago. */
export async function showRun(
  context: CommandContext,
  runId: string,
  status: RunStatusName,
  outcome: string,
  conducted?: Conducted,
): Promise<CommandResult> {
  const { emit, workbench } = context;
  const { result, report } = await resultOf(workbench, runId, status, outcome);
  if (report) emitReport(report, result, emit);
  if (status === "cancelled") return { exitCode: EXIT.cancelled, json: result };
  if (status !== "failed" && status !== "refused") return { exitCode: EXIT.done, json: result };
  const error = failureOf(report, conducted);
  emit({ kind: "error", code: error.code, text: error.message, remedy: error.remedy });
  return { exitCode: exitCodeOf(error.code), json: { ...result, error: error.toDocument() } };
}

/** Why a run failed: the first error of its report or of its stages, or how its execution ended. */
export function failureOf(report: Report | undefined, conducted: Conducted | undefined): VoxelburstError {
  const first = report?.errors[0] ?? conducted?.errors[0];
  if (first) return fromDocument(first);
  const { status, error, cause } = conducted?.execution ?? {};
  return new VoxelburstError(
    status === "TIMED_OUT" ? "RunTimedOut" : "RunFailed",
    cause ? `${error}: ${firstLine(cause)}` : "The run failed before it could report.",
    "`voxelburst logs` shows what its stages said; `voxelburst resume` tries again.",
  );
}

const firstLine = (text: string) => text.split("\n")[0]!.slice(0, 300);
