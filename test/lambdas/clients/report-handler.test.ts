// The deployed bundle of report against moto: what it reads of the ledger, and what it does when it may not.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DynamoLedgerStore } from "../../../lambdas/clients/dynamo-ledger.ts";
import { type Hold, runAccount } from "../../../lambdas/ledger/ports.ts";
import {
  type BoundedJob,
  type LedgerStage,
  mostUsdPerHour,
  report as reportSchema,
} from "../../../lib/contracts/index.ts";
import { Gate } from "../../aws/gate.ts";
import { type Moto, motoEnvironment, startMoto } from "../../aws/moto.ts";
import { bundleFor, Sandbox } from "../../aws/sandbox.ts";
import { makeAccount, type TriggerAccount } from "../../aws/trigger-account.ts";
import { RunFixture } from "../report/run-fixture.ts";

const folder = mkdtempSync(path.join(tmpdir(), "voxelburst-report-"));
const run = new RunFixture({ where: "aws", gpu: true });
const queries: string[] = [];
let mayQuery = true;
let moto: Moto;
let door: Gate;
let account: TriggerAccount;
let sandbox: Sandbox;

function aHold(stage: LedgerStage, taskId: string, rung: string, job: Partial<BoundedJob>, runId = run.runId): Hold {
  const whole = { children: 2, childrenPerInstance: 1, attemptSeconds: 60, attempts: 1, waitSeconds: 0 };
  const bounded = { service: "batch", name: `${taskId}-*`, instanceType: "p5.4xlarge", ...whole, ...job } as BoundedJob;
  return {
    ...{ name: `${runId}/${taskId}/${rung}`, runId, taskId, stage, rung, job: bounded },
    usdPerHour: mostUsdPerHour("ec2", bounded.instanceType),
    cents: 1_000,
    months: ["2026-03"],
    reservedAtMs: 1,
    lastsUntilMs: 2,
  };
}

beforeAll(async () => {
  moto = await startMoto();
  account = await makeAccount(moto.url);
  for (const [uri, Body] of run.store.objects)
    await account.s3.send(new PutObjectCommand({ Bucket: "artefacts", Key: uri.slice(run.root.length), Body }));
  door = new Gate(moto.url, ({ headers, body }) => {
    if (headers["x-amz-target"] !== "DynamoDB_20120810.Query") return "forward";
    queries.push(body.toString());
    const denial = { __type: "com.amazon.coral.service#AccessDeniedException", message: "not for report" };
    return mayQuery ? "forward" : { status: 400, body: JSON.stringify(denial) };
  });
  const machine = { where: "aws", gpus: 8, cpus: 192, memoryGiB: 2048, instanceType: "p5.48xlarge", engines: [] };
  const environment = {
    ...account.environment,
    ...motoEnvironment(await door.start()),
    VOXELBURST_MACHINE: JSON.stringify(machine),
  };
  const options = { verb: "report" as const, folder, remainingMs: 60_000, environment };
  sandbox = new Sandbox(options, await bundleFor(options));

  const ledger = new DynamoLedgerStore("ledger", account.dynamo);
  const hold = async (one: Hold) => ledger.hold(one, [{ account: runAccount(one.runId), capCents: 1e6 }]);
  const settle = async (one: Hold, cents: number) => {
    await hold(one);
    const { name, runId, taskId, stage, rung, job, usdPerHour, reservedAtMs } = one;
    const centsByMonth = { "2026-03": cents };
    const spent = { name, runId, taskId, stage, rung, job, usdPerHour, reservedAtMs, centsByMonth, settledAtMs: 3 };
    expect(await ledger.settle(one, spent)).toBe(true);
  };
  await settle(aHold("ingest", "ingest", "spot-cpu", { instanceType: "r6id.4xlarge", childrenPerInstance: 4 }), 31);
  await settle(aHold("preprocess", "preprocess", "spot-p5.4xlarge", {}), 150);
  await hold(aHold("train", "train-fold1-dali", "on-demand-ml.p5.4xlarge", { service: "training" }));
  // Of another run, whose name begins with this one's.
  await settle(aHold("ingest", "ingest", "spot-cpu", {}, `${run.runId}2`), 99_900);
  await hold(aHold("infer", "infer-x", "spot-p5.4xlarge", {}, `${run.runId}2`));
}, 240_000);
afterAll(() => {
  sandbox?.stop();
  door?.stop();
  moto?.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function reported() {
  const { reportKey } = (await sandbox.invoke(run.input)) as { reportKey: string };
  const { Body } = await account.s3.send(new GetObjectCommand({ Bucket: "artefacts", Key: reportKey }));
  const json = reportSchema.parse(JSON.parse(await Body!.transformToString()));
  return {
    json,
    notes: json.notes.join("\n"),
    usdOf: (stage: string) => json.stages.find((s) => s.stage === stage)!.usd,
  };
}

describe("the handler of report", () => {
  it("gives the dollars that the ledger settled for the run, and what it still holds, and no other run's", async () => {
    const { usdOf, notes } = await reported();
    expect([usdOf("ingest"), usdOf("preprocess"), usdOf("train")]).toEqual([0.31, 1.5, 0]);
    expect(notes).toContain("train-fold1-dali on on-demand-ml.p5.4xlarge, at most 10.00 USD");
    expect(notes).not.toContain("infer-x");
    expect(queries).toHaveLength(2);
  });

  it("still writes a report when it may not read the ledger, and says why its dollars are what they are", async () => {
    mayQuery = false;
    const { json, usdOf, notes } = await reported();
    mayQuery = true;
    expect(json.status).toBe("succeeded");
    expect(usdOf("ingest")).toBe(0);
    expect(usdOf("preprocess")).toBeGreaterThan(0);
    expect(notes).toContain("The ledger could not be read (AccessDeniedException)");
  });
});
