// Where states run: the execution around them, their variables, the thread of events, their context object.
import { ERROR, StatesError, TaskAbort } from "./errors.ts";
import { type EventDetails, failureDetails, type HistoryEvent } from "./history-event.ts";
import type { Journal, OrderedSink } from "./journal.ts";
import type { Json, JsonObject } from "./json.ts";
import { type Bindings, EvaluationFailure, queryEvaluationError } from "./jsonata-evaluate.ts";
import type { Clock, ItemReaderPort, Iteration, TaskRunner } from "./ports.ts";
import type { RestoredExecution } from "./restored.ts";

/** One execution: the root, or a child of a distributed Map. */
export interface Run {
  arn: string;
  region: string;
  /** "Execution" and "StateMachine" of the context object. */
  context: { Execution: JsonObject; StateMachine: JsonObject };
  redriveCount: number;
  journal: Journal;
  sink: OrderedSink;
  tasks: TaskRunner;
  s3: ItemReaderPort;
  clock: Clock;
  /** Told-to-stop tasks that have not settled yet: the execution ends after them. */
  stopping: Set<Promise<unknown>>;
  /** Children of earlier map runs by map run and index, when this execution is continued. */
  children: ReadonlyMap<string, ReadonlyMap<number, RestoredExecution>>;
}

/** The state that is being executed, as messages and the context object need it. */
export interface Entered {
  name: string;
  /** Id of its StateEntered event. */
  id: number;
  time: string;
}

export interface ScopeOptions {
  run: Run;
  signal: AbortSignal;
  path?: readonly Iteration[];
  outerVariables?: JsonObject;
  variables?: JsonObject;
  lastEventId: number;
  mapItem?: JsonObject;
}

/** The root, a branch of a Parallel, or an iteration of a Map. Inner scopes read outer variables. */
export class Scope {
  readonly run: Run;
  readonly signal: AbortSignal;
  readonly path: readonly Iteration[];
  readonly mapItem: JsonObject | undefined;
  readonly #outerVariables: JsonObject;
  #own: JsonObject;
  lastEventId: number;

  constructor(options: ScopeOptions) {
    this.run = options.run;
    this.signal = options.signal;
    this.path = options.path ?? [];
    this.mapItem = options.mapItem;
    this.#outerVariables = options.outerVariables ?? {};
    this.#own = options.variables ?? {};
    this.lastEventId = options.lastEventId;
  }

  get variables(): JsonObject {
    return { ...this.#outerVariables, ...this.#own };
  }

  assign(variables: JsonObject): void {
    this.#own = { ...this.#own, ...variables };
  }

  /** Records an event that the next one of this scope will name as its predecessor. */
  async record(type: string, details?: EventDetails): Promise<HistoryEvent> {
    const event = await this.run.journal.record(type, this.lastEventId, details);
    this.lastEventId = event.id;
    return event;
  }

  /** Map- and ParallelStateSucceeded are no predecessors: AWS's exit names what came before them. */
  async recordAside(type: string, details?: EventDetails): Promise<void> {
    await this.run.journal.record(type, this.lastEventId, details);
  }

  /** @throws TaskAbort when this scope was told to stop */
  throwIfAborted(): void {
    if (this.signal.aborted) throw abortReason(this.signal);
  }

  /** $states.context. RetryCount is there for the states that can be retried, as AWS records it. */
  context(state: Entered, retryCount?: number, mapItem: JsonObject | undefined = this.mapItem): JsonObject {
    return {
      Execution: this.run.context.Execution,
      StateMachine: this.run.context.StateMachine,
      State: {
        Name: state.name,
        EnteredTime: state.time,
        ...(retryCount === undefined ? {} : { RetryCount: retryCount }),
      },
      ...(mapItem === undefined ? {} : { Map: { Item: mapItem } }),
    };
  }

  /**
   * @param purpose tells apart the evaluations of one state: each draws its own $random and $uuid, the same ones
   *   when it is repeated after a crash
   */
  bindings(
    state: Entered,
    states: JsonObject,
    purpose: string,
    options: { now?: Date; variables?: JsonObject } = {},
  ): Bindings {
    return {
      states,
      variables: options.variables ?? this.variables,
      source: {
        seed: `${this.run.arn}|${String(this.run.context.Execution.StartTime)}|${state.id}|${purpose}`,
        now: options.now ?? this.run.clock.now(),
      },
    };
  }

  /**
   * Runs an evaluation; a failed one becomes an EvaluationFailed event.
   * @throws StatesError States.QueryEvaluationError with AWS's cause
   */
  async evaluating<T>(state: Entered, evaluate: () => Promise<T>): Promise<T> {
    try {
      return await evaluate();
    } catch (failure) {
      if (!(failure instanceof EvaluationFailure)) throw failure;
      const cause = causeIn(state, failure.message);
      await this.record("EvaluationFailed", {
        evaluationFailedEventDetails: {
          ...failureDetails(ERROR.queryEvaluation, cause),
          ...(failure.location === undefined ? {} : { location: failure.location }),
          state: state.name,
        },
      });
      throw queryEvaluationError(cause);
    }
  }
}

/** AWS's opening of every cause that the interpreter itself finds. */
export const causeIn = (state: Entered, message: string): string =>
  `An error occurred while executing the state '${state.name}' (entered at the event id #${state.id}). ${message}`;

export const abortReason = (signal: AbortSignal): TaskAbort =>
  signal.reason instanceof TaskAbort ? signal.reason : new TaskAbort("stopped");

/** A controller that is aborted with its parent, and can be aborted alone. Dispose it to let go of the parent. */
export function linkedController(parent: AbortSignal): { controller: AbortController; release: () => void } {
  const controller = new AbortController();
  const onAbort = () => controller.abort(parent.reason);
  if (parent.aborted) onAbort();
  else parent.addEventListener("abort", onAbort, { once: true });
  return { controller, release: () => parent.removeEventListener("abort", onAbort) };
}

/** Sleeps on the execution's clock. @throws TaskAbort when the scope is told to stop meanwhile */
export async function sleep(scope: Scope, milliseconds: number): Promise<void> {
  scope.throwIfAborted();
  if (milliseconds > 0) await scope.run.clock.sleep(milliseconds, scope.signal);
  scope.throwIfAborted();
}

export const isStatesError = (thrown: unknown): thrown is StatesError => thrown instanceof StatesError;

/** The Error Output that a Catch sees. Absent parts stay absent. */
export function errorOutput(failure: StatesError): Json {
  return {
    ...(failure.error === undefined ? {} : { Error: failure.error }),
    ...(failure.cause === undefined ? {} : { Cause: failure.cause }),
  };
}
