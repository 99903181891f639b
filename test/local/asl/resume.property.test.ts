// A history that is cut off after any event can be continued, and nothing that had finished is done again.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type HistoryEvent, type JsonObject, runExecution, StatesError } from "../../../lib/local/asl/index.ts";
import { VirtualClock } from "./virtual-clock.ts";

type Step =
  | { kind: "task"; failures: number }
  | { kind: "pass" }
  | { kind: "wait" }
  | { kind: "choice" }
  | { kind: "map"; items: number; concurrency: number; body: Step[]; retried: boolean }
  | { kind: "children"; items: number; body: Step[] }
  | { kind: "parallel"; branches: Step[][] };

const leaf: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant("task" as const), failures: fc.integer({ min: 0, max: 3 }) }),
  fc.constantFrom<Step>({ kind: "pass" }, { kind: "wait" }, { kind: "choice" }),
);
const steps = (depth: number): fc.Arbitrary<Step[]> =>
  fc.array(depth === 0 ? leaf : fc.oneof({ weight: 2, arbitrary: leaf }, { weight: 1, arbitrary: nest(depth - 1) }), {
    minLength: 1,
    maxLength: 3,
  });
const nest = (depth: number): fc.Arbitrary<Step> =>
  fc.oneof(
    fc.record({
      kind: fc.constant("map" as const),
      items: fc.integer({ min: 0, max: 3 }),
      concurrency: fc.integer({ min: 0, max: 2 }),
      body: steps(depth),
      retried: fc.boolean(),
    }),
    fc.record({ kind: fc.constant("children" as const), items: fc.integer({ min: 0, max: 2 }), body: steps(depth) }),
    fc.record({
      kind: fc.constant("parallel" as const),
      branches: fc.array(steps(depth), { minLength: 1, maxLength: 2 }),
    }),
  );

/** Every state adds to `seen`, so that the last output tells which ones ran and in what order. */
function program(sequence: readonly Step[], prefix: string, flaky: boolean, brittle = false): JsonObject {
  const states: JsonObject = {};
  const retry = (retrier: JsonObject): JsonObject => (brittle ? {} : { Retry: [retrier] });
  const names = sequence.map((_, i) => `${prefix}${i}`);
  for (const [i, step] of sequence.entries()) {
    const name = names[i]!;
    const onward: JsonObject = i + 1 < sequence.length ? { Next: names[i + 1]! } : { End: true };
    const input = "{% $states.input %}";
    const seen = (what: string) => ({ path: "{% $states.input.path %}", seen: `{% $states.input.seen & ${what} %}` });
    const all = seen(`'[' & $join($states.result.seen, '|') & ']'`);
    const inner = { path: "{% $states.input.path & '/' & $string($states.context.Map.Item.Index) %}", seen: "" };
    switch (step.kind) {
      case "task":
        states[name] = {
          Type: "Task",
          Resource: "arn:aws:states:::lambda:invoke",
          Arguments: { state: name, failures: step.failures, input },
          Assign: { [`v${name}`]: "{% $states.result.value %}" },
          Output: seen("$states.result.value"),
          // Two retries: three failures reach the Catch, unless an iteration is to fail and its Map to try again.
          ...retry({ ErrorEquals: ["Flaky"], MaxAttempts: 2 }),
          ...(flaky || brittle
            ? {}
            : {
                Catch: [
                  {
                    ErrorEquals: ["States.ALL"],
                    Output: seen("'!'"),
                    Next: i + 1 < names.length ? names[i + 1]! : `${prefix}end`,
                  },
                ],
              }),
          ...onward,
        };
        break;
      case "pass":
        states[name] = { Type: "Pass", Assign: { [`v${name}`]: "{% $uuid() %}" }, Output: seen("'p'"), ...onward };
        break;
      case "wait":
        states[name] = { Type: "Wait", Seconds: 5, Output: seen("'w'"), ...onward };
        break;
      case "choice":
        states[name] = {
          Type: "Choice",
          Choices: [{ Condition: "{% $random() < 0.5 and $now() = '' %}", Next: name }],
          Default: i + 1 < names.length ? names[i + 1]! : `${prefix}end`,
          Output: seen("'c'"),
        };
        break;
      case "map":
      case "children":
        states[name] = {
          Type: "Map",
          Items: Array.from({ length: step.items }, (_, item) => item),
          ItemSelector: inner,
          ItemProcessor: {
            ...program(step.body, `${name}m`, flaky || (step.kind === "map" && step.retried), brittle),
            ProcessorConfig: { Mode: step.kind === "map" ? "INLINE" : "DISTRIBUTED" },
          },
          ...(step.kind === "map" ? { MaxConcurrency: step.concurrency } : {}),
          ...retry({ ErrorEquals: ["States.ALL"], MaxAttempts: 20, BackoffRate: 1 }),
          Output: all,
          ...onward,
        };
        break;
      case "parallel":
        states[name] = {
          Type: "Parallel",
          Branches: step.branches.map((branch, b) => program(branch, `${name}b${b}x`, flaky, brittle)),
          ...retry({ ErrorEquals: ["States.ALL"], MaxAttempts: 20, BackoffRate: 1 }),
          Output: all,
          ...onward,
        };
        break;
    }
  }
  const lastKind = sequence.at(-1)!.kind;
  if (lastKind === "choice" || (lastKind === "task" && !flaky && !brittle))
    states[`${prefix}end`] = { Type: "Succeed" };
  return { StartAt: names[0]!, States: states };
}

const keyOf = (parameters: { state: string; input: { path: string } }) => `${parameters.state}${parameters.input.path}`;

/** Outcomes of tasks that a history has recorded, by task. */
function outcomes(events: readonly HistoryEvent[]): Map<string, { failed: number; succeeded: number }> {
  const found = new Map<string, { failed: number; succeeded: number }>();
  const keys = new Map<string, string>();
  for (const event of events) {
    const own = `${event.executionArn}|`;
    const scheduled = event.taskScheduledEventDetails;
    const key = scheduled ? keyOf(JSON.parse(scheduled.parameters)) : keys.get(own + event.previousEventId);
    if (key !== undefined && event.type.startsWith("Task")) keys.set(own + event.id, key);
    if (key === undefined || !/^Task(Failed|Succeeded)$/.test(event.type)) continue;
    const count = found.get(key) ?? { failed: 0, succeeded: 0 };
    count[event.type === "TaskFailed" ? "failed" : "succeeded"]++;
    found.set(key, count);
  }
  return found;
}

/** Runs on from a history. A task fails as often as its arguments say, counted in the history: it survives a crash. */
async function run(definition: JsonObject, history: readonly HistoryEvent[]) {
  const events = [...history];
  const result = await runExecution({
    definition,
    input: { path: "", seen: "" },
    name: "run",
    clock: new VirtualClock(),
    history,
    s3: { getObject: async () => "" },
    sink: (event) => {
      events.push(JSON.parse(JSON.stringify(event)));
    },
    tasks: async ({ arguments: given }) => {
      const task = given as { state: string; failures: number; input: { path: string } };
      const key = keyOf(task);
      if ((outcomes(events).get(key)?.failed ?? 0) < task.failures) throw new StatesError("Flaky", key);
      return { value: `<${key}>` };
    },
  });
  return { result, events };
}

const exits = (events: readonly HistoryEvent[]): string[] =>
  events.flatMap(({ stateExitedEventDetails: exited }) => (exited ? `${exited.name} ${exited.output}` : [])).sort();

/**
 * Whether a group was tried again. How far the siblings of a failure get before they are told to stop is a matter of
 * time, so then only the result must be the same.
 */
function triedAgain(events: readonly HistoryEvent[]): boolean {
  const count = (form: RegExp) => events.filter(({ type }) => form.test(type)).length;
  return count(/^(Map|Parallel)StateStarted$/) > count(/^(Map|Parallel)StateEntered$/);
}

function expectSoundIds(events: readonly HistoryEvent[]): void {
  const last = new Map<string | undefined, number>();
  for (const { id, executionArn, previousEventId } of events) {
    expect(id).toBe((last.get(executionArn) ?? 0) + 1);
    expect(previousEventId).toBeLessThan(id);
    last.set(executionArn, id);
  }
}

const machine = (brittle: boolean) =>
  steps(2).map((sequence): JsonObject => ({ QueryLanguage: "JSONata", ...program(sequence, "s", false, brittle) }));

describe("continuing a history that was cut off", () => {
  test("after any event gives the same output, and no finished task is run again", async () => {
    await fc.assert(
      fc.asyncProperty(
        machine(false),
        fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true })),
        async (definition, cuts) => {
          const whole = await run(definition, []);
          const expected = outcomes(whole.events);
          const stride = Math.max(1, Math.floor(whole.events.length / 25));
          for (let cut = 1; cut < whole.events.length; cut += stride) {
            const once = await run(definition, whole.events.slice(0, cut));
            // A second crash, somewhere in what the first continuation did.
            const later = cut + Math.floor(cuts.next().value * (once.events.length - cut));
            const twice = await run(definition, once.events.slice(0, later));
            for (const { result, events } of [once, twice]) {
              expect(result).toEqual(whole.result);
              expectSoundIds(events);
              if (triedAgain(whole.events)) continue;
              expect(exits(events)).toEqual(exits(whole.events));
              expect(outcomes(events)).toEqual(expected);
            }
          }
        },
      ),
      { numRuns: Number(process.env.FC_RUNS ?? 25) },
    );
  });

  test("that failed, again and again, ends as if nothing had failed, and runs each task to success once", async () => {
    await fc.assert(
      fc.asyncProperty(machine(true), async (definition) => {
        const calm = await run(JSON.parse(JSON.stringify(definition).replaceAll(/"failures":\d/g, '"failures":0')), []);
        let last = await run(definition, []);
        for (let redrives = 0; last.result.status !== "SUCCEEDED" && redrives < 200; redrives++)
          last = await run(definition, last.events);
        expect(last.result).toEqual(calm.result);
        for (const [key, { succeeded }] of outcomes(last.events)) expect([key, succeeded]).toEqual([key, 1]);
        expectSoundIds(last.events);
      }),
      { numRuns: Number(process.env.FC_RUNS ?? 25) },
    );
  });
});
