import { Logger } from "@aws-lambda-powertools/logger";
import middy from "@middy/core";
import { afterEach, describe, expect, it, vi } from "vitest";
import { logErrors } from "../../../lambdas/clients/log-errors.ts";
import { VoxelburstError } from "../../../lib/contracts/index.ts";

const context = { getRemainingTimeInMillis: () => 1000 } as never;

describe("logErrors", () => {
  afterEach(() => vi.restoreAllMocks());

  /** What a function that throws this ends with, and the lines that it logged. */
  async function outcomeOf(error: Error) {
    const lines: string[] = [];
    vi.spyOn(console, "error").mockImplementation((line: string) => void lines.push(line));
    process.env.POWERTOOLS_DEV = "true"; // the logger writes through console, where a test can read it
    const handler = middy()
      .use(logErrors(new Logger({ serviceName: "plan" })))
      .handler(async () => {
        throw error;
      });
    const thrown = await handler({}, context).catch((each: Error) => each);
    return { thrown: thrown as Error, lines };
  }

  it("ends with the error's code as its name and its document as its message, which is all that Lambda passes on", async () => {
    const error = new VoxelburstError("NoUsableCase", "No case is usable.", "Look at the quarantine.", {
      stage: "plan",
    });
    const { thrown, lines } = await outcomeOf(error);
    expect(thrown.name).toBe("NoUsableCase");
    expect(JSON.parse(thrown.message)).toEqual(error.toDocument());
    expect(lines.join()).toContain("NoUsableCase");
  });

  it("logs what was not expected and lets it through", async () => {
    const error = new TypeError("x is not a function");
    const { thrown, lines } = await outcomeOf(error);
    expect(thrown).toBe(error);
    expect(lines.join()).toContain("x is not a function");
  });
});
