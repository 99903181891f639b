import { expect, test } from "vitest";
import { VoxelburstError } from "../../lib/contracts/index.ts";
import { StatesError } from "../../lib/local/asl/index.ts";
import { functionNamed, invokeFunction } from "../../lib/local/function-call.ts";
import { call } from "./fixture.ts";

const invoke = (functions: Parameters<typeof invokeFunction>[1], onError?: Parameters<typeof invokeFunction>[2]) =>
  invokeFunction(
    call("lambda:invoke", { FunctionName: "$" + "{PlanFunction}", Payload: { a: 1 } }),
    functions,
    onError,
  );

test("an answer comes in Lambda's envelope, through JSON", async () => {
  const answer = await invoke({ plan: async (payload) => ({ payload, at: new Date(0), none: undefined }) });
  expect(answer).toMatchObject({
    StatusCode: 200,
    ExecutedVersion: "$LATEST",
    Payload: { payload: { a: 1 }, at: "1970-01-01T00:00:00.000Z" },
  });
  expect(answer.Payload).not.toHaveProperty("none");
});

test("an error is matched by its name, and ours carries its whole document as the handlers' do", async () => {
  const seen: unknown[] = [];
  const broken = invoke(
    {
      plan: async () => {
        throw new VoxelburstError("LabelsMissing", "There are none.", "Add some.");
      },
    },
    (error) => seen.push(error),
  );
  const error = (await broken.catch((thrown: unknown) => thrown)) as StatesError;
  expect(error).toBeInstanceOf(StatesError);
  expect(error.error).toBe("LabelsMissing");
  const cause = JSON.parse(error.cause!);
  expect(cause.errorType).toBe("LabelsMissing");
  const document = { schema: 1, code: "LabelsMissing", message: "There are none.", remedy: "Add some." };
  expect(JSON.parse(cause.errorMessage)).toEqual(document);
  expect(seen).toEqual([document]);
});

test("any other error keeps its message", async () => {
  const broken = invoke({
    plan: async () => {
      throw new TypeError("no");
    },
  });
  await expect(broken).rejects.toMatchObject({
    error: "TypeError",
    cause: expect.stringContaining('"errorMessage":"no"'),
  });
});

test("a function is found by a word of its ARN, its name or its logical name, and by one alone", () => {
  const plan = async () => null;
  const report = async () => null;
  const functions = { plan, report };
  expect(functionNamed("$" + "{PlanFunction}", functions)).toBe(plan);
  expect(functionNamed("arn:aws:lambda:eu-west-1:1:function:vb-ReportFunctionF2B1", functions)).toBe(report);
  expect(functionNamed("PlanAndReport", functions)).toBeUndefined();
  expect(functionNamed("Billing", functions)).toBeUndefined();
  expect(functionNamed(undefined, functions)).toBeUndefined();
});
