// The handlers as Lambda loads them. What they do with AWS is tested at their clients and
// in test/lambdas/trigger, what they decide at their cores.
import { beforeAll, describe, expect, it } from "vitest";

const context = { getRemainingTimeInMillis: () => 1000, functionName: "f", memoryLimitInMB: "1" } as never;

beforeAll(() => {
  Object.assign(process.env, {
    AWS_REGION: "us-east-1",
    POWERTOOLS_LOG_LEVEL: "SILENT",
    VOXELBURST_MACHINE: '{"where":"aws","gpus":1,"cpus":16,"memoryGiB":256,"engines":["torch"]}',
    VOXELBURST_LEDGER: '{"table":"ledger","caps":{"runUsd":100,"monthUsd":1000}}',
  });
});

describe.each(["plan", "reserve", "settle", "report"])("the handler of %s", (verb) => {
  it("refuses an input that is not the state machine's, naming the field", async () => {
    const { handler } = await import(`../../../lambdas/${verb}/handler.ts`);
    const thrown = await handler({ request: { runId: 1 } }, context).catch((error: Error) => error);
    expect(thrown.name).toMatch(/^(Plan|Reserve|Settle|Report)InputInvalid$/);
    expect(JSON.parse(thrown.message)).toMatchObject({
      field: expect.stringMatching(/^(request|failures|stage|job|rung|taskId)/),
    });
  });
});
