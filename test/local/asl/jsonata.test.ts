// Expressions: what a field may hold, what functions give, how failures are told.
import { describe, expect, test } from "vitest";
import type { Json } from "../../../lib/local/asl/index.ts";
import { execute, LAMBDA, machineOf } from "./harness.ts";

const pass = (output: Json, input: Json = {}) =>
  execute(machineOf({ Only: { Type: "Pass", Output: output, End: true } }), { input });
const evaluated = async (expression: string, input?: Json) => {
  const { result } = await pass(`{% ${expression} %}`, input);
  return result.status === "SUCCEEDED" ? result.output : result.cause;
};

describe("AWS's functions", () => {
  test.each<[string, Json]>([
    ["$partition([1,2,3,4,5], 2)", [[1, 2], [3, 4], [5]]],
    ["$partition([1], 4)", [[1]]],
    ["$range(1, 9, 2)", [1, 3, 5, 7, 9]],
    ["$range(3, 1, -1)", [3, 2, 1]],
    ["$range(1, 1, 1)", [1]],
    ["$hash('input data', 'SHA-1')", "aaff4a450a104cd177d28d18d74485e8cae074b7"],
    ["$hash('a', 'MD5')", "0cc175b9c0f1b6a831c399e269772661"],
    ["$parse('{\"a\": [1, null]}').a", [1, null]],
    ["$random(42)", 0.7275636800328681],
    ["$random(7) = $random(7)", true],
    ["$random(7) = $random(8)", false],
    ["$random() = $random()", false],
    ["$length($uuid())", 36],
    ["$now() = $fromMillis($millis())", true],
    ["$now('[Y]')", "2030"],
  ])("%s", async (expression, expected) => {
    expect(await evaluated(expression)).toEqual(expected);
  });

  test.each([
    ["$eval('1')", /T1006: Attempted to invoke a non-function/],
    ["$hash('a', 'CRC')", /SHA-256/],
    ["$partition([1], 0)", /positive number/],
    ["$range(1, 5000, 1)", /at most 1000/],
    ["$range(1, 2, 0)", /step by 0/],
    ["$parse('{')", /threw an error during evaluation: /],
  ])("%s fails", async (expression, cause) => {
    expect(await evaluated(expression)).toMatch(cause);
  });
});

describe("a failed evaluation", () => {
  test.each<[Json, string]>([
    [
      "{% $states.input.no %}",
      "The JSONata expression '$states.input.no' specified for the field 'Output' returned nothing (undefined).",
    ],
    [{ a: ["x", "{% $states.input.no %}"] }, "'Output/a[1]' returned nothing (undefined)."],
    ["{% function($x) { $x } %}", "returned an unsupported result type."],
    ["{% {'f': $sum} %}", "returned an unsupported result type."],
    ["{% 1 + 'a' %}", "threw an error during evaluation. T2002: The right side of"],
    ["{% $error('no') %}", "threw an error during evaluation. D3137: no"],
  ])("of %j tells field and expression", async (output, cause) => {
    const { result } = await pass(output);
    expect(result).toMatchObject({ status: "FAILED", error: "States.QueryEvaluationError" });
    expect(result.cause).toContain(cause);
    expect(result.cause).toContain("the state 'Only' (entered at the event id #2)");
  });

  test("of a runaway recursion ends", async () => {
    expect(await evaluated("($f := function($n) { 1 + $f($n) }; $f(1))")).toMatch(/threw an error during evaluation/);
  });

  test.each([
    ["TimeoutSeconds", "{% 'long' %}", "Expected 'number', but was 'string'"],
    ["TimeoutSeconds", "{% 0 %}", "must be an integer between 1 and 99999999"],
  ])("of %s %s fails the state before its task begins", async (field, expression, cause) => {
    const { result, requests } = await execute(
      machineOf({ Work: { Type: "Task", Resource: LAMBDA, [field]: expression, End: true } }),
    );
    expect(result.cause).toContain(cause);
    expect(requests).toEqual([]);
  });
});

describe("values", () => {
  test("keep arrays of one element, nulls, empty objects and awkward keys", async () => {
    const input = { one: [1], none: null, empty: {}, list: [], nested: [[1]] };
    expect(await evaluated("$states.input", input)).toEqual(input);
    expect(await evaluated("$states.input.one", input)).toEqual([1]);
    const { result } = await pass(JSON.parse('{"__proto__": {"a": "{% 1 %}"}}') as Json);
    expect(JSON.stringify(result.output)).toBe('{"__proto__":{"a":1}}');
  });

  test("are plain text where spaces stand outside the delimiters", async () => {
    const { result } = await pass([" {% 1 %} ", "{% 1 %} ", "{% 1 %}"]);
    expect(result.output).toEqual([" {% 1 %} ", "{% 1 %} ", 1]);
  });
});

describe("variables", () => {
  test("get their new values after Assign and Output were both evaluated", async () => {
    const { result } = await execute(
      machineOf({
        A: { Type: "Pass", Assign: { x: 1, y: 1 }, Next: "B" },
        B: { Type: "Pass", Assign: { x: 2, y: "{% $x + 10 %}" }, Output: "{% $x %}", Next: "C" },
        C: { Type: "Pass", Output: "{% [$states.input, $x, $y] %}", End: true },
      }),
    );
    expect(result.output).toEqual([1, 2, 11]);
  });

  test("of the outside are read in branches and iterations, and those of the inside end with them", async () => {
    const { result } = await execute(
      machineOf({
        A: { Type: "Pass", Assign: { outer: "o" }, Next: "All" },
        All: {
          Type: "Map",
          Items: [1, 2],
          ItemProcessor: {
            StartAt: "I",
            States: {
              I: { Type: "Pass", Assign: { inner: "{% $outer & $states.input %}" }, Next: "J" },
              J: { Type: "Pass", Output: "{% $inner %}", End: true },
            },
          },
          Output: { all: "{% $states.result %}", inner: "{% $exists($inner) %}" },
          End: true,
        },
      }),
    );
    expect(result.output).toEqual({ all: ["o1", "o2"], inner: false });
  });

  test("are not there in the children of a distributed Map", async () => {
    const { result } = await execute(
      machineOf({
        A: { Type: "Pass", Assign: { outer: "o" }, Next: "All" },
        All: {
          Type: "Map",
          Items: [1],
          ItemProcessor: {
            ProcessorConfig: { Mode: "DISTRIBUTED" },
            StartAt: "I",
            States: { I: { Type: "Pass", Output: "{% $exists($outer) %}", End: true } },
          },
          End: true,
        },
      }),
    );
    expect(result.output).toEqual([false]);
  });
});

describe("the payload limit", () => {
  const big = "x".repeat(262_144);

  test("fails a task whose result exceeds 256 KiB, which States.ALL does not catch", async () => {
    const { result } = await execute(
      machineOf({
        Work: { Type: "Task", Resource: LAMBDA, Catch: [{ ErrorEquals: ["States.ALL"], Next: "Rescue" }], End: true },
        Rescue: { Type: "Pass", End: true },
      }),
      { tasks: () => big },
    );
    expect(result.error).toBe("States.DataLimitExceeded");
  });

  test("fails a state whose output exceeds it", async () => {
    expect((await pass("{% $join($range(1, 1000, 1).($pad('', 300, '#'))) %}")).result.error).toBe(
      "States.DataLimitExceeded",
    );
  });

  test("refuses an input that exceeds it", async () => {
    await expect(pass("ok", big)).rejects.toThrow(RangeError);
  });
});

describe("Choice", () => {
  const choice = (rest: object, input: Json) =>
    execute(
      machineOf({ Fork: { Type: "Choice", ...rest }, A: { Type: "Pass", End: true }, B: { Type: "Pass", End: true } }),
      { input },
    );
  const rules = [
    { Condition: "{% $states.input.n > 5 %}", Next: "A", Output: "big", Assign: { size: "big" } },
    { Condition: "{% $states.input.n > 1 %}", Next: "A" },
  ];

  test("takes the first rule that holds, with that rule's Output", async () => {
    expect((await choice({ Choices: rules, Default: "B" }, { n: 9 })).result.output).toBe("big");
    expect((await choice({ Choices: rules, Default: "B", Output: "default" }, { n: 2 })).result.output).toEqual({
      n: 2,
    });
    expect((await choice({ Choices: rules, Default: "B", Output: "default" }, { n: 0 })).result.output).toBe("default");
  });

  test("raises States.NoChoiceMatched without a Default", async () => {
    const { result } = await choice({ Choices: [...rules, { Condition: false, Next: "B" }] }, { n: 0 });
    expect(result).toMatchObject({ status: "FAILED", error: "States.NoChoiceMatched" });
  });

  test("fails on a condition that is no boolean", async () => {
    const { result } = await choice(
      { Choices: [{ Condition: "{% $states.input.n %}", Next: "A" }], Default: "B" },
      { n: 0 },
    );
    expect(result.cause).toContain(
      "'Choices[0]/Condition' returned an unexpected result type. Expected 'boolean', but was 'number' for value: 0",
    );
  });
});
