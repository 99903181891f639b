// Dollars of a run on AWS: what the ledger settled, whatever rungs its tasks ran on.
import { describe, expect, it } from "vitest";
import { taskCosts } from "../../../lambdas/ledger/costs.ts";
import type { Hold, Spent, TaskCost } from "../../../lambdas/ledger/ports.ts";
import {
  type BoundedJob,
  inferTaskId,
  keys,
  type LedgerStage,
  mostUsdPerHour,
  PRICES_DATE,
  type ReportRow,
  type TrainResult,
  trainTaskId,
} from "../../../lib/contracts/index.ts";
import { produce } from "./produce.ts";
import { RunFixture } from "./run-fixture.ts";

const TRAIN = trainTaskId("fold1", "dali");
const INFER = inferTaskId("fold1", "dali", "onnxruntime");

interface Entry {
  stage: LedgerStage;
  taskId: string;
  rung: string;
  job: Partial<BoundedJob> & Pick<BoundedJob, "instanceType">;
  cents: number;
}

/** The ledger's record of entries, in the order in which they were reserved. */
function recordOf(settled: readonly Entry[], open: readonly Entry[] = []): TaskCost[] {
  const common = ({ stage, taskId, rung, job }: Entry, at: number) => {
    const whole: BoundedJob = {
      service: "batch",
      name: `${taskId}-*`,
      children: 2,
      childrenPerInstance: 1,
      attemptSeconds: 60,
      attempts: 1,
      waitSeconds: 0,
      ...job,
    };
    const usdPerHour = mostUsdPerHour(whole.service === "batch" ? "ec2" : "sagemaker", whole.instanceType);
    const name = `run/${taskId}/${rung}`;
    return { name, runId: "run", stage, taskId, rung, job: whole, usdPerHour, reservedAtMs: at };
  };
  const spent = settled.map(
    (entry, at): Spent => ({
      ...common(entry, at),
      // What is settled late may have been reserved early.
      settledAtMs: 1_000 - at,
      centsByMonth: { "2026-02": entry.cents - 1, "2026-03": 1 },
    }),
  );
  const held = open.map(
    (entry, at): Hold => ({
      ...common(entry, settled.length + at),
      cents: entry.cents,
      months: ["2026-03"],
      lastsUntilMs: 1e6,
    }),
  );
  return taskCosts(spent, held);
}

const onEight = { childrenPerInstance: 8, instanceType: "p5.48xlarge" };
const ingest: Entry = {
  stage: "ingest",
  taskId: "ingest",
  rung: "spot-cpu",
  job: { instanceType: "r6id.4xlarge", childrenPerInstance: 4 },
  cents: 31,
};
const preprocess: Entry = {
  stage: "preprocess",
  taskId: "preprocess",
  rung: "spot-p5.48xlarge",
  job: onEight,
  cents: 900,
};
const train: Entry = {
  stage: "train",
  taskId: TRAIN,
  rung: "on-demand-ml.p5.48xlarge",
  job: { service: "training", instanceType: "p5.48xlarge" },
  cents: 4_321,
};
const compile: Entry = {
  stage: "compile",
  taskId: "compile-fold1-dali-onnxruntime",
  rung: "spot-p5.48xlarge",
  job: { ...onEight, children: 1 },
  cents: 200,
};
const inferOnSpot: Entry = { stage: "infer", taskId: INFER, rung: "spot-p5.48xlarge", job: onEight, cents: 1_200 };
const inferOnSmaller: Entry = {
  stage: "infer",
  taskId: INFER,
  rung: "smaller-gpu-g6e.4xlarge",
  job: { instanceType: "g6e.4xlarge" },
  cents: 77,
};
const WHOLE = [ingest, preprocess, train, compile, inferOnSpot, inferOnSmaller];

/** A run on AWS, and its report by what the ledger says. */
async function reported(costs: readonly TaskCost[], run = new RunFixture({ where: "aws", gpu: true })) {
  const asked: string[] = [];
  const made = await produce(run, {
    costs: async (runId) => {
      asked.push(runId);
      return [...costs];
    },
  });
  const row = (kind: ReportRow["kind"]) => made.json.rows.find((one) => one.kind === kind)!;
  const usdOf = (stage: LedgerStage) => made.json.stages.find((one) => one.stage === stage)?.usd;
  return { ...made, row, usdOf, asked, notes: made.json.notes.join("\n") };
}

/** USD an hour that a row's dollars stand for. */
const hourly = ({ usdPer1000Volumes, volumesPerSecond }: ReportRow) =>
  (usdPer1000Volumes! / 1000) * volumesPerSecond! * 3600;

describe("dollars on AWS", () => {
  it("are what the ledger settled, of every rung, those that were left too", async () => {
    const { json, usdOf, asked, notes } = await reported(recordOf(WHOLE));
    expect(json.where).toBe("aws");
    expect(usdOf("infer")).toBeCloseTo(12.77, 9);
    expect(usdOf("preprocess")).toBeCloseTo(9, 9);
    expect(json.usd).toBeCloseTo(0.31 + 9 + 43.21 + 2 + 12.77, 9);
    expect(asked).toEqual([json.runId]);
    expect(notes).toContain(`us-east-1, ${PRICES_DATE}`);
    expect(notes).toContain("also those that Spot took back");
    expect(notes).not.toMatch(/on the bill alone|Not settled|could not be read|no record/);
  });

  it("have beside them what the stages' times and shares of instances come to", async () => {
    const run = new RunFixture({ where: "aws", gpu: true });
    const { notes } = await reported(recordOf(WHOLE), run);
    const p5 = mostUsdPerHour("ec2", "p5.48xlarge");
    const usdPerHour: Record<string, number> = {
      ingest: mostUsdPerHour("ec2", "r6id.4xlarge") / 4,
      preprocess: p5 / 8,
      train: 2 * mostUsdPerHour("sagemaker", "p5.48xlarge"),
      compile: p5 / 8,
      infer: mostUsdPerHour("ec2", "g6e.4xlarge"),
    };
    const results = [...run.store.objects]
      .filter(([uri]) => uri.includes("/results/"))
      .map(([, body]) => JSON.parse(new TextDecoder().decode(body)) as { stage: string; seconds: number })
      .filter(({ stage }) => stage in usdPerHour);
    expect(results.length).toBeGreaterThan(6);
    const usd = results.reduce((sum, { stage, seconds }) => sum + (seconds / 3600) * usdPerHour[stage]!, 0);
    expect(usd).toBeGreaterThan(0.01);
    expect(notes).toContain(`at the shares of instances that they held, is ${usd.toFixed(2)} USD`);
  });

  it("a volume are those of the rung that its task ended on: a smaller GPU, not the first fleet's", async () => {
    const { row } = await reported(recordOf(WHOLE));
    // Two children in turn, each with an instance of its own.
    expect(hourly(row("engine"))).toBeCloseTo(mostUsdPerHour("ec2", "g6e.4xlarge"), 6);
    const stayed = await reported(recordOf(WHOLE.filter((entry) => entry !== inferOnSmaller)));
    expect(hourly(stayed.row("engine"))).toBeCloseTo(mostUsdPerHour("ec2", "p5.48xlarge") / 8, 6);
  });

  it("of ingest are those of CPU instances that its children share, and never a GPU instance's", async () => {
    const { usdOf, json, notes } = await reported(recordOf(WHOLE));
    expect(usdOf("ingest")).toBeCloseTo(0.31, 9);
    expect(json.stages.find(({ stage }) => stage === "ingest")!.equivalentUsd).toBe(0);
    expect(notes).toContain("ingest are priced as r6id.4xlarge");
  });

  it("of a training on SageMaker are of all its instances, at a price that is said to be a stand-in", async () => {
    const { row, usdOf, notes } = await reported(recordOf(WHOLE));
    expect(usdOf("train")).toBeCloseTo(43.21, 9);
    expect(hourly(row("training"))).toBeCloseTo(2 * mostUsdPerHour("sagemaker", "p5.48xlarge"), 6);
    expect(notes).toMatch(/SageMaker's own price of p5\.48xlarge is not in the table: 1\.41 times EC2's/);
    const onBatch = { ...train, job: { ...onEight, childrenPerInstance: 1 } };
    const batch = await reported(recordOf([...WHOLE.filter((entry) => entry !== train), onBatch]));
    expect(hourly(batch.row("training"))).toBeCloseTo(2 * mostUsdPerHour("ec2", "p5.48xlarge"), 6);
    expect(batch.notes).not.toContain("SageMaker");
  });

  it("name what is not settled yet, and do not count it", async () => {
    const settled = WHOLE.filter((entry) => entry !== inferOnSmaller);
    const { json, row, notes } = await reported(recordOf(settled, [{ ...inferOnSmaller, cents: 512 }]));
    expect(json.usd).toBeCloseTo(0.31 + 9 + 43.21 + 2 + 12, 9);
    expect(notes).toContain(
      `Not settled yet, and not in the dollars: ${INFER} on smaller-gpu-g6e.4xlarge, at most 5.12 USD`,
    );
    expect(hourly(row("engine"))).toBeCloseTo(mostUsdPerHour("ec2", "g6e.4xlarge"), 6);
  });

  it("of a stage whose jobs all failed are in the total and on the page, as neither skipped nor timed", async () => {
    const run = new RunFixture({ where: "aws", gpu: true });
    run.removeAll(...["train", "compile", "infer"].map((stage) => `${keys.results(run.runId)}${stage}`));
    run.input.failures.push({ stage: "train", taskId: TRAIN, error: "NoCapacity", cause: "{}" });
    const { json, html, usdOf } = await reported(recordOf([ingest, preprocess, train]), run);
    expect(usdOf("train")).toBeCloseTo(43.21, 9);
    expect(json.usd).toBeCloseTo(0.31 + 9 + 43.21, 9);
    expect(html).toContain("43.21");
    expect(html).not.toContain("<span>skipped</span>");
  });

  it("a volume of a training that an earlier run made are those of that run's instances", async () => {
    const run = new RunFixture({ where: "aws", gpu: true });
    run.change<TrainResult>(run.resultKey(TRAIN), (result) => {
      result.runId = "phantoms-earlier";
    });
    const asked: string[] = [];
    const { json } = await produce(run, {
      costs: async (runId) => {
        asked.push(runId);
        return runId === "phantoms-earlier" ? recordOf([train]) : recordOf(WHOLE.filter((entry) => entry !== train));
      },
    });
    expect(asked.toSorted()).toEqual([run.runId, "phantoms-earlier"].toSorted());
    const row = json.rows.find(({ kind }) => kind === "training")!;
    expect(hourly(row)).toBeCloseTo(2 * mostUsdPerHour("sagemaker", "p5.48xlarge"), 6);
    expect(json.stages.find(({ stage }) => stage === "train")!.usd).toBe(0);
  });
});

describe("dollars on AWS without the ledger", () => {
  const priced = (instanceType: string) => {
    const run = new RunFixture({ where: "aws", gpu: true });
    run.change(keys.plan(run.runId), (plan: RunFixture["plan"]) => {
      plan.estimate.pricedAs.instanceType = instanceType;
    });
    return run;
  };
  const denied = async () => {
    throw Object.assign(new Error("on arn:aws:dynamodb:us-east-1:123456789012:table/x"), { name: "AccessDenied" });
  };

  it("are each job's time at its share of the plan's instance, which is said with the reason", async () => {
    const { json, html } = await produce(priced("p5.48xlarge"), { costs: denied });
    const usdOf = (stage: string) => json.stages.find((one) => one.stage === stage)!.usd;
    expect(usdOf("preprocess")).toBeCloseTo(((44 / 3600) * 4.2) / 8, 9);
    const training = json.stages.find(({ stage }) => stage === "train")!;
    expect(training.usd).toBeCloseTo((training.seconds / 3600) * 4.2, 9);
    const notes = json.notes.join("\n");
    expect(notes).toMatch(
      /ledger could not be read \(AccessDenied\): the dollars of .*preprocess.* one p5\.48xlarge at 4\.2/,
    );
    expect(notes).toContain("Spot took back are on the bill alone");
    expect(`${notes}${html}`).not.toContain("123456789012");
  });

  it("are missing of ingest, and never a GPU instance's price", async () => {
    const { json } = await produce(priced("p5.48xlarge"), { costs: denied });
    expect(json.stages.find(({ stage }) => stage === "ingest")!.usd).toBe(0);
    expect(json.notes.join("\n")).toMatch(/the dollars of ingest are missing/);
  });

  it("are missing on a type that has no price", async () => {
    const { json } = await produce(priced("p9.48xlarge"));
    expect(json.usd).toBe(0);
    expect(json.rows.every(({ usdPer1000Volumes }) => usdPer1000Volumes === null)).toBe(true);
    expect(json.notes.join("\n")).toMatch(/the dollars of .*ingest, .*preprocess, .* are missing/);
  });

  it("count a task that the ledger has no record of by its time, and the others by the record", async () => {
    const { json, usdOf, notes } = await reported(recordOf(WHOLE.filter(({ stage }) => stage !== "preprocess")));
    expect(usdOf("preprocess")).toBeCloseTo((44 / 3600) * 4.2, 9);
    expect(usdOf("infer")).toBeCloseTo(12.77, 9);
    expect(json.usd).toBeGreaterThan(12.77 + 43.21);
    expect(notes).toContain("The ledger has no record of some tasks: the dollars of preprocess are");
  });
});
