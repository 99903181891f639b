// What continuing an execution keeps, and what it does again.
import { describe, expect, test } from "vitest";
import { childHistories, type HistoryEvent, StatesError, type TaskRequest } from "../../../lib/local/asl/index.ts";
import { execute, LAMBDA, machineOf } from "./harness.ts";

const task = (rest: object = { End: true }) => ({ Type: "Task", Resource: LAMBDA, ...rest });
const over = (mode: string, states: object, rest: object = {}) =>
  machineOf({
    All: {
      Type: "Map",
      Items: [10, 11, 12],
      ItemProcessor: { ProcessorConfig: { Mode: mode }, StartAt: Object.keys(states)[0], States: states },
      End: true,
      ...rest,
    },
  });
const places = (requests: readonly TaskRequest[]) =>
  requests.map(({ stateName, path }) => [stateName, ...path.map(({ index }) => index)].join(" "));

describe("redriving a failed execution", () => {
  test("runs the failed state again with a fresh retry count, and keeps the states before it", async () => {
    const definition = machineOf({
      First: task({ Assign: { kept: "{% $states.result %}" }, Next: "Second" }),
      Second: task({
        Retry: [{ ErrorEquals: ["Busy"], MaxAttempts: 1 }],
        Output: "{% $kept & $states.result %}",
        End: true,
      }),
    });
    const failed = await execute(definition, {
      tasks: ({ stateName }) => {
        if (stateName === "Second") throw new StatesError("Busy");
        return "one";
      },
    });
    const again = await execute(definition, {
      history: failed.events,
      tasks: () => "two",
      input: { ignored: "the history has its own input" },
    });
    expect(again.result).toEqual({ status: "SUCCEEDED", output: "onetwo" });
    expect(again.requests.map(({ stateName, attempt, redriveCount }) => [stateName, attempt, redriveCount])).toEqual([
      ["Second", 0, 1],
    ]);
    const added = again.events.slice(failed.events.length);
    expect(added.map(({ type }) => type)).toEqual([
      "ExecutionRedriven",
      "TaskScheduled",
      "TaskStarted",
      "TaskSucceeded",
      "TaskStateExited",
      "ExecutionSucceeded",
    ]);
    expect(added[0]).toMatchObject({
      id: failed.events.length + 1,
      executionRedrivenEventDetails: { redriveCount: 1 },
    });
    expect(added[5]?.id).toBe(failed.events.length + 6);
  });

  test("counts redrives, in the request and in the context object", async () => {
    const definition = machineOf({
      Work: task({ Arguments: "{% $states.context.Execution.RedriveCount %}", End: true }),
    });
    const bad = () => {
      throw new StatesError("Bad");
    };
    const first = await execute(definition, { tasks: bad });
    const second = await execute(definition, { tasks: bad, history: first.events });
    const third = await execute(definition, { history: second.events });
    expect(third.requests.map((request) => [request.redriveCount, request.arguments])).toEqual([[2, 2]]);
  });

  test("keeps the iterations that succeeded and goes on in those that failed or were stopped", async () => {
    const definition = over("INLINE", { Prepare: task({ Next: "Finish" }), Finish: task() }, { MaxConcurrency: 1 });
    const failed = await execute(definition, {
      tasks: ({ stateName, path, arguments: item }) => {
        if (stateName === "Finish" && path[0]?.index === 1) throw new StatesError("Bad");
        return item;
      },
    });
    const again = await execute(definition, { history: failed.events, tasks: ({ arguments: item }) => item });
    expect(again.result.output).toEqual([10, 11, 12]);
    expect(places(again.requests)).toEqual(["Finish 1", "Prepare 2", "Finish 2"]);
  });

  test("keeps the branches that succeeded", async () => {
    const branch = (name: string) => ({ StartAt: name, States: { [name]: task() } });
    const definition = machineOf({ Both: { Type: "Parallel", Branches: [branch("Good"), branch("Bad")], End: true } });
    const failed = await execute(definition, {
      tasks: async ({ stateName }) => {
        if (stateName === "Good") return "good";
        await new Promise((resolve) => setTimeout(resolve, 5));
        throw new StatesError("Bad");
      },
    });
    const again = await execute(definition, { history: failed.events, tasks: () => "better" });
    expect(places(again.requests)).toEqual(["Bad"]);
    expect(again.result.output).toEqual(["good", "better"]);
  });

  test("redrives a map run: its failed children go on, each in its own history", async () => {
    const definition = over(
      "DISTRIBUTED",
      { Prepare: task({ Next: "Finish" }), Finish: task() },
      { MaxConcurrency: 1 },
    );
    const failed = await execute(definition, {
      tasks: ({ stateName, path, arguments: item }) => {
        if (stateName === "Finish" && path[0]?.index === 1) throw new StatesError("Bad");
        return item;
      },
    });
    expect(failed.result.error).toBe("States.ExceedToleratedFailureThreshold");
    const again = await execute(definition, { history: failed.events, tasks: ({ arguments: item }) => item });
    expect(again.result.output).toEqual([10, 11, 12]);
    expect(places(again.requests)).toEqual(["Finish 1", "Prepare 2", "Finish 2"]);
    const added = again.events.slice(failed.events.length).filter(({ executionArn }) => !executionArn);
    expect(added.map(({ type }) => type)).toEqual([
      "ExecutionRedriven",
      "MapRunRedriven",
      "MapRunSucceeded",
      "MapStateSucceeded",
      "MapStateExited",
      "ExecutionSucceeded",
    ]);
    const children = [...childHistories(again.events).values()];
    expect(children).toHaveLength(3);
    for (const child of children) {
      expect(child.map(({ id }) => id)).toEqual(child.map((_, i) => i + 1));
      expect(child.at(-1)?.type).toBe("ExecutionSucceeded");
    }
  });

  test("of an execution that succeeded gives its result and does nothing", async () => {
    const definition = machineOf({ Work: task() });
    const done = await execute(definition, { tasks: () => "done" });
    const again = await execute(definition, { history: done.events });
    expect(again.result).toEqual({ status: "SUCCEEDED", output: "done" });
    expect(again.events).toHaveLength(done.events.length);
  });

  test("of an aborted execution runs what was stopped", async () => {
    const definition = machineOf({ First: task({ Next: "Second" }), Second: task() });
    const stop = new AbortController();
    const stopped = await execute(definition, {
      signal: stop.signal,
      tasks: ({ stateName, signal }) => {
        if (stateName === "First") return 1;
        setImmediate(() => stop.abort());
        return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      },
    });
    expect(stopped.result.status).toBe("ABORTED");
    const again = await execute(definition, { history: stopped.events, tasks: () => 2 });
    expect(places(again.requests)).toEqual(["Second"]);
    expect(again.result.output).toBe(2);
  });
});

describe("continuing after a crash", () => {
  const cutAfter = (events: readonly HistoryEvent[], type: string) =>
    events.slice(0, events.findIndex((event) => event.type === type) + 1);

  test("keeps values that no second evaluation would give", async () => {
    const definition = machineOf({
      Draw: { Type: "Pass", Assign: { drawn: "{% [$random(), $uuid(), $now()] %}" }, Next: "Work" },
      Work: task({ Output: "{% $drawn %}", End: true }),
    });
    const whole = await execute(definition);
    const again = await execute(definition, { history: cutAfter(whole.events, "TaskScheduled") });
    expect(again.result.output).toEqual(whole.result.output);
  });

  test("evaluates a task's Output from its recorded result without running it again", async () => {
    const definition = machineOf({ Work: task({ Output: "{% $states.result.n + 1 %}", End: true }) });
    const whole = await execute(definition, { tasks: () => ({ n: 1 }) });
    const again = await execute(definition, { history: cutAfter(whole.events, "TaskSucceeded") });
    expect(again.requests).toEqual([]);
    expect(again.result.output).toBe(2);
  });

  test("runs a task that was under way again, as the same attempt and with another redrive count", async () => {
    const definition = machineOf({ Work: task({ Retry: [{ ErrorEquals: ["Busy"] }], End: true }) });
    let calls = 0;
    const whole = await execute(definition, {
      tasks: () => {
        if (calls++ === 0) throw new StatesError("Busy");
        return "done";
      },
    });
    const second = whole.events.findLastIndex(({ type }) => type === "TaskStarted");
    const again = await execute(definition, { history: whole.events.slice(0, second + 1), tasks: () => "done" });
    expect(again.requests.map(({ attempt, redriveCount }) => [attempt, redriveCount])).toEqual([[1, 1]]);
  });

  test("catches a recorded failure instead of trying again", async () => {
    const definition = machineOf({
      Work: task({ Catch: [{ ErrorEquals: ["Bad"], Next: "Rescue" }], End: true }),
      Rescue: { Type: "Pass", End: true },
    });
    const whole = await execute(definition, {
      tasks: () => {
        throw new StatesError("Bad", "once");
      },
    });
    for (const type of ["TaskFailed", "TaskStateExited"]) {
      const again = await execute(definition, { history: cutAfter(whole.events, type) });
      expect(again.requests).toEqual([]);
      expect(again.result.output).toEqual({ Error: "Bad", Cause: "once" });
    }
  });

  test("makes a choice that depends on chance and time as it was made", async () => {
    const definition = machineOf({
      Toss: {
        Type: "Choice",
        Choices: [{ Condition: "{% $random() < 0.5 or $millis() < 0 %}", Next: "Heads" }],
        Default: "Tails",
      },
      Heads: { Type: "Pass", Output: "heads", End: true },
      Tails: { Type: "Pass", Output: "tails", End: true },
    });
    const whole = await execute(definition);
    const again = await execute(definition, { history: cutAfter(whole.events, "ChoiceStateExited") });
    expect(again.result).toEqual(whole.result);
  });

  test("waits only for what is left of a Wait", async () => {
    const definition = machineOf({ Nap: { Type: "Wait", Seconds: 100, End: true } });
    const whole = await execute(definition);
    const { VirtualClock } = await import("./virtual-clock.ts");
    const later = new VirtualClock();
    later.advance(60_000);
    const again = await execute(definition, { history: cutAfter(whole.events, "WaitStateEntered"), clock: later });
    expect(again.slept).toEqual([40_000]);
  });

  test("stops the siblings of a recorded failure without running them again", async () => {
    const definition = over(
      "INLINE",
      { Work: task() },
      { Catch: [{ ErrorEquals: ["Bad"], Next: "Rescue" }], End: undefined, Next: "Rescue" },
    );
    const states = definition.States as { [name: string]: object };
    states.Rescue = { Type: "Pass", End: true };
    const whole = await execute(JSON.parse(JSON.stringify(definition)), {
      tasks: ({ path, signal }) => {
        if (path[0]?.index === 2) throw new StatesError("Bad", "two");
        return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      },
    });
    const again = await execute(JSON.parse(JSON.stringify(definition)), {
      history: cutAfter(whole.events, "MapIterationFailed"),
    });
    expect(again.requests).toEqual([]);
    expect(again.result.output).toEqual({ Error: "Bad", Cause: "two" });
    expect(again.types.filter((type) => type === "MapIterationAborted")).toHaveLength(2);
  });

  test("after a failed ItemSelector, anywhere, ends in the same way", async () => {
    const inner = over(
      "INLINE",
      { Work: task() },
      {
        ItemSelector: "{% $states.context.Map.Item.Index = 1 ? $states.input.missing : 0 %}",
        Catch: [{ ErrorEquals: ["States.QueryEvaluationError"], Next: "Rescue" }],
      },
    );
    const definition = over(
      "INLINE",
      { ...inner.States, Rescue: { Type: "Pass", Output: "rescued", End: true } } as object,
      {
        Items: [0],
      },
    );
    const renamed = JSON.parse(
      JSON.stringify(definition).replace('"All":{', '"Outer":{').replace('"StartAt":"All"', '"StartAt":"Outer"'),
    );
    const whole = await execute(renamed, { tasks: () => "done" });
    expect(whole.result.output).toEqual(["rescued"]);
    for (let cut = 1; cut < whole.events.length; cut++) {
      const again = await execute(renamed, { history: whole.events.slice(0, cut), tasks: () => "done" });
      expect([cut, again.result]).toEqual([cut, whole.result]);
    }
  });

  test("refuses events that are no history of an execution", async () => {
    const definition = machineOf({ Work: task() });
    const whole = await execute(definition);
    await expect(execute(definition, { history: whole.events.slice(1) })).rejects.toThrow(
      /begins with ExecutionStarted/,
    );
    const gap = [whole.events[0]!, ...whole.events.slice(2)];
    await expect(execute(definition, { history: gap })).rejects.toThrow(/is missing/);
  });
});
