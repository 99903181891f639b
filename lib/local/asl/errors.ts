// The errors of the States Language, and what tells a task why it was told to stop.

/**
 * A failure as Step Functions knows it: matched by its name in Retry and Catch.
 * A task runner throws it to fail its task. Error and Cause may both be absent (a Fail state may give neither).
 */
export class StatesError extends Error {
  readonly error: string | undefined;
  override readonly cause: string | undefined;

  constructor(error?: string, cause?: string) {
    super(cause ?? error ?? "The state failed without an error name.");
    this.name = "StatesError";
    this.error = error;
    this.cause = cause;
  }
}

export const ERROR = {
  all: "States.ALL",
  dataLimitExceeded: "States.DataLimitExceeded",
  exceedToleratedFailureThreshold: "States.ExceedToleratedFailureThreshold",
  itemReaderFailed: "States.ItemReaderFailed",
  noChoiceMatched: "States.NoChoiceMatched",
  queryEvaluation: "States.QueryEvaluationError",
  runtime: "States.Runtime",
  taskFailed: "States.TaskFailed",
  timeout: "States.Timeout",
} as const;

export type AbortKind =
  /** The execution was stopped: the caller's signal. */
  | "stopped"
  /** Another branch, iteration or child failed and took this one with it. */
  | "sibling-failed"
  /** TimeoutSeconds of the state. */
  | "state-timeout"
  /** TimeoutSeconds of the state machine. */
  | "execution-timeout";

/**
 * The reason of the AbortSignal that a task gets. On AWS a timeout does not stop a `.sync` job, an abort does:
 * `stopsJob` says which of the two this is.
 */
export class TaskAbort extends Error {
  readonly kind: AbortKind;
  readonly stopsJob: boolean;
  readonly error: string | undefined;
  override readonly cause: string | undefined;

  constructor(kind: AbortKind, error?: string, cause?: string) {
    super(`The task is no longer wanted: ${kind}.`);
    this.name = "TaskAbort";
    this.kind = kind;
    this.stopsJob = kind === "stopped" || kind === "sibling-failed";
    this.error = error;
    this.cause = cause;
  }
}
