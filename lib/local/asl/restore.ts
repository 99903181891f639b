// Reads a history back into what is finished, what failed and what was under way.
//
// Events name their predecessor, and so form one thread per scope: the root, each branch of a Parallel, each iteration
// of a Map. What was evaluated before (outputs, variables, the inputs of states) is taken from the events and never
// evaluated again.
import type { Program, State } from "./definition.ts";
import { detailsOf, type HistoryEvent, isTerminal, parseText } from "./history-event.ts";
import type { Json, JsonObject } from "./json.ts";
import { childOf } from "./map-run.ts";
import type { RecordedFailure, RestoredAttempt, RestoredExecution, RestoredScope, RestoredState } from "./restored.ts";

export interface Restored {
  execution: RestoredExecution;
  /** Children by map run and index. */
  children: Map<string, Map<number, RestoredExecution>>;
}

/**
 * @param events a whole history in the order of writing, whose end may be missing
 * @returns what it says; a failed or stopped execution comes back with its failed states as not yet tried
 * @throws Error when the events are no history of this program
 */
export function restoreHistory(program: Program, events: readonly HistoryEvent[]): Restored {
  const states = statesByName(program);
  const threads = new Map<string | undefined, HistoryEvent[]>();
  for (const event of events) {
    const own = threads.get(event.executionArn) ?? [];
    own.push(event);
    threads.set(event.executionArn, own);
  }
  const children = new Map<string, Map<number, RestoredExecution>>();
  for (const [arn, own] of threads) {
    const child = arn === undefined ? undefined : childOf(arn);
    if (!child) continue;
    const run = children.get(child.mapRunArn) ?? new Map<number, RestoredExecution>();
    run.set(child.index, new Reader(states, own).execution);
    children.set(child.mapRunArn, run);
  }
  const root = new Reader(states, threads.get(undefined) ?? []).execution;
  if (root.ended) redrive(root, children);
  return { execution: root, children };
}

/** State names are unique in a whole state machine. */
function statesByName(program: Program): Map<string, State> {
  const found = new Map<string, State>();
  const visit = ({ States }: Program) => {
    for (const [name, state] of Object.entries(States)) {
      found.set(name, state);
      if (state.ItemProcessor) visit(state.ItemProcessor);
      for (const branch of state.Branches ?? []) visit(branch);
    }
  };
  visit(program);
  return found;
}

/** Forgets an end and the failures that led to it, and keeps what succeeded. */
function redrive(execution: RestoredExecution, children: Restored["children"]): void {
  if (execution.ended?.status === "SUCCEEDED") return;
  delete execution.ended;
  forgetFailures(execution.root, children);
}

function forgetFailures(scope: RestoredScope, children: Restored["children"] | undefined): void {
  if (scope.ended === "succeeded") return;
  delete scope.ended;
  const { state } = scope;
  if (!state || state.exited) return;
  state.failureRecorded = false;
  const last = state.attempts.at(-1);
  if (!last || (last.startedId === 0 && (last.result === undefined || last.failure))) {
    state.attempts = [];
    return;
  }
  delete last.failure;
  state.attempts = [last];
  for (const inner of [...last.iterations.values(), ...last.branches.values()]) forgetFailures(inner, children);
  if (last.mapRun) {
    if (last.mapRun.ended) last.mapRun.redriven = true;
    last.mapRun.ended = false;
    for (const child of children?.get(last.mapRun.arn)?.values() ?? []) if (child.ended) redrive(child, children!);
  }
}

const ASIDE = /^((Map|Parallel)StateSucceeded|MapIteration(Succeeded|Failed|Aborted))$/;

/** A scope while its events are read. */
interface Thread extends RestoredScope {
  parent?: Thread;
  /** The last failure of any task or evaluation in it or below it. */
  lastFailure?: RecordedFailure;
}

class Reader {
  readonly execution: RestoredExecution;
  readonly #states: Map<string, State>;
  readonly #threadOf = new Map<number, Thread>();
  readonly #closing = new Set<number>();
  readonly #root: Thread = { variables: {}, lastEventId: 0 };

  constructor(states: Map<string, State>, events: readonly HistoryEvent[]) {
    this.#states = states;
    const first = events[0];
    if (first?.type !== "ExecutionStarted")
      throw new Error(`A history begins with ExecutionStarted, and this one with ${first?.type ?? "nothing"}.`);
    this.execution = {
      input: parseText(first.executionStartedEventDetails!.input),
      startTime: first.timestamp,
      root: this.#root,
      lastId: events.at(-1)!.id,
      redriveCount: 0,
    };
    this.#threadOf.set(0, this.#root);
    for (const event of events) this.#read(event);
  }

  #read(event: HistoryEvent): void {
    if (event.type.startsWith("Execution")) {
      this.#threadOf.set(event.id, this.#root);
      this.#readExecutionEvent(event);
      return;
    }
    const thread = this.#threadFor(event);
    this.#threadOf.set(event.id, thread);
    // A Succeeded of a Map or Parallel is not what its exit names as predecessor; and an iteration that is continued
    // after it had failed goes on from before its end.
    if (!ASIDE.test(event.type)) thread.lastEventId = event.id;
    if (event.type.endsWith("StateEntered")) this.#enter(thread, event);
    else if (event.type.endsWith("StateExited")) exit(thread, event);
    else this.#within(thread, event);
  }

  #readExecutionEvent(event: HistoryEvent): void {
    const { execution } = this;
    const failure = detailsOf(event) as { error?: string; cause?: string; output?: string };
    const status = { ExecutionSucceeded: "SUCCEEDED", ExecutionFailed: "FAILED", ExecutionTimedOut: "TIMED_OUT" }[
      event.type
    ] as "SUCCEEDED" | "FAILED" | "TIMED_OUT" | undefined;
    if (isTerminal(event.type))
      execution.ended = {
        status: status ?? "ABORTED",
        ...(failure.output === undefined ? {} : { output: parseText(failure.output) }),
        ...(failure.error === undefined ? {} : { error: failure.error }),
        ...(failure.cause === undefined ? {} : { cause: failure.cause }),
      };
    if (event.type === "ExecutionRedriven") {
      execution.redriveCount = event.executionRedrivenEventDetails!.redriveCount;
      if (execution.ended) {
        delete execution.ended;
        forgetFailures(this.#root, undefined);
      }
    }
  }

  #threadFor(event: HistoryEvent): Thread {
    const before = this.#threadOf.get(event.previousEventId);
    if (!before)
      throw new Error(`Event ${event.id} (${event.type}) follows event ${event.previousEventId}, which is missing.`);
    const { type } = event;
    if (type === "MapIterationStarted") {
      const outer = this.#closing.has(event.previousEventId) ? (before.parent ?? before) : before;
      return this.#open(outer, event.mapIterationStartedEventDetails!.index);
    }
    if (type.startsWith("MapIteration")) {
      this.#closing.add(event.id);
      return iterationOf(before, detailsOf(event) as { name?: string; index?: number }) ?? before;
    }
    if (type.endsWith("StateEntered")) return this.#threadEntering(before, event);
    const name = event.stateExitedEventDetails?.name ?? event.evaluationFailedEventDetails?.state;
    if (name !== undefined) return upwards(before, (thread) => thread.state?.entered.name === name);
    const closed = this.#closing.has(event.previousEventId) ? (before.parent ?? before) : before;
    const kind = /^(Map|Parallel)State/.exec(type)?.[1] ?? (type.startsWith("MapRun") ? "Map" : undefined);
    if (kind === undefined) return closed;
    return upwards(closed, ({ state }) => state?.type === kind && !state.exited && !state.failureRecorded);
  }

  #threadEntering(before: Thread, event: HistoryEvent): Thread {
    const attempt = before.state?.exited ? undefined : before.state?.attempts.at(-1);
    if (before.state?.type !== "Parallel" || attempt?.startedId !== event.previousEventId) return before;
    const branch: Thread = { variables: {}, lastEventId: event.previousEventId, parent: before };
    attempt.branches.set(event.stateEnteredEventDetails!.name, branch);
    return branch;
  }

  #open(outer: Thread, index: number): Thread {
    const iteration: Thread = { variables: {}, lastEventId: 0, parent: outer };
    outer.state?.attempts.at(-1)?.iterations.set(index, iteration);
    return iteration;
  }

  #enter(thread: Thread, event: HistoryEvent): void {
    const { name, input } = event.stateEnteredEventDetails!;
    const entered = { name, id: event.id, time: event.timestamp };
    const variablesBefore = allVariables(thread);
    const state: RestoredState = {
      entered,
      type: event.type.slice(0, -"StateEntered".length),
      input: parseText(input),
      variablesBefore,
      attempts: [],
      failureRecorded: false,
    };
    thread.state = state;
    const def = this.#states.get(name);
    if (state.type === "Fail" && def)
      failedBelow(thread, { failState: { def, entered, input: state.input, variables: variablesBefore } });
  }

  /** Events of a state between its entry and its exit. */
  #within(thread: Thread, event: HistoryEvent): void {
    const { state } = thread;
    const { type } = event;
    const details = detailsOf(event) as { error?: string; cause?: string; output?: string };
    const failure = failureOf(details);
    if (type.startsWith("MapIteration")) {
      if (type !== "MapIterationStarted")
        thread.ended =
          type === "MapIterationSucceeded" ? "succeeded" : type === "MapIterationFailed" ? "failed" : "aborted";
      return;
    }
    if (!state) return;
    const last = state.attempts.at(-1);
    switch (type) {
      case "TaskScheduled":
      case "LambdaFunctionScheduled":
        // Of two schedules without an outcome between them, the first was cut off by the end of a process.
        if (last && last.result === undefined && !last.failure) state.attempts.pop();
        state.attempts.push(newAttempt(0));
        return;
      case "TaskSucceeded":
      case "LambdaFunctionSucceeded":
        if (last) last.result = parseText(details.output ?? "null");
        return;
      case "TaskFailed":
      case "TaskTimedOut":
      case "LambdaFunctionFailed":
      case "LambdaFunctionTimedOut":
        if (last) last.failure = failure;
        failedBelow(thread, failure);
        return;
      case "EvaluationFailed":
        if (last && !last.failure) last.failure = failure;
        else state.attempts.push({ ...newAttempt(0), failure });
        failedBelow(thread, failure);
        return;
      case "MapStateStarted":
      case "ParallelStateStarted":
        if (last && !last.failure) last.failure = thread.lastFailure ?? {};
        state.attempts.push(newAttempt(event.id));
        return;
      case "MapStateSucceeded":
      case "ParallelStateSucceeded":
        if (last) last.succeeded = true;
        return;
      case "MapStateFailed":
      case "ParallelStateFailed":
        state.failureRecorded = true;
        if (last && !last.failure) last.failure = thread.lastFailure ?? {};
        return;
      case "MapRunStarted":
      case "MapRunRedriven":
        if (last)
          last.mapRun = {
            arn: String((details as { mapRunArn?: string }).mapRunArn),
            ended: false,
            redriven: false,
            redriveCount: event.mapRunRedrivenEventDetails?.redriveCount ?? 0,
          };
        return;
      case "MapRunFailed":
        if (last) last.failure = failure;
        if (last?.mapRun) last.mapRun.ended = true;
        failedBelow(thread, failure);
        return;
      case "MapRunSucceeded":
        if (last?.mapRun) last.mapRun.ended = true;
        return;
    }
  }
}

/** A failed ItemSelector is recorded inside the iteration in the name of the Map, so the thread before may be either's. */
function iterationOf(before: Thread, { name, index }: { name?: string; index?: number }): Thread | undefined {
  const outer = upwards(before, ({ state }) => state?.entered.name === name);
  return index === undefined ? undefined : outer.state?.attempts.at(-1)?.iterations.get(index);
}

const newAttempt = (startedId: number): RestoredAttempt => ({
  startedId,
  succeeded: false,
  iterations: new Map(),
  branches: new Map(),
});

function failureOf({ error, cause }: { error?: string; cause?: string }): RecordedFailure {
  return { ...(error === undefined ? {} : { error }), ...(cause === undefined ? {} : { cause }) };
}

function failedBelow(thread: Thread, failure: RecordedFailure): void {
  for (let at: Thread | undefined = thread; at; at = at.parent) at.lastFailure = failure;
}

function exit(thread: Thread, event: HistoryEvent): void {
  const { output, assignedVariables } = event.stateExitedEventDetails!;
  if (thread.state) thread.state.exited = { output: parseText(output) };
  const assigned: JsonObject = {};
  for (const [name, value] of Object.entries(assignedVariables ?? {})) assigned[name] = parseText(value) as Json;
  thread.variables = { ...thread.variables, ...assigned };
}

function allVariables(thread: Thread): JsonObject {
  return { ...(thread.parent ? allVariables(thread.parent) : {}), ...thread.variables };
}

function upwards(from: Thread, accepts: (thread: Thread) => boolean): Thread {
  for (let at: Thread | undefined = from; at; at = at.parent) if (accepts(at)) return at;
  return from;
}
