// What a history says about an execution that is to be continued.
import type { State } from "./definition.ts";
import type { Json, JsonObject } from "./json.ts";
import type { Entered } from "./scope.ts";

export interface RecordedFailure {
  error?: string;
  cause?: string;
  /** A Fail state records neither: they are evaluated again from its input. */
  failState?: { def: State; entered: Entered; input: Json; variables: JsonObject };
}

/** One try of a state: a task, or all iterations or branches. */
export interface RestoredAttempt {
  /** Id of Map- or ParallelStateStarted; 0 for a task. */
  startedId: number;
  /** A task's. */
  result?: Json;
  failure?: RecordedFailure;
  /** Map- or ParallelStateSucceeded was recorded. */
  succeeded: boolean;
  iterations: Map<number, RestoredScope>;
  /** By the name of the branch's first state. */
  branches: Map<string, RestoredScope>;
  mapRun?: { arn: string; ended: boolean; redriven: boolean; redriveCount: number };
}

export interface RestoredState {
  entered: Entered;
  type: string;
  input: Json;
  variablesBefore: JsonObject;
  exited?: { output: Json };
  attempts: RestoredAttempt[];
  /** Map- or ParallelStateFailed, or an Aborted, was recorded. */
  failureRecorded: boolean;
}

export interface RestoredScope {
  variables: JsonObject;
  lastEventId: number;
  /** The last state entered. */
  state?: RestoredState;
  ended?: "succeeded" | "failed" | "aborted";
}

export interface RestoredExecution {
  input: Json;
  startTime: string;
  root: RestoredScope;
  lastId: number;
  redriveCount: number;
  ended?: { status: "SUCCEEDED" | "FAILED" | "TIMED_OUT" | "ABORTED"; output?: Json; error?: string; cause?: string };
}
