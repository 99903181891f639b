import { describe, expect, test } from "vitest";
import { type Json, StatesError } from "../../../lib/local/asl/index.ts";
import { matchesError } from "../../../lib/local/asl/retry-policy.ts";
import { execute, LAMBDA, machineOf } from "./harness.ts";

const task = (rest: object) => machineOf({ Work: { Type: "Task", Resource: LAMBDA, End: true, ...rest } });
const failing = (error: string, times = Number.POSITIVE_INFINITY) => {
  let calls = 0;
  return () => {
    if (calls++ < times) throw new StatesError(error, `call ${calls}`);
    return { calls };
  };
};

describe("Retry", () => {
  test("waits IntervalSeconds, then BackoffRate times as long, three times by default", async () => {
    const { result, slept, requests } = await execute(
      task({ Retry: [{ ErrorEquals: ["Busy"], IntervalSeconds: 3, BackoffRate: 2 }] }),
      { tasks: failing("Busy") },
    );
    expect(slept).toEqual([3000, 6000, 12000]);
    expect(requests.map(({ attempt }) => attempt)).toEqual([0, 1, 2, 3]);
    expect(result).toEqual({ status: "FAILED", error: "Busy", cause: "call 4" });
  });

  test("caps the backoff at MaxDelaySeconds", async () => {
    const retrier = { ErrorEquals: ["Busy"], IntervalSeconds: 3, MaxDelaySeconds: 5, MaxAttempts: 3 };
    const { slept } = await execute(task({ Retry: [retrier] }), { tasks: failing("Busy") });
    expect(slept).toEqual([3000, 5000, 5000]);
  });

  test("draws a full jitter between nothing and the whole delay", async () => {
    const retrier = {
      ErrorEquals: ["Busy"],
      IntervalSeconds: 100,
      MaxAttempts: 5,
      BackoffRate: 1,
      JitterStrategy: "FULL",
    };
    const { slept } = await execute(task({ Retry: [retrier] }), { tasks: failing("Busy") });
    expect(slept.every((delay) => delay >= 0 && delay < 100_000)).toBe(true);
    expect(new Set(slept).size).toBe(5);
  });

  test("counts the retries of each retrier apart", async () => {
    const errors = ["A", "B", "A", "B"];
    const { requests, result } = await execute(
      task({
        Retry: [
          { ErrorEquals: ["A"], MaxAttempts: 2 },
          { ErrorEquals: ["B"], MaxAttempts: 2 },
        ],
      }),
      {
        tasks: ({ attempt }) => {
          const error = errors[attempt];
          if (error) throw new StatesError(error);
          return "done";
        },
      },
    );
    expect(requests).toHaveLength(5);
    expect(result.output).toBe("done");
  });

  test("shows the attempt in $states.context.State.RetryCount", async () => {
    const { requests } = await execute(
      task({
        Arguments: "{% $states.context.State.RetryCount %}",
        Retry: [{ ErrorEquals: ["States.ALL"], MaxAttempts: 1 }],
      }),
      { tasks: failing("Busy") },
    );
    expect(requests.map((request) => request.arguments)).toEqual([0, 1]);
  });

  test("enters a retried Map once and starts it again", async () => {
    const { types } = await execute(
      machineOf({
        All: {
          Type: "Map",
          Items: [1],
          ItemProcessor: { StartAt: "Bad", States: { Bad: { Type: "Fail", Error: "Bad" } } },
          Retry: [{ ErrorEquals: ["Bad"], MaxAttempts: 1 }],
          End: true,
        },
      }),
    );
    const count = (type: string) => types.filter((each) => each === type).length;
    expect([count("MapStateEntered"), count("MapStateStarted"), count("MapStateFailed")]).toEqual([1, 2, 1]);
  });
});

describe("wildcards of error names", () => {
  test.each([
    ["States.ALL", "Anything", true],
    ["States.ALL", undefined, true],
    ["States.ALL", "States.Timeout", true],
    ["States.ALL", "States.Runtime", false],
    ["States.Runtime", "States.Runtime", false],
    ["States.ALL", "States.DataLimitExceeded", false],
    ["States.DataLimitExceeded", "States.DataLimitExceeded", true],
    ["States.TaskFailed", "Anything", true],
    ["States.TaskFailed", "States.Timeout", false],
    ["States.TaskFailed", "States.TaskFailed", true],
    ["Other", "Anything", false],
  ])("%s takes %s: %s", (wildcard, error, expected) => {
    expect(matchesError([wildcard], error)).toBe(expected);
  });
});

describe("Catch", () => {
  const caught = (catcher: object, tasks: () => unknown, input: Json = { a: 1 }) =>
    execute(
      machineOf({
        Work: {
          Type: "Task",
          Resource: LAMBDA,
          Catch: [{ ErrorEquals: ["States.ALL"], Next: "Rescue", ...catcher }],
          End: true,
        },
        Rescue: { Type: "Pass", End: true },
      }),
      { tasks, input },
    );

  test("puts out Error and Cause where it has no Output", async () => {
    const { result } = await caught({}, failing("Busy"));
    expect(result.output).toEqual({ Error: "Busy", Cause: "call 1" });
  });

  test("evaluates its own Assign and Output with errorOutput and the state's input", async () => {
    const { events } = await caught(
      { Assign: { why: "{% $states.errorOutput.Error %}" }, Output: { a: "{% $states.input.a %}" } },
      failing("Busy"),
    );
    const exit = events.find(({ type }) => type === "TaskStateExited")?.stateExitedEventDetails;
    expect(exit).toMatchObject({ output: '{"a":1}', assignedVariables: { why: '"Busy"' } });
  });

  test("takes a failed evaluation of the state's own fields, and records it", async () => {
    const { result, types } = await execute(
      machineOf({
        Work: {
          Type: "Task",
          Resource: LAMBDA,
          Output: "{% $states.result.missing %}",
          Catch: [{ ErrorEquals: ["States.QueryEvaluationError"], Next: "Rescue" }],
          End: true,
        },
        Rescue: { Type: "Pass", Output: "rescued", End: true },
      }),
      { tasks: () => ({}) },
    );
    expect(result.output).toBe("rescued");
    expect(types).toContain("EvaluationFailed");
  });

  test("does not take its own failed evaluation", async () => {
    const { result } = await caught({ Output: "{% $states.errorOutput.Nothing %}" }, failing("Busy"));
    expect(result).toMatchObject({ status: "FAILED", error: "States.QueryEvaluationError" });
    expect(result.cause).toContain("'Catch[0]/Output'");
  });

  test("leaves States.Runtime, which a fault of the task runner raises, uncaught", async () => {
    const { result } = await caught({}, () => {
      throw new TypeError("x is not a function");
    });
    expect(result).toMatchObject({ status: "FAILED", error: "States.Runtime" });
    expect(result.cause).toContain("TypeError: x is not a function");
  });
});
