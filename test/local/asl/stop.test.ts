// Time limits, stopping from outside, and siblings that fall together.
import { describe, expect, test } from "vitest";
import { ERROR, StatesError, type TaskAbort, type TaskRequest } from "../../../lib/local/asl/index.ts";
import { execute, LAMBDA, machineOf } from "./harness.ts";

const hanging =
  (reasons: unknown[] = []) =>
  ({ signal }: TaskRequest) =>
    new Promise((_, reject) => {
      signal.addEventListener("abort", () => {
        reasons.push(signal.reason);
        reject(signal.reason);
      });
    });
const kinds = (reasons: unknown[]) => reasons.map((reason) => (reason as TaskAbort).kind);

describe("TimeoutSeconds", () => {
  const timed = (rest: object) =>
    machineOf({
      Work: { Type: "Task", Resource: "arn:aws:states:::batch:submitJob.sync", TimeoutSeconds: 7, End: true, ...rest },
      Late: { Type: "Pass", Output: "late", End: true },
    });

  test("of a state raises States.Timeout and tells the task that its job goes on", async () => {
    const reasons: unknown[] = [];
    const definition = timed({ Catch: [{ ErrorEquals: [ERROR.timeout], Next: "Late" }] });
    const { result, events, requests } = await execute(definition, { tasks: hanging(reasons) });
    expect(result.output).toBe("late");
    expect(requests[0]?.timeoutSeconds).toBe(7);
    expect(kinds(reasons)).toEqual(["state-timeout"]);
    expect((reasons[0] as TaskAbort).stopsJob).toBe(false);
    const timedOut = events.find(({ type }) => type === "TaskTimedOut");
    expect(timedOut?.taskTimedOutEventDetails).toEqual({
      resource: "submitJob.sync",
      resourceType: "batch",
      error: "States.Timeout",
    });
    expect(Date.parse(timedOut!.timestamp) - Date.parse(events[0]!.timestamp)).toBe(7000);
  });

  test("of a state is counted anew for each attempt", async () => {
    const { requests } = await execute(
      timed({
        TimeoutSeconds: "{% 2 + 1 %}",
        Retry: [{ ErrorEquals: [ERROR.timeout], MaxAttempts: 2 }],
        Catch: [{ ErrorEquals: ["States.ALL"], Next: "Late" }],
      }),
      { tasks: hanging() },
    );
    expect(requests.map(({ timeoutSeconds }) => timeoutSeconds)).toEqual([3, 3, 3]);
  });

  test("of the state machine ends the execution as TIMED_OUT, uncaught", async () => {
    const reasons: unknown[] = [];
    const definition = {
      ...timed({ TimeoutSeconds: 50, Catch: [{ ErrorEquals: ["States.ALL"], Next: "Late" }] }),
      TimeoutSeconds: 20,
    };
    const { result, types } = await execute(definition, { tasks: hanging(reasons) });
    expect(result).toEqual({ status: "TIMED_OUT" });
    expect(types.at(-1)).toBe("ExecutionTimedOut");
    expect(kinds(reasons)).toEqual(["execution-timeout"]);
  });
});

describe("stopping an execution", () => {
  test("stops its tasks, waits for them, and ends as ABORTED", async () => {
    const stop = new AbortController();
    const order: string[] = [];
    const { result, types } = await execute(machineOf({ Work: { Type: "Task", Resource: LAMBDA, End: true } }), {
      signal: stop.signal,
      onEvent: ({ type }) => {
        order.push(type);
        if (type === "TaskStarted") setImmediate(() => stop.abort(new StatesError("Cancelled", "Ctrl-C")));
      },
      tasks: ({ signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener("abort", () =>
            setTimeout(() => {
              order.push("the task has stopped");
              reject(signal.reason);
            }, 5),
          );
        }),
    });
    expect(result).toEqual({ status: "ABORTED", error: "Cancelled", cause: "Ctrl-C" });
    expect(order.slice(-2)).toEqual(["the task has stopped", "ExecutionAborted"]);
    expect(types).not.toContain("TaskStateAborted");
  });

  test("ends a Wait at once", async () => {
    const stop = new AbortController();
    stop.abort();
    const { result } = await execute(machineOf({ Long: { Type: "Wait", Seconds: 99_999_999, End: true } }), {
      signal: stop.signal,
    });
    expect(result).toEqual({ status: "ABORTED" });
  });
});

describe("siblings of a failure", () => {
  test("in a Parallel are stopped, and recorded as aborted", async () => {
    const reasons: unknown[] = [];
    const branch = (name: string) => ({
      StartAt: name,
      States: { [name]: { Type: "Task", Resource: LAMBDA, End: true } },
    });
    const { result, types } = await execute(
      machineOf({ Both: { Type: "Parallel", Branches: [branch("Slow"), branch("Bad")], End: true } }),
      {
        tasks: (request) => {
          if (request.stateName === "Bad") throw new StatesError("Bad", "no");
          return hanging(reasons)(request);
        },
      },
    );
    expect(result).toEqual({ status: "FAILED", error: "Bad", cause: "no" });
    expect(kinds(reasons)).toEqual(["sibling-failed"]);
    expect((reasons[0] as TaskAbort).stopsJob).toBe(true);
    expect(types.slice(-3)).toEqual(["TaskStateAborted", "ParallelStateFailed", "ExecutionFailed"]);
  });

  test("in a Map are stopped, those not begun are never begun", async () => {
    const { events, requests } = await execute(
      machineOf({
        All: {
          Type: "Map",
          Items: [0, 1, 2, 3],
          MaxConcurrency: 2,
          ItemProcessor: { StartAt: "Work", States: { Work: { Type: "Task", Resource: LAMBDA, End: true } } },
          End: true,
        },
      }),
      {
        tasks: (request) => {
          if (request.path[0]?.index === 1) throw new StatesError("Bad");
          return hanging()(request);
        },
      },
    );
    expect(requests.map(({ path }) => path)).toEqual([[{ map: "All", index: 0 }], [{ map: "All", index: 1 }]]);
    expect(events.find(({ type }) => type === "MapIterationFailed")?.mapIterationFailedEventDetails?.index).toBe(1);
    expect(events.find(({ type }) => type === "MapIterationAborted")?.mapIterationAbortedEventDetails?.index).toBe(0);
  });
});

test("a sink that fails ends the run where it is, and no event follows", async () => {
  let kept = 0;
  const run = execute(machineOf({ A: { Type: "Pass", Next: "B" }, B: { Type: "Pass", End: true } }), {
    onEvent: ({ type }) => {
      kept++;
      if (type === "PassStateExited") throw new Error("ENOSPC: no space left on device");
    },
  });
  await expect(run).rejects.toThrow("ENOSPC");
  expect(kept).toBe(3);
});
