// The commands of `--on aws` in this process, against the SDK's own requests and recorded answers.
import { createHash } from "node:crypto";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { S3ObjectStore } from "../../lambdas/clients/s3-object-store.ts";
import { examineDataset } from "../../lambdas/start-run/core.ts";
import { main } from "../../lib/cli/main.ts";
import { keys } from "../../lib/contracts/index.ts";
import { describeStacks, RUN, recordRun } from "../aws/a-run.ts";
import { motoEnvironment } from "../aws/moto.ts";
import { RecordedAws } from "../aws/recorded.ts";
import { S3Server } from "../lambdas/clients/s3-server.ts";
import { produce } from "../lambdas/report/produce.ts";
import { RunFixture } from "../lambdas/report/run-fixture.ts";
import { drop, goodFiles, manifestWith } from "../lambdas/start-run/drop.ts";
import { temporaryFolder } from "../local/fixture.ts";

let aws: RecordedAws;
let s3: S3Server;
beforeEach(async () => {
  aws = new RecordedAws();
  s3 = new S3Server();
  const environment = { ...motoEnvironment(await aws.start()), AWS_ENDPOINT_URL_S3: await s3.start() };
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
  vi.stubEnv("VOXELBURST_HOME", path.join(temporaryFolder(), "home"));
}, 60_000);
afterEach(() => {
  aws.stop();
  s3.stop();
  vi.unstubAllEnvs();
});

/** One command in this process; what it wrote is kept. */
async function voxelburst(...args: string[]) {
  const said = { out: "", err: "" };
  const keep = (part: keyof typeof said) => (text: string | Uint8Array) => {
    said[part] += String(text);
    return true;
  };
  const spies = [
    vi.spyOn(process.stdout, "write").mockImplementation(keep("out")),
    vi.spyOn(process.stderr, "write").mockImplementation(keep("err")),
  ];
  try {
    const code = await main([...args, "--on", "aws"]);
    return { code, ...said, json: said.out.startsWith("{") ? JSON.parse(said.out) : undefined };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

/** A report of the run in the artefacts bucket. */
async function putReport(): Promise<void> {
  const run = new RunFixture({ where: "aws", validationCases: 2, previewSize: 8 });
  const { json } = await produce(run);
  s3.objects.set(`artefacts/${keys.report(RUN, "report.json")}`, {
    body: Buffer.from(JSON.stringify({ ...json, runId: RUN })),
    contentType: "application/json",
  });
}

describe("without a deployment", () => {
  test("a command says so and how to make one", async () => {
    aws.answers.DescribeStacks = {
      __type: "ValidationError",
      message: "Stack with id VoxelburstWorkflow does not exist",
    };
    const { code, err } = await voxelburst("ps");
    expect(code).toBe(1);
    expect(err).toMatch(/^NotDeployed: .*VoxelburstWorkflow/);
    expect(err).toContain("voxelburst deploy");
  });
  test("of another version names the output that it lacks", async () => {
    aws.answers.DescribeStacks = describeStacks({ stateMachineArn: "arn" });
    const { err } = await voxelburst("ps");
    expect(err).toMatch(/^OutputMissing: .*LedgerTable/);
  });
  test.each([
    ["ExpiredTokenException", "AwsCredentialsRefused"],
    ["AccessDenied", "AwsAccessDenied"],
    ["Throttling", "AwsRefused"],
  ])("%s becomes a sentence under %s, without a stack", async (type, code) => {
    vi.stubEnv("AWS_MAX_ATTEMPTS", "1");
    aws.answers.DescribeStacks = { __type: type, message: "no" };
    const { err } = await voxelburst("ps");
    expect(err).toMatch(new RegExp(`^${code}: `));
    expect(err).not.toContain("    at ");
  });
});

describe("a run on AWS", () => {
  test("is listed with its state by ps", async () => {
    recordRun(aws, "RUNNING");
    const { code, json } = await voxelburst("ps", "--json");
    expect(code).toBe(0);
    expect(json.runs.map(({ runId, status }: { runId: string; status: string }) => [runId, status])).toEqual([
      [RUN, "running"],
      ["other-ba9876543210-1", "succeeded"],
    ]);
  });

  test("is watched from its history and its jobs' logs, to its report", async () => {
    recordRun(aws, "SUCCEEDED");
    s3.objects.set(`artefacts/${keys.taskCases(RUN, "preprocess")}`, {
      body: Buffer.from("{}\n{}\n{}\n{}\n{}\n"),
      contentType: undefined,
    });
    await putReport();
    const { code, out } = await voxelburst("watch", "phantoms");
    expect(code).toBe(0);
    expect(out).toContain(`run ${RUN}`);
    expect(out).toMatch(/ingest: done in 3\.0 s, 6\/6 cases/);
    // Two of three cases of the child that runs; the other one's are known from the task.
    expect(out).toMatch(/preprocess: 2\/5 cases, 1\.50\/s/);
    expect(out).toContain(`report: s3://artefacts/runs/${RUN}/report/report.html`);
  });

  test("that failed ends watch with the exit code of its first error", async () => {
    recordRun(aws, "FAILED");
    const { code, err } = await voxelburst("watch", RUN);
    expect(code).toBe(2);
    expect(err).toMatch(/^RunFailed: /);
  });

  test("that was cancelled ends watch with 130, and its report with 0", async () => {
    recordRun(aws, "ABORTED");
    const { code, json } = await voxelburst("watch", RUN, "--json");
    expect(json).toMatchObject({ runId: RUN, status: "cancelled" });
    expect(code).toBe(130);
    await putReport();
    expect((await voxelburst("report", RUN)).code).toBe(0);
  });

  test("has its jobs' words, without progress, and what its functions threw, in logs", async () => {
    recordRun(aws, "RUNNING");
    const all = await voxelburst("logs", RUN);
    expect(all.out).toContain("NVIDIA Release 26.03");
    expect(all.out).toContain("reading case-002");
    expect(all.out).not.toContain('"type": "progress"');
    expect(all.out).toContain("Lambda.TooManyRequestsException: Rate exceeded");
    const plan = await voxelburst("logs", RUN, "plan");
    expect(plan.out).toContain("Rate exceeded");
    expect(plan.out).not.toContain("NVIDIA");
  });

  test("is cancelled with the jobs that still run, and no others", async () => {
    recordRun(aws, "RUNNING");
    const { code, json } = await voxelburst("cancel", RUN, "--json");
    expect(code).toBe(0);
    expect(json).toMatchObject({ runId: RUN, status: "cancelled", stopped: [`preprocess-${RUN}-r0-d0`] });
    expect(aws.inputsOf("StopExecution")).toHaveLength(1);
    expect(aws.inputsOf("terminatejob")).toEqual([{ jobId: "job-2", reason: "voxelburst cancel" }]);
    // Again: it is over, but a job that was left behind is still stopped.
    const again = await voxelburst("cancel", RUN, "--json");
    expect(again.json).toMatchObject({ status: "cancelled", stopped: [`preprocess-${RUN}-r0-d0`] });
    expect(aws.inputsOf("StopExecution")).toHaveLength(1);
  });

  test("costs what the ledger says is spent, and may yet cost what it holds", async () => {
    recordRun(aws, "RUNNING");
    const hold = { runId: RUN, taskId: "preprocess", stage: "preprocess", rung: "spot", cents: 250 };
    const spent = { runId: RUN, taskId: "ingest", stage: "ingest", rung: "cpu" };
    aws.answers.Query = (input: Record<string, never>) => {
      const wanted = JSON.stringify(input);
      const items = wanted.includes("spent#")
        ? [
            {
              spent: dynamo({
                ...spent,
                job: { instanceType: "m6id.4xlarge" },
                centsByMonth: { "2026-11": 120, "2026-12": 3 },
              }),
            },
          ]
        : [{ hold: dynamo({ ...hold, job: { instanceType: "p5.4xlarge" } }) }];
      return { Items: items, Count: items.length, ScannedCount: items.length };
    };
    aws.answers.GetItem = { Item: { committedCents: { N: "98765" } } };
    const { json } = await voxelburst("cost", RUN, "--json");
    expect(json).toMatchObject({ runId: RUN, spentUsd: 1.23, heldUsd: 2.5, committedUsd: 987.65 });
    expect(json.stages.map(({ taskId }: { taskId: string }) => taskId)).toEqual(["ingest", "preprocess"]);
    // What other runs hold is not even asked for.
    const asked = aws.inputsOf("Query").map((input) => JSON.stringify(input));
    expect(asked.find((input) => input.includes('"held"'))).toContain(`{":pk":{"S":"held"},":start":{"S":"${RUN}/"}}`);
  });

  test.each([
    ["is not found", "nothing", "RunNotFound"],
    ["is several", "-1", "RunAmbiguous"],
  ])("that %s by its name ends with 1", async (_, wanted, code) => {
    recordRun(aws, "RUNNING");
    const end = await voxelburst("report", wanted);
    expect(end.code).toBe(1);
    expect(end.err).toContain(`${code}: `);
  });
});

describe("run DATASET --on aws", () => {
  /** The data bucket's objects below the dataset, in the order in which they came. */
  const uploaded = () => [...s3.objects.keys()].map((key) => key.replace("data/datasets/dataset/", ""));

  /** What start-run does with each dataset.json that comes, as it is listed by Step Functions. */
  function startRun() {
    s3.checksumOf = (body) => ["x-amz-checksum-sha256", createHash("sha256").update(body).digest("base64")];
    const runs: { executionArn: string; name: string; status: string; startDate: number }[] = [];
    let seen: unknown;
    aws.answers.ListExecutions = async () => {
      const trigger = s3.objects.get("data/datasets/dataset/dataset.json");
      if (trigger && trigger !== seen) {
        seen = trigger;
        const examined = await examineDataset(
          {
            dataset: "dataset",
            datasetUri: "s3://data/datasets/dataset/",
            artefactsUri: "s3://a/",
            quarantineUri: "s3://q/",
          },
          { store: new S3ObjectStore(), version: "0.1.0", pseudonymKey: "secret" },
        );
        const start = `dataset-${examined.identity.slice(0, 12)}-`;
        const attempts = runs.filter(({ name }) => name.startsWith(start));
        if (!attempts.some(({ status }) => /RUNNING|SUCCEEDED/.test(status)))
          runs.push({
            executionArn: "arn",
            name: `${start}${attempts.length + 1}`,
            status: "RUNNING",
            startDate: Date.now() / 1000,
          });
      }
      return { executions: runs };
    };
    return runs;
  }

  test("uploads what the manifest names and nothing else, dataset.json last, and names the run that starts", async () => {
    recordRun(aws, "RUNNING");
    const runs = startRun();
    const { folder, write } = drop();
    write({ "notes about patients.txt": "nobody's business", "imagesTr/.hidden": "x" });
    const { code, json } = await voxelburst("run", folder, "--set", "train.steps=7", "--json");
    expect(code).toBe(0);
    expect(json).toMatchObject({ runId: runs[0]!.name, outcome: "started", dataset: "dataset" });
    expect(uploaded().toSorted()).toEqual([...Object.keys(goodFiles()), "recipe.yaml"].sort());
    expect(uploaded().at(-1)).toBe("dataset.json");
    const recipe = s3.objects.get("data/datasets/dataset/recipe.yaml")!.body.toString();
    expect(JSON.parse(recipe)).toMatchObject({ train: { steps: 7 } });
  });

  test("names the run that stands for the content, be it open or long succeeded, and starts none", async () => {
    recordRun(aws, "RUNNING");
    const runs = startRun();
    const { folder, write } = drop();
    const first = await voxelburst("run", folder, "--json");
    runs[0]!.status = "SUCCEEDED";
    runs[0]!.startDate -= 86_400;
    expect((await voxelburst("run", folder, "--json")).json).toMatchObject({
      runId: first.json.runId,
      outcome: "named",
      status: "succeeded",
      uploaded: 0,
    });
    // Another content, and back to the first.
    const label = Object.keys(goodFiles()).find((key) => key.startsWith("labelsTr/"))!;
    write({ [label]: "corrected" });
    const corrected = await voxelburst("run", folder, "--json");
    expect(corrected.json).toMatchObject({ outcome: "started" });
    expect(corrected.json.runId).not.toBe(first.json.runId);
    write({ [label]: goodFiles()[label]! });
    expect((await voxelburst("run", folder, "--json")).json).toMatchObject({
      runId: first.json.runId,
      outcome: "named",
    });
    expect(runs).toHaveLength(2);
  });

  test.each(["FAILED", "ABORTED", "TIMED_OUT"])(
    "starts the next attempt of an unchanged dataset whose run is %s, and takes no night for a run of it",
    async (status) => {
      recordRun(aws, "RUNNING");
      const runs = startRun();
      const { folder } = drop();
      const { json: first } = await voxelburst("run", folder, "--json");
      Object.assign(runs[0]!, { status, startDate: runs[0]!.startDate - 86_400 });
      const night = { executionArn: "n", name: "dataset-ffffffffffff-1", status: "SUCCEEDED", startDate: 1 };
      runs.push(night);
      const { code, json, err } = await voxelburst("run", folder, "--json");
      expect(code).toBe(0);
      expect(err).toContain("one is started");
      expect(json).toMatchObject({ runId: first.runId.replace(/-1$/, "-2"), outcome: "started", uploaded: 0 });
    },
  );

  test("checks the dataset before anything is uploaded", async () => {
    recordRun(aws, "RUNNING");
    const { folder } = drop(manifestWith({ labels: undefined }));
    const { code, err } = await voxelburst("run", folder);
    expect(code).toBe(3);
    expect(err).toMatch(/^DatasetInvalid: /m);
    expect(uploaded()).toEqual([]);
  });

  test.each([["--again"], ["--inject", "reclaim@ingest:1"]])(
    "refuses %s, which is for this machine",
    async (...args) => {
      const { code, err } = await voxelburst("run", drop().folder, ...args);
      expect(code).toBe(1);
      expect(err).toMatch(/^UsageInvalid: /);
    },
  );
});

/** A value as DynamoDB's JSON has it. */
function dynamo(value: object): object {
  const one = (field: unknown): object =>
    typeof field === "number"
      ? { N: String(field) }
      : typeof field === "string"
        ? { S: field }
        : dynamo(field as object);
  return { M: Object.fromEntries(Object.entries(value).map(([name, field]) => [name, one(field)])) };
}
