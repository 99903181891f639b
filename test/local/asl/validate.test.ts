// What is refused before anything starts, and how the refusal reads.
import { describe, expect, test } from "vitest";
import { AslDefinitionError, checkDefinition, runExecution, validateDefinition } from "../../../lib/local/asl/index.ts";
import { available, readCases } from "./conformance-case.ts";
import { LAMBDA, machineOf } from "./harness.ts";

const END = { End: true };
const pass = { Type: "Pass", ...END };
const task = (rest: object = {}) => machineOf({ Work: { Type: "Task", Resource: LAMBDA, ...END, ...rest } });
const map = (rest: object = {}, config: object = {}, states: object = { I: pass }) =>
  machineOf({
    All: { Type: "Map", ItemProcessor: { ProcessorConfig: config, StartAt: "I", States: states }, ...END, ...rest },
  });
const problems = (definition: unknown) =>
  checkDefinition(definition).errors.map(({ code, pointer }) => `${code} ${pointer}`);

describe("the validator refuses", () => {
  test.each<[string, unknown, string]>([
    ["what is no object", "x", "DefinitionNotObject "],
    ["an empty definition", {}, "FieldMissing "],
    ["a machine without states", { QueryLanguage: "JSONata", StartAt: "A", States: {} }, "FieldInvalid /States"],
    ["a JSONPath machine", { StartAt: "A", States: { A: pass } }, "QueryLanguageUnsupported /States/A"],
    [
      "a JSONPath state",
      machineOf({ A: { ...pass, QueryLanguage: "JSONPath" } }),
      "QueryLanguageUnsupported /States/A/QueryLanguage",
    ],
    ["a JSONPath field", task({ Parameters: {} }), "FieldUnsupported /States/Work/Parameters"],
    ["an unknown field", task({ Timeout: 1 }), "FieldUnknown /States/Work/Timeout"],
    ["a field of another type of state", machineOf({ A: { ...pass, Items: [] } }), "FieldUnknown /States/A/Items"],
    ["an unknown type", machineOf({ A: { Type: "Loop", ...END } }), "StateTypeUnknown /States/A/Type"],
    ["a state without a type", machineOf({ A: END }), "FieldMissing /States/A"],
    [
      "a callback",
      task({ Resource: "arn:aws:states:::sqs:sendMessage.waitForTaskToken" }),
      "ResourceUnsupported /States/Work/Resource",
    ],
    [
      "an activity",
      task({ Resource: "arn:aws:states:us-east-1:1:activity:x" }),
      "ResourceUnsupported /States/Work/Resource",
    ],
    ["a resource that is none", task({ Resource: "arn:aws:s3:::bucket" }), "ResourceInvalid /States/Work/Resource"],
    ["credentials", task({ Credentials: { RoleArn: "arn" } }), "FieldUnsupported /States/Work/Credentials"],
    [
      "a result writer",
      map({ ResultWriter: {} }, { Mode: "DISTRIBUTED" }),
      "FieldUnsupported /States/All/ResultWriter",
    ],
    ["a missing start", { QueryLanguage: "JSONata", StartAt: "B", States: { A: pass } }, "TargetMissing /StartAt"],
    ["a missing target", machineOf({ A: { Type: "Pass", Next: "B" } }), "TargetMissing /States/A/Next"],
    ["a state that nothing leads to", machineOf({ A: pass, B: pass }), "StateUnreachable /States/B"],
    ["a state that leads nowhere", machineOf({ A: { Type: "Pass" } }), "FieldMissing /States/A"],
    ["Next beside End", machineOf({ A: { ...pass, Next: "A" } }), "FieldInvalid /States/A/Next"],
    [
      "one name twice",
      map({}, {}, { I: { Type: "Pass", Next: "All" }, All: pass }),
      "StateNameInvalid /States/All/ItemProcessor/States/All",
    ],
    [
      "an expression that cannot be parsed",
      task({ Arguments: { a: ["{% 1 + %}"] } }),
      "ExpressionInvalid /States/Work/Arguments/a/0",
    ],
    ["$state for $states", task({ Arguments: "{% $state.input %}" }), "ReferenceInvalid /States/Work/Arguments"],
    ["a part that $states lacks", task({ Output: "{% $states.inputs %}" }), "ReferenceInvalid /States/Work/Output"],
    [
      "result before there is one",
      task({ Arguments: "{% $states.result %}" }),
      "ReferenceInvalid /States/Work/Arguments",
    ],
    [
      "errorOutput outside a Catch",
      task({ Output: "{% $states.errorOutput %}" }),
      "ReferenceInvalid /States/Work/Output",
    ],
    ["$$", task({ Output: "{% $$.x %}" }), "ReferenceInvalid /States/Work/Output"],
    ["$ at the top", task({ Output: "{% $.x %}" }), "ReferenceInvalid /States/Work/Output"],
    ["a field name at the top", task({ Output: "{% {'a': name} %}" }), "ReferenceInvalid /States/Work/Output"],
    ["a variable called states", task({ Assign: { states: 1 } }), "VariableInvalid /States/Work/Assign/states"],
    ["a variable that is no name", task({ Assign: { "a-b": 1 } }), "VariableInvalid /States/Work/Assign/a-b"],
    [
      "an outer variable assigned inside",
      map({ Assign: { x: 1 } }, {}, { I: { ...pass, Assign: { x: 2 } } }),
      "VariableInvalid /States/All/ItemProcessor/States/I/Assign/x",
    ],
    [
      "States.ALL with others",
      task({ Retry: [{ ErrorEquals: ["States.ALL", "A"] }] }),
      "FieldInvalid /States/Work/Retry/0/ErrorEquals",
    ],
    [
      "States.ALL before others",
      task({ Retry: [{ ErrorEquals: ["States.ALL"] }, { ErrorEquals: ["A"] }] }),
      "FieldInvalid /States/Work/Retry/0/ErrorEquals",
    ],
    [
      "a backoff below 1",
      task({ Retry: [{ ErrorEquals: ["A"], BackoffRate: 0.5 }] }),
      "FieldInvalid /States/Work/Retry/0/BackoffRate",
    ],
    [
      "a longest delay under the first",
      task({ Retry: [{ ErrorEquals: ["A"], IntervalSeconds: 9, MaxDelaySeconds: 9 }] }),
      "FieldInvalid /States/Work/Retry/0/MaxDelaySeconds",
    ],
    ["a catcher without Next", task({ Catch: [{ ErrorEquals: ["A"] }] }), "FieldMissing /States/Work/Catch/0"],
    ["a time limit of 0", task({ TimeoutSeconds: 0 }), "FieldInvalid /States/Work/TimeoutSeconds"],
    ["Items that are no array", map({ Items: { a: 1 } }), "FieldInvalid /States/All/Items"],
    ["a reader in an INLINE Map", map({ ItemReader: {} }), "FieldInvalid /States/All/ItemReader"],
    [
      "a reader's format",
      map(
        { ItemReader: { Resource: "arn:aws:states:::s3:getObject", ReaderConfig: { InputType: "PARQUET" } } },
        { Mode: "DISTRIBUTED" },
      ),
      "FieldInvalid /States/All/ItemReader/ReaderConfig/InputType",
    ],
    ["an unknown mode", map({}, { Mode: "PARALLEL" }), "FieldInvalid /States/All/ItemProcessor/ProcessorConfig/Mode"],
    [
      "a Parallel without branches",
      machineOf({ P: { Type: "Parallel", Branches: [], ...END } }),
      "FieldInvalid /States/P/Branches",
    ],
    [
      "a condition that is text",
      machineOf({ C: { Type: "Choice", Choices: [{ Condition: "yes", Next: "C" }] } }),
      "FieldInvalid /States/C/Choices/0/Condition",
    ],
    ["a Wait for nothing", machineOf({ W: { Type: "Wait", ...END } }), "FieldMissing /States/W"],
    [
      "a Wait for a time that is none",
      machineOf({ W: { Type: "Wait", Timestamp: "2030-02-30T00:00:00Z", ...END } }),
      "FieldInvalid /States/W/Timestamp",
    ],
    ["Assign in Succeed", machineOf({ S: { Type: "Succeed", Assign: {} } }), "FieldUnknown /States/S/Assign"],
  ])("%s", (_, definition, problem) => {
    expect(problems(definition)).toContain(problem);
  });

  test("with an error that names the place, what was got, what is allowed and what to do", () => {
    const definition = task({ Retry: [{ ErrorEquals: ["A"], MaxAttempts: -1 }], Timeout: 3 });
    const refuse = () => validateDefinition(definition);
    expect(refuse).toThrow(AslDefinitionError);
    try {
      refuse();
    } catch (thrown) {
      const { code, message, remedy, details, problems: all } = thrown as AslDefinitionError;
      expect({ code, message, remedy, details }).toEqual({
        code: "FieldUnknown",
        message: "The Task state 'Work' has no field Timeout (at /States/Work/Timeout). 1 more below it.",
        remedy: "Remove it or correct its name.",
        details: {
          field: "/States/Work/Timeout",
          got: "3",
          allowed:
            "Type, Comment, QueryLanguage, Next, End, Assign, Output, Retry, Catch, Resource, Arguments, TimeoutSeconds, HeartbeatSeconds",
        },
      });
      expect(all[1]).toMatchObject({ code: "FieldInvalid", got: "-1", allowed: "an integer between 0 and 99999999" });
    }
  });

  test("before any event is recorded", async () => {
    let events = 0;
    const request = { definition: task({ Credentials: {} }), input: {}, name: "x", s3: { getObject: async () => "" } };
    const run = runExecution({ ...request, sink: () => void events++, tasks: async () => 1 });
    await expect(run).rejects.toMatchObject({ code: "FieldUnsupported" });
    expect(events).toBe(0);
  });
});

test("a variable that nothing assigns is a warning: AWS accepts it and fails when it gets there", () => {
  const { errors, warnings } = checkDefinition(
    machineOf({
      A: { Type: "Pass", Assign: { known: 1 }, Next: "B" },
      B: { Type: "Pass", Output: "{% $map([1], function($v) { $v + $known + $unknown }) ~> $nosuch %}", End: true },
    }),
  );
  expect(errors).toEqual([]);
  expect(warnings.map(({ code, message }) => [code, /\$\w+/.exec(message)?.[0]])).toEqual([
    ["VariableNeverAssigned", "$unknown"],
    ["VariableNeverAssigned", "$nosuch"],
  ]);
});

test.each([
  "$states.input.a[b = 1].c",
  "$states.input.items#$i.{'at': $i, 'name': name}",
  "$states.input.list.($x := value; $x + $)",
  "$states.input.list^(>size)[0].key",
  "$states.input.list{kind: $sum(size)}",
  "$reduce($states.input.list, function($a, $b) { $a + $b }, 0)",
  "$states.input ~> |a|{'b': c}|",
  "$states.context.Execution.Input.x ? 'a' : 'b'",
])("takes %s", (expression) => {
  expect(checkDefinition(task({ Arguments: `{% ${expression} %}` }))).toMatchObject({ errors: [], warnings: [] });
});

describe.skipIf(!available)("definitions that AWS refused", () => {
  interface Invalid {
    id: string;
    definition?: unknown;
    definition_text?: string;
    expected: { valid: boolean };
  }
  const cases = (available ? (readCases("invalid.json") as unknown as Invalid[]) : []).filter(
    ({ expected }) => !expected.valid,
  );

  test.each(cases.map((each) => [each.id, each] as const))("%s", (_, { definition, definition_text }) => {
    expect(problems(definition ?? definition_text).length).toBeGreaterThan(0);
  });
});
