// What the report makes of the capacity ladder: rungs that were left, and tasks that no rung was left for.
import { describe, expect, it } from "vitest";
import { produce } from "./produce.ts";
import { RunFixture } from "./run-fixture.ts";

const fall = {
  stage: "train" as const,
  taskId: "train-fold0-dali",
  rung: "spot-ml.p5.4xlarge",
  reason: "CapacityError: Unable to provision requested ML compute capacity.",
  next: "on-demand-ml.p5.4xlarge",
};

describe("a rung that a task had to leave", () => {
  it("is in the report with what the service said and what came then, and does not make the run fail", async () => {
    const run = new RunFixture();
    run.input.falls = [fall];
    const { json, html } = await produce(run);
    expect(json.status).toBe("succeeded");
    expect(json.falls).toEqual([fall]);
    for (const said of [fall.rung, fall.reason, fall.next, "Rungs left"]) expect(html).toContain(said);
  });

  it("takes no place where there was none", async () => {
    const { json, html } = await produce(new RunFixture());
    expect(json.falls).toEqual([]);
    expect(html).not.toContain("Rungs left");
  });

  it("names no path of the dataset", async () => {
    const run = new RunFixture();
    run.input.falls = [{ ...fall, reason: "Lost s3://clinic/datasets/x/Doe^John/1.dcm" }];
    expect((await produce(run)).json.falls[0]?.reason).toBe("Lost (path left out)");
  });
});

describe("a task that no rung was left for", () => {
  const failing = async (error: string, errorMessage: string) => {
    const run = new RunFixture();
    run.removeAll(`runs/${run.runId}/results/train`);
    const cause = JSON.stringify({ errorType: error, errorMessage });
    run.input.failures.push({ stage: "train", taskId: "train-fold0-dali", error, cause });
    return (await produce(run)).json.errors.find(({ code }) => code === error);
  };

  it("fails as NoCapacity, with what to do about it", async () => {
    expect(
      await failing("NoCapacity", "No machine could be had or kept: spot-p5.4xlarge (no instance)."),
    ).toMatchObject({
      message: "No machine could be had or kept: spot-p5.4xlarge (no instance).",
      remedy: expect.stringContaining("capacity.rungs"),
    });
  });

  it("fails as the ledger refused it, in the ledger's own words", async () => {
    const refusal = { code: "OverBudget", message: "It can cost 99.00 USD.", remedy: "Raise maxUsd." };
    const document = { schema: 1, stage: "train", taskId: "train-fold0-dali", ...refusal };
    expect(await failing("OverBudget", JSON.stringify(document))).toMatchObject(refusal);
  });
});
