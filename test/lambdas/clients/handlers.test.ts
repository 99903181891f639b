// The handlers as Lambda loads them. What they do with AWS is tested at their clients, what they decide at their cores.
import { beforeAll, describe, expect, it } from "vitest";

const context = { getRemainingTimeInMillis: () => 1000, functionName: "f", memoryLimitInMB: "1" } as never;

beforeAll(() => {
  Object.assign(process.env, {
    AWS_REGION: "us-east-1",
    POWERTOOLS_LOG_LEVEL: "SILENT",
    VOXELBURST_MACHINE: '{"where":"aws","gpus":1,"cpus":16,"memoryGiB":256,"engines":["torch"]}',
    VOXELBURST_STATE_MACHINE_ARN: "arn:aws:states:us-east-1:123456789012:stateMachine:Voxelburst",
    VOXELBURST_VERSION: "0.1.0",
    VOXELBURST_PSEUDONYM_KEY: "key",
    VOXELBURST_DATA_URI: "s3://data/",
    VOXELBURST_ARTEFACTS_URI: "s3://artefacts/",
    VOXELBURST_QUARANTINE_URI: "s3://quarantine/",
  });
});

describe("the handler of start-run", () => {
  it.each(["datasets/a/b/dataset.json", "datasets/Upper/dataset.json", `datasets/${"x".repeat(64)}/dataset.json`])(
    "refuses %s, which the rule's wildcard lets through, without repeating it",
    async (key) => {
      const { handler } = await import("../../../lambdas/start-run/handler.ts");
      const thrown = await handler({ detail: { object: { key } } } as never, context).catch((error: Error) => error);
      expect(thrown).toMatchObject({ name: "DatasetNameInvalid" });
      expect(JSON.parse((thrown as Error).message)).toMatchObject({ code: "DatasetNameInvalid" });
      expect((thrown as Error).message).not.toContain(key);
    },
  );
});

describe.each(["plan", "report"])("the handler of %s", (verb) => {
  it("refuses an input that is not the state machine's, naming the field", async () => {
    const { handler } = await import(`../../../lambdas/${verb}/handler.ts`);
    const thrown = await handler({ request: { runId: 1 } }, context).catch((error: Error) => error);
    expect(thrown.name).toMatch(/^(Plan|Report)InputInvalid$/);
    expect(JSON.parse(thrown.message)).toMatchObject({ field: expect.stringMatching(/^(request|failures)/) });
  });
});
