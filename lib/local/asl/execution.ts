// Starts an execution, or continues one from its history.
import { conduct } from "./conduct.ts";
import type { StateMachine } from "./definition.ts";
import { StatesError, TaskAbort } from "./errors.ts";
import type { HistoryEvent } from "./history-event.ts";
import { Journal, OrderedSink, type Sink } from "./journal.ts";
import { exceedsPayloadLimit, type Json } from "./json.ts";
import { type Clock, type ItemReaderPort, systemClock, type TaskRunner } from "./ports.ts";
import { restoreHistory } from "./restore.ts";
import { linkedController, type Run } from "./scope.ts";
import { validateDefinition } from "./validate-definition.ts";

export interface StateMachineIdentity {
  arn: string;
  name: string;
  roleArn?: string;
}

export interface ExecutionRequest {
  definition: unknown;
  /** Ignored when a history is given: that has its own. */
  input: Json;
  /** Of the execution. */
  name: string;
  /** @default an ARN of this name in the state machine's account and region */
  arn?: string;
  /** @default arn:aws:states:us-east-1:000000000000:stateMachine:local, role absent */
  stateMachine?: StateMachineIdentity;
  tasks: TaskRunner;
  s3: ItemReaderPort;
  /** @default the machine's */
  clock?: Clock;
  /** Gets every event in order, and the next only after it resolved. */
  sink: Sink;
  /** Of an execution that failed, was stopped, or was cut off anywhere: it is continued, like a redrive. */
  history?: readonly HistoryEvent[];
  /** Aborting it ends the execution as ABORTED. A StatesError as its reason names error and cause. */
  signal?: AbortSignal;
}

export interface ExecutionResult {
  status: "SUCCEEDED" | "FAILED" | "TIMED_OUT" | "ABORTED";
  output?: Json;
  error?: string;
  cause?: string;
}

const LOCAL_MACHINE: StateMachineIdentity = {
  arn: "arn:aws:states:us-east-1:000000000000:stateMachine:local",
  name: "local",
};

/**
 * Runs a state machine as AWS Step Functions would.
 * @throws AslDefinitionError before anything starts, naming what the interpreter does not support
 * @throws RangeError when the input exceeds 256 KiB
 * @throws Error what the sink throws; the history so far can be continued
 */
export async function runExecution(request: ExecutionRequest): Promise<ExecutionResult> {
  const definition: StateMachine = validateDefinition(request.definition);
  if (exceedsPayloadLimit(JSON.stringify(request.input)))
    throw new RangeError("The input of an execution may be 256 KiB at most: pass the key of an object instead.");
  const clock = request.clock ?? systemClock;
  const machine = request.stateMachine ?? LOCAL_MACHINE;
  const arn = request.arn ?? `${machine.arn.replace(":stateMachine:", ":execution:")}:${request.name}`;
  const restored = request.history?.length ? restoreHistory(definition, request.history) : undefined;
  const ended = restored?.execution.ended;
  if (ended) return ended;
  const input = restored?.execution.input ?? request.input;
  const redriveCount = restored ? restored.execution.redriveCount + 1 : 0;
  const startTime = restored?.execution.startTime ?? clock.now().toISOString();
  const sink = new OrderedSink(request.sink);
  const run: Run = {
    arn,
    region: machine.arn.split(":")[3] || "us-east-1",
    context: {
      Execution: {
        Id: arn,
        Input: input,
        Name: request.name,
        ...(machine.roleArn === undefined ? {} : { RoleArn: machine.roleArn }),
        StartTime: startTime,
        RedriveCount: redriveCount,
        ...(restored ? { RedriveTime: clock.now().toISOString() } : {}),
      },
      StateMachine: { Id: machine.arn, Name: machine.name },
    },
    redriveCount,
    journal: new Journal({ sink, clock, lastId: restored?.execution.lastId ?? 0 }),
    sink,
    tasks: request.tasks,
    s3: request.s3,
    clock,
    stopping: new Set(),
    children: restored?.children ?? new Map(),
  };
  const stop = stopController(request.signal);
  const timer = new AbortController();
  const { controller, release } = linkedController(stop.controller.signal);
  if (definition.TimeoutSeconds !== undefined)
    clock.sleep(definition.TimeoutSeconds * 1000, timer.signal).then(() => {
      if (!timer.signal.aborted) controller.abort(new TaskAbort("execution-timeout"));
    });
  try {
    return await conduct(run, definition, input, {
      signal: controller.signal,
      path: [],
      ...(machine.roleArn === undefined ? {} : { roleArn: machine.roleArn }),
      ...(restored ? { restored: restored.execution } : {}),
    });
  } finally {
    timer.abort();
    release();
    stop.release();
    // Tasks that a failed sibling stopped may still be ending, also where the failure was caught.
    await Promise.allSettled(run.stopping);
  }
}

/** The caller's signal with a reason that tasks understand. */
function stopController(signal: AbortSignal | undefined): { controller: AbortController; release: () => void } {
  const controller = new AbortController();
  const stop = () => {
    const given: unknown = signal?.reason;
    const { error, cause } = given instanceof StatesError ? given : new StatesError();
    controller.abort(new TaskAbort("stopped", error, cause));
  };
  if (signal?.aborted) stop();
  else signal?.addEventListener("abort", stop, { once: true });
  return { controller, release: () => signal?.removeEventListener("abort", stop) };
}
