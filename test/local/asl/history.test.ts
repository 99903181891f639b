// Events as GetExecutionHistory returns them, for the two families of task and for a `.sync` one.
import { expect, test } from "vitest";
import { execute, machineOf } from "./harness.ts";

const FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f";

test("records a function named by its ARN, and a job that was submitted and awaited", async () => {
  const { events } = await execute(
    machineOf({
      Call: {
        Type: "Task",
        Resource: FUNCTION,
        TimeoutSeconds: 9,
        Assign: { n: "{% $states.result.n %}" },
        Next: "Job",
      },
      Job: { Type: "Task", Resource: "arn:aws:states:::batch:submitJob.sync", Arguments: { JobName: "j" }, End: true },
    }),
    {
      input: { a: 1 },
      tasks: async ({ stateName, submitted }) => {
        if (stateName === "Call") return { n: 7 };
        await submitted({ JobId: "1" });
        return { Status: "SUCCEEDED" };
      },
    },
  );
  const whole = { truncated: false };
  const batch = { resource: "submitJob.sync", resourceType: "batch" };
  const expected = [
    ["ExecutionStarted", { executionStartedEventDetails: { input: '{"a":1}', inputDetails: whole } }],
    ["TaskStateEntered", { stateEnteredEventDetails: { name: "Call", input: '{"a":1}', inputDetails: whole } }],
    [
      "LambdaFunctionScheduled",
      {
        lambdaFunctionScheduledEventDetails: {
          resource: FUNCTION,
          input: '{"a":1}',
          inputDetails: whole,
          timeoutInSeconds: 9,
        },
      },
    ],
    ["LambdaFunctionStarted", {}],
    ["LambdaFunctionSucceeded", { lambdaFunctionSucceededEventDetails: { output: '{"n":7}', outputDetails: whole } }],
    [
      "TaskStateExited",
      {
        stateExitedEventDetails: {
          name: "Call",
          output: '{"n":7}',
          outputDetails: whole,
          assignedVariables: { n: "7" },
          assignedVariablesDetails: whole,
        },
      },
    ],
    ["TaskStateEntered", { stateEnteredEventDetails: { name: "Job", input: '{"n":7}', inputDetails: whole } }],
    ["TaskScheduled", { taskScheduledEventDetails: { ...batch, region: "us-east-1", parameters: '{"JobName":"j"}' } }],
    ["TaskStarted", { taskStartedEventDetails: batch }],
    ["TaskSubmitted", { taskSubmittedEventDetails: { ...batch, output: '{"JobId":"1"}', outputDetails: whole } }],
    [
      "TaskSucceeded",
      { taskSucceededEventDetails: { ...batch, output: '{"Status":"SUCCEEDED"}', outputDetails: whole } },
    ],
    [
      "TaskStateExited",
      { stateExitedEventDetails: { name: "Job", output: '{"Status":"SUCCEEDED"}', outputDetails: whole } },
    ],
    [
      "ExecutionSucceeded",
      { executionSucceededEventDetails: { output: '{"Status":"SUCCEEDED"}', outputDetails: whole } },
    ],
  ] as const;
  expect(events).toEqual(
    expected.map(([type, details], i) => ({
      timestamp: "2030-01-01T00:00:00.000Z",
      type,
      id: i + 1,
      // The first state follows event 0, as in every history from AWS.
      previousEventId: i < 2 ? 0 : i,
      ...details,
    })),
  );
});
