// History events in the shape of Step Functions' GetExecutionHistory.
// Timestamps are ISO strings, which is what its Date becomes in JSON. Texts are never truncated here.
import { isObject, type Json } from "./json.ts";

interface Truncated {
  truncated: boolean;
}
interface Failure {
  error?: string;
  cause?: string;
}
interface TaskRef {
  resource: string;
  resourceType: string;
}
interface Iteration {
  name: string;
  index: number;
}

export interface EventDetails {
  executionStartedEventDetails?: { input: string; inputDetails: Truncated; roleArn?: string };
  executionSucceededEventDetails?: { output: string; outputDetails: Truncated };
  executionFailedEventDetails?: Failure;
  executionAbortedEventDetails?: Failure;
  executionTimedOutEventDetails?: Failure;
  executionRedrivenEventDetails?: { redriveCount: number };
  stateEnteredEventDetails?: { name: string; input: string; inputDetails: Truncated };
  stateExitedEventDetails?: {
    name: string;
    output: string;
    outputDetails: Truncated;
    assignedVariables?: { [name: string]: string };
    assignedVariablesDetails?: Truncated;
  };
  taskScheduledEventDetails?: TaskRef & {
    region: string;
    parameters: string;
    timeoutInSeconds?: number;
    heartbeatInSeconds?: number;
  };
  taskStartedEventDetails?: TaskRef;
  taskSubmittedEventDetails?: TaskRef & { output: string; outputDetails: Truncated };
  taskSucceededEventDetails?: TaskRef & { output: string; outputDetails: Truncated };
  taskFailedEventDetails?: TaskRef & Failure;
  taskTimedOutEventDetails?: TaskRef & Failure;
  lambdaFunctionScheduledEventDetails?: {
    resource: string;
    input: string;
    inputDetails: Truncated;
    timeoutInSeconds?: number;
  };
  lambdaFunctionSucceededEventDetails?: { output: string; outputDetails: Truncated };
  lambdaFunctionFailedEventDetails?: Failure;
  lambdaFunctionTimedOutEventDetails?: Failure;
  mapStateStartedEventDetails?: { length: number };
  mapIterationStartedEventDetails?: Iteration;
  mapIterationSucceededEventDetails?: Iteration;
  mapIterationFailedEventDetails?: Iteration;
  mapIterationAbortedEventDetails?: Iteration;
  mapRunStartedEventDetails?: { mapRunArn: string };
  mapRunRedrivenEventDetails?: { mapRunArn: string; redriveCount: number };
  mapRunFailedEventDetails?: Failure;
  evaluationFailedEventDetails?: Failure & { state: string; location?: string };
}

export interface HistoryEvent extends EventDetails {
  timestamp: string;
  type: string;
  id: number;
  previousEventId: number;
  /**
   * Only on events of the child executions of a distributed Map, each of which has a history of its own on AWS,
   * with ids from 1. Here they share one stream, so that one append-only file holds a run and restores it.
   */
  executionArn?: string;
}

/** The execution's own events: what GetExecutionHistory returns for it, without its map runs' children. */
export const ownHistory = (events: readonly HistoryEvent[]): HistoryEvent[] =>
  events.filter((event) => event.executionArn === undefined);

/** The histories of a distributed Map's children by the ARN of each child, shaped as AWS returns them. */
export function childHistories(events: readonly HistoryEvent[]): Map<string, HistoryEvent[]> {
  const children = new Map<string, HistoryEvent[]>();
  for (const { executionArn, ...event } of events) {
    if (executionArn === undefined) continue;
    const own = children.get(executionArn) ?? [];
    own.push(event);
    children.set(executionArn, own);
  }
  return children;
}

const TERMINAL = new Set(["ExecutionSucceeded", "ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut"]);

export const isTerminal = (type: string): boolean => TERMINAL.has(type);

/** A failure without its absent parts, as AWS writes it. */
export function failureDetails(error: string | undefined, cause: string | undefined): Failure {
  return { ...(error === undefined ? {} : { error }), ...(cause === undefined ? {} : { cause }) };
}

export const text = (value: Json): string => JSON.stringify(value);

export const parseText = (value: string): Json => JSON.parse(value) as Json;

/** The details object of an event, whichever it has. */
export function detailsOf(event: HistoryEvent): { [key: string]: unknown } {
  for (const [key, value] of Object.entries(event)) if (key.endsWith("EventDetails") && isObject(value)) return value;
  return {};
}
