// The recorded cases of ../shared/conformance/asl, and how one is replayed against the interpreter.
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { detailsOf } from "../../../lib/local/asl/history-event.ts";
import {
  ERROR,
  type HistoryEvent,
  type Json,
  runExecution,
  StatesError,
  type TaskRequest,
} from "../../../lib/local/asl/index.ts";
import { readResource } from "../../../lib/local/asl/resource.ts";
import { VirtualClock } from "./virtual-clock.ts";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
export const CASES = resolve(ROOT, "../shared/conformance/asl");
export const available = existsSync(resolve(CASES, "dev.json"));

interface Outcome {
  type: "succeeded" | "failed" | "timed_out";
  output?: Json;
  error?: string;
  cause?: string;
}

interface RecordedTask {
  state: string;
  iteration?: { map: string; index: number }[];
  request: { [key: string]: Json };
  submitted?: Json;
  outcome?: Outcome;
}

interface TraceEntry {
  ev: string;
  state?: string;
  name?: string;
  index?: number;
  input?: Json;
  output?: Json;
  assigned?: Json;
  location?: string;
  error?: string;
  cause?: string;
}

export interface Case {
  id: string;
  category: string;
  definition: { [key: string]: Json };
  input: Json;
  context: { Execution: { Id: string; Name: string; RoleArn: string }; StateMachine: { Id: string; Name: string } };
  clock?: string;
  resources?: { s3?: { bucket: string; key: string; body: string }[] };
  tasks: RecordedTask[];
  expected: { status: string; output?: Json; error?: string; cause?: string };
  states_entered?: string[];
  states_entered_ordered?: boolean;
  trace?: TraceEntry[];
  needs: string[];
}

/** One case a line, in an array. */
export function readCases(file: string): Case[] {
  return readFileSync(resolve(CASES, file), "utf8")
    .split("\n")
    .map((line) => line.trim().replace(/,$/, ""))
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Case);
}

export interface Comparer {
  matches(expected: unknown, actual: unknown): boolean;
  diff(expected: unknown, actual: unknown, options?: { cause?: boolean }): string[];
}

export const comparer = (): Promise<Comparer> =>
  import(pathToFileURL(resolve(CASES, "match.mjs")).href) as Promise<Comparer>;

const taskKey = (state: string, path: readonly { map: string; index: number }[]): string =>
  [state, ...path.map(({ map, index }) => `${map}[${index}]`)].join(" ");

/** Runs a case with its recorded outcomes. @returns every difference from what AWS did */
export async function differences(recorded: Case, { matches, diff }: Comparer): Promise<string[]> {
  const queues = new Map<string, RecordedTask[]>();
  for (const task of recorded.tasks) {
    const key = taskKey(task.state, task.iteration ?? []);
    queues.set(key, [...(queues.get(key) ?? []), task]);
  }
  const found: string[] = [];
  const events: HistoryEvent[] = [];
  const result = await runExecution({
    definition: recorded.definition,
    input: recorded.input,
    name: recorded.context.Execution.Name,
    arn: recorded.context.Execution.Id,
    stateMachine: {
      arn: recorded.context.StateMachine.Id,
      name: recorded.context.StateMachine.Name,
      roleArn: recorded.context.Execution.RoleArn,
    },
    clock: new VirtualClock(recorded.clock),
    sink: (event) => {
      events.push(event);
    },
    s3: bucket(recorded),
    tasks: async (request) => {
      const task = queues.get(taskKey(request.stateName, request.path))?.shift();
      if (!task) throw new Error(`AWS made no such task: ${request.stateName}`);
      found.push(...requestDifferences(task, request, matches));
      if (task.submitted !== undefined) await request.submitted(task.submitted);
      const outcome = task.outcome!;
      if (outcome.type === "succeeded") return outcome.output;
      throw new StatesError(
        outcome.type === "timed_out" ? (outcome.error ?? ERROR.timeout) : outcome.error,
        outcome.cause,
      );
    },
  });
  found.push(...diff(recorded.expected, result, { cause: true }));
  for (const [key, left] of queues) if (left.length > 0) found.push(`tasks not made: ${key}`);
  const own = events.filter((event) => event.executionArn === undefined);
  found.push(...enteredDifferences(recorded, own), ...traceDifferences(recorded, own, matches));
  return found;
}

function bucket(recorded: Case) {
  const objects = recorded.resources?.s3 ?? [];
  return {
    async getObject({ bucket, key }: { bucket: string; key: string }) {
      const object = objects.find((each) => each.bucket === bucket && each.key === key);
      if (!object) throw new Error("The specified key does not exist.");
      return object.body;
    },
    async listObjectsV2({ bucket, prefix = "" }: { bucket: string; prefix?: string }) {
      return objects
        .filter((each) => each.bucket === bucket && each.key.startsWith(prefix))
        .map(({ key, body }) => ({ key, bytes: Buffer.byteLength(body), etag: '"tag"', lastModifiedSeconds: 0 }));
    },
  };
}

function requestDifferences(task: RecordedTask, request: TaskRequest, matches: Comparer["matches"]): string[] {
  const { kind, resource, resourceType, parameters, timeoutInSeconds } = task.request;
  const integration = readResource(request.resource);
  const found: string[] = [];
  if (integration.kind !== kind) found.push(`${task.state}: kind ${integration.kind} != ${JSON.stringify(kind)}`);
  if (
    integration.kind === "service" &&
    (integration.resource !== resource || integration.resourceType !== resourceType)
  )
    found.push(`${task.state}: resource ${integration.resourceType}:${integration.resource}`);
  if (!matches(parameters, request.arguments))
    found.push(`${task.state}: arguments ${JSON.stringify(request.arguments)}`);
  if (timeoutInSeconds !== request.timeoutSeconds) found.push(`${task.state}: timeout ${request.timeoutSeconds}`);
  return found;
}

function enteredDifferences(recorded: Case, events: readonly HistoryEvent[]): string[] {
  if (!recorded.states_entered) return [];
  const entered = events.flatMap(({ stateEnteredEventDetails }) => stateEnteredEventDetails?.name ?? []);
  const order = (names: string[]) => (recorded.states_entered_ordered ? names : [...names].sort());
  const [actual, expected] = [order(entered).join(" > "), order(recorded.states_entered).join(" > ")];
  return actual === expected ? [] : [`states entered ${actual}, not ${expected}`];
}

/** Inputs, outputs, variables, failed evaluations and failures of Map and Parallel, event by event. */
function traceDifferences(recorded: Case, events: readonly HistoryEvent[], matches: Comparer["matches"]): string[] {
  if (!recorded.trace || !recorded.states_entered_ordered) return [];
  const traced = events.flatMap(traceEntry);
  const found: string[] = [];
  for (const [i, expected] of recorded.trace.entries()) {
    const actual = traced[i];
    if (!actual || !matches(expected, actual))
      found.push(`trace[${i}] ${JSON.stringify(actual)}, not ${JSON.stringify(expected)}`);
  }
  if (traced.length !== recorded.trace.length)
    found.push(`trace has ${traced.length} entries, not ${recorded.trace.length}`);
  return found;
}

const FAILURES = ["ParallelStateFailed", "MapRunFailed", "MapStateFailed", "MapIterationFailed", "MapIterationAborted"];

function traceEntry(event: HistoryEvent): TraceEntry[] {
  const { stateEnteredEventDetails: entered, stateExitedEventDetails: exited } = event;
  if (entered) return [{ ev: "enter", state: entered.name, input: JSON.parse(entered.input) as Json }];
  if (exited) {
    const variables = Object.entries(exited.assignedVariables ?? {}).map(([name, text]) => [name, JSON.parse(text)]);
    return [
      {
        ev: "exit",
        state: exited.name,
        output: JSON.parse(exited.output) as Json,
        ...(variables.length === 0 ? {} : { assigned: Object.fromEntries(variables) as Json }),
      },
    ];
  }
  if (event.type === "EvaluationFailed") return [{ ev: "evaluation_failed", ...event.evaluationFailedEventDetails }];
  return FAILURES.includes(event.type) ? [{ ev: event.type, ...detailsOf(event) }] : [];
}
