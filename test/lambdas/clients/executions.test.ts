import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { SFNClient } from "@aws-sdk/client-sfn";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { StepFunctionsExecutions } from "../../../lambdas/clients/executions.ts";
import { aRequest } from "../../workflow/run.ts";

const arn = "arn:aws:states:us-east-1:123456789012:stateMachine:Voxelburst";
let server: Server;
let executions: StepFunctionsExecutions;
/** Calls of Step Functions in order, and what the next ones are answered. */
let calls: { action: string; input: Record<string, string> }[];
let answers: { status?: number; body: object }[];

beforeEach(async () => {
  calls = [];
  answers = [];
  server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const action = String(request.headers["x-amz-target"]).replace("AWSStepFunctions.", "");
    calls.push({ action, input: JSON.parse(Buffer.concat(chunks).toString()) });
    const { status = 200, body } = answers.shift() ?? { body: {} };
    response.writeHead(status, { "Content-Type": "application/x-amz-json-1.0" }).end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  executions = new StepFunctionsExecutions(
    arn,
    new SFNClient({
      endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      region: "us-east-1",
      credentials: { accessKeyId: "a", secretAccessKey: "s" },
      maxAttempts: 1,
    }),
  );
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

const refusal = (type: string) => ({ status: 400, body: { __type: `com.amazonaws.swf.service.v2.model#${type}` } });

describe("StepFunctionsExecutions", () => {
  it("starts an execution named after the run, with the request and nothing else as its input", async () => {
    answers.push({ body: { executionArn: "e", startDate: 1 } });
    await executions.start(aRequest());
    expect(calls).toEqual([
      {
        action: "StartExecution",
        input: { stateMachineArn: arn, name: "hippocampus-0123456789ab-1", input: JSON.stringify(aRequest()) },
      },
    ]);
  });

  it("takes an execution that exists already for a success, and no other refusal", async () => {
    answers.push(refusal("ExecutionAlreadyExists"), refusal("ExecutionLimitExceeded"));
    await expect(executions.start(aRequest())).resolves.toBeUndefined();
    await expect(executions.start(aRequest())).rejects.toThrow();
  });

  it.each([
    ["RUNNING", "open"],
    ["PENDING_REDRIVE", "open"],
    ["SUCCEEDED", "succeeded"],
    ["FAILED", "failed"],
    ["ABORTED", "failed"],
    ["TIMED_OUT", "failed"],
  ])("calls an execution that is %s %s", async (status, state) => {
    answers.push({ body: { status } });
    expect(await executions.state("hippocampus-0123456789ab-1")).toBe(state);
    expect(calls[0]?.input.executionArn).toBe(
      "arn:aws:states:us-east-1:123456789012:execution:Voxelburst:hippocampus-0123456789ab-1",
    );
  });

  it("calls one that does not exist absent", async () => {
    answers.push(refusal("ExecutionDoesNotExist"));
    expect(await executions.state("x")).toBe("absent");
  });
});
