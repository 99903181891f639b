// One execution from its first event to its last: the root, or a child of a distributed Map.
import type { Program } from "./definition.ts";
import { ERROR, StatesError, TaskAbort } from "./errors.ts";
import { failureDetails, text } from "./history-event.ts";
import type { Json } from "./json.ts";
import type { Iteration } from "./ports.ts";
import { runProgram } from "./program.ts";
import type { RestoredExecution } from "./restored.ts";
import { type Run, Scope } from "./scope.ts";

export type Outcome =
  | { status: "SUCCEEDED"; output: Json }
  | { status: "FAILED" | "TIMED_OUT" | "ABORTED"; error?: string; cause?: string };

/** @throws only what is no outcome of a workflow: a sink that failed, a fault of the interpreter */
export async function conduct(
  run: Run,
  program: Program,
  input: Json,
  options: { signal: AbortSignal; path: readonly Iteration[]; roleArn?: string; restored?: RestoredExecution },
): Promise<Outcome> {
  const { restored } = options;
  const scope = new Scope({
    run,
    signal: options.signal,
    path: options.path,
    variables: restored?.root.variables ?? {},
    lastEventId: restored?.root.lastEventId ?? 0,
  });
  if (restored)
    await run.journal.record("ExecutionRedriven", run.journal.lastId, {
      executionRedrivenEventDetails: { redriveCount: run.redriveCount },
    });
  else
    await run.journal.record("ExecutionStarted", 0, {
      executionStartedEventDetails: {
        input: text(input),
        inputDetails: { truncated: false },
        ...(options.roleArn === undefined ? {} : { roleArn: options.roleArn }),
      },
    });
  try {
    const output = await runProgram(program, scope, input, restored?.root);
    await scope.record("ExecutionSucceeded", {
      executionSucceededEventDetails: { output: text(output), outputDetails: { truncated: false } },
    });
    return { status: "SUCCEEDED", output };
  } catch (thrown) {
    if (thrown instanceof StatesError) {
      const failure = failureDetails(thrown.error, thrown.cause);
      await scope.record("ExecutionFailed", { executionFailedEventDetails: failure });
      return { status: "FAILED", ...failure };
    }
    if (!(thrown instanceof TaskAbort)) throw thrown;
    if (thrown.kind === "execution-timeout" && options.path.length === 0) {
      // DescribeExecution gives no error for it: only this event does.
      await scope.record("ExecutionTimedOut", {
        executionTimedOutEventDetails: failureDetails(ERROR.timeout, undefined),
      });
      return { status: "TIMED_OUT" };
    }
    // The end is told only once nothing runs any more: whoever reads it may delete files or start again.
    await Promise.allSettled(run.stopping);
    const failure = thrown.kind === "stopped" ? failureDetails(thrown.error, thrown.cause) : {};
    await scope.record("ExecutionAborted", { executionAbortedEventDetails: failure });
    return { status: "ABORTED", ...failure };
  }
}
