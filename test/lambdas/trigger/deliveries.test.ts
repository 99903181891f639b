// The trigger's path, for real as far as that goes here: the deployed bundle in processes that can die, against moto.
// EventBridge and Lambda's event queue are this file: they deliver at least once, in any order, and try again.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { GetItemCommand } from "@aws-sdk/client-dynamodb";
import { GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { DescribeExecutionCommand, ListExecutionsCommand, StopExecutionCommand } from "@aws-sdk/client-sfn";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runRequest } from "../../../lib/contracts/index.ts";
import { Gate } from "../../aws/gate.ts";
import { type Moto, motoEnvironment, startMoto } from "../../aws/moto.ts";
import { bundleFor, Sandbox, SandboxDied, type SandboxOptions } from "../../aws/sandbox.ts";
import { dropDataset, makeAccount, putInParts, type TriggerAccount, uploadEvent } from "../../aws/trigger-account.ts";

const EVENTS = 20;
const DELIVERIES = 200;
const AT_ONCE = 8;
/** Of a call. Powertools takes one that is older for dead, and Lambda has ended it. */
const REMAINING_MS = 6_000;

let moto: Moto;
let account: TriggerAccount;
let bundle: string;
let sandboxes: Sandbox[];
const doors: Gate[] = [];
const folder = mkdtempSync(path.join(tmpdir(), "voxelburst-trigger-"));
const OPTIONS: SandboxOptions = { verb: "start-run", folder, environment: {}, remainingMs: REMAINING_MS };
/** Datasets the first StartExecution of whose run kills who sends it. */
const deadly = new Set<string>();
const notices: string[] = [];

/** A sandbox behind a door of its own, so that the one that sent a request is known. */
async function openSandbox(environment: Record<string, string> = {}): Promise<Sandbox> {
  const door = new Gate(moto.url, (seen) => {
    const body = seen.body.toString();
    if (body.includes("Action=Publish")) notices.push(new URLSearchParams(body).get("Message") ?? "");
    if (seen.headers["x-amz-target"] !== "AWSStepFunctions.StartExecution") return "forward";
    const { name } = JSON.parse(body) as { name: string };
    if (!deadly.delete(name.replace(/-[0-9a-f]{12}-\d+$/, ""))) return "forward";
    // Between the idempotency record and StartExecution: what was about to start the run is no more.
    sandbox.stop();
    return "drop";
  });
  doors.push(door);
  const reachable = { ...account.environment, ...motoEnvironment(await door.start()), ...environment };
  const sandbox = new Sandbox({ ...OPTIONS, environment: reachable }, bundle);
  return sandbox;
}

beforeAll(async () => {
  moto = await startMoto();
  account = await makeAccount(moto.url);
  bundle = await bundleFor(OPTIONS);
  sandboxes = await Promise.all(Array.from({ length: AT_ONCE }, () => openSandbox()));
}, 240_000);
afterAll(() => {
  for (const sandbox of sandboxes ?? []) sandbox.stop();
  for (const door of doors) door.stop();
  moto?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Delivers each event, eight at a time; what fails is delivered again, as Lambda and a person's redrive do. */
async function deliver(events: readonly object[]) {
  const queue = events.map((event) => ({ event, notBeforeMs: 0 }));
  const results: { runId: string; outcome: string }[] = [];
  const failures: string[] = [];
  await Promise.all(
    sandboxes.map(async (sandbox) => {
      for (;;) {
        const next = queue.shift();
        if (!next) return;
        await new Promise((resolve) => setTimeout(resolve, next.notBeforeMs - Date.now()));
        try {
          results.push((await sandbox.invoke(next.event)) as (typeof results)[number]);
        } catch (error) {
          failures.push((error as Error).name);
          queue.push({ event: next.event, notBeforeMs: Date.now() + 1_000 });
        }
      }
    }),
  );
  return { results, failures };
}

const executions = async () => {
  const { executions = [] } = await account.sfn.send(
    new ListExecutionsCommand({ stateMachineArn: account.stateMachineArn, maxResults: 1000 }),
  );
  return executions.map(({ name }) => name!);
};

/** The same order every time: a permutation by a linear congruence. */
function shuffled<T>(items: readonly T[]): T[] {
  let state = 20_261_124;
  return items
    .map((item) => {
      state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
      return { item, state };
    })
    .sort((a, b) => a.state - b.state)
    .map(({ item }) => item);
}

describe("200 deliveries of 20 events, shuffled, eight at a time", () => {
  const names = Array.from({ length: EVENTS }, (_, index) => `dataset-${String(index).padStart(2, "0")}`);

  it("start 20 executions, although three sandboxes die between the idempotency record and StartExecution", async () => {
    const events: object[] = [];
    for (const name of names) events.push(await dropDataset(account, name));
    for (const name of [names[3]!, names[11]!, names[17]!]) deadly.add(name);
    const { results, failures } = await deliver(
      shuffled(Array.from({ length: DELIVERIES }, (_, index) => events[index % EVENTS]!)),
    );
    expect(deadly.size).toBe(0);
    expect(failures.filter((name) => name === SandboxDied.name)).toHaveLength(3);
    // Whoever came while a call was under way, or had died, was told so and came again.
    expect(new Set(failures)).toEqual(new Set([SandboxDied.name, "IdempotencyAlreadyInProgressError"]));
    expect(results).toHaveLength(DELIVERIES);

    const started = await executions();
    expect(started).toHaveLength(EVENTS);
    expect(started.map((name) => name.replace(/-[0-9a-f]{12}-1$/, "")).sort()).toEqual(names);
    expect(new Set(results.map(({ runId }) => runId))).toEqual(new Set(started));
  }, 240_000);

  it("hold what ingest can cost once a run", async () => {
    const [first] = await executions();
    const held = await account.dynamo.send(
      new GetItemCommand({ TableName: "ledger", Key: { pk: { S: "account" }, sk: { S: `run#${first}` } } }),
    );
    const month = new Date().toISOString().slice(0, 7);
    const all = await account.dynamo.send(
      new GetItemCommand({ TableName: "ledger", Key: { pk: { S: "account" }, sk: { S: `month#${month}` } } }),
    );
    const cents = Number(held.Item?.committedCents?.N);
    expect(cents).toBeGreaterThan(0);
    expect(Number(all.Item?.committedCents?.N)).toBe(EVENTS * cents);
  });

  it("hand the state machine a request that depends on the identity alone", async () => {
    const [name] = await executions();
    const executionArn = `${account.stateMachineArn.replace(":stateMachine:", ":execution:")}:${name}`;
    const { input } = await account.sfn.send(new DescribeExecutionCommand({ executionArn }));
    expect(runRequest.parse(JSON.parse(input!))).toMatchObject({ runId: name, attempt: 1, ingestShards: 2 });
    expect(input).not.toContain("Mustermann");
  });
});

describe("after them", () => {
  it("a corrected label starts another run, and the old event names it too", async () => {
    const before = await executions();
    const old = uploadEvent("dataset-05", "late");
    const corrected = await dropDataset(account, "dataset-05", "corrected label", "second upload");
    const { results } = await deliver([corrected, old, corrected, old]);
    const added = (await executions()).filter((name) => !before.includes(name));
    expect(added).toHaveLength(1);
    expect(added[0]).toMatch(/^dataset-05-[0-9a-f]{12}-1$/);
    expect(new Set(results.map(({ runId }) => runId))).toEqual(new Set(added));
  }, 60_000);

  it("the same bytes uploaded again name their run, although they have other ETags, as under KMS", async () => {
    const before = await executions();
    const { s3 } = account;
    for (const file of ["imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "dataset.json"]) {
      const at = { Bucket: "data", Key: `datasets/dataset-09/${file}` };
      const { Body, ETag } = await s3.send(new GetObjectCommand(at));
      const again = await putInParts(account, at, await Body!.transformToByteArray());
      expect(again).not.toBe(ETag);
    }
    const { results } = await deliver([uploadEvent("dataset-09", "uploaded again")]);
    const [started] = before.filter((name) => name.startsWith("dataset-09-"));
    expect(results).toEqual([{ runId: started, outcome: "open" }]);
    expect(await executions()).toHaveLength(before.length);
  }, 60_000);

  it("a duplicate of an upload whose run was stopped names that run, and starts nothing", async () => {
    const before = await executions();
    const stopped = before.find((name) => name.startsWith("dataset-07-"))!;
    const executionArn = `${account.stateMachineArn.replace(":stateMachine:", ":execution:")}:${stopped}`;
    await account.sfn.send(new StopExecutionCommand({ executionArn }));
    const [duplicate] = (await deliver([uploadEvent("dataset-07", "dataset-07")])).results;
    expect(duplicate?.runId).toBe(stopped);
    expect(await executions()).toHaveLength(before.length);
  }, 60_000);

  it("tells people of a dataset that is refused, and tries it no more", async () => {
    await account.s3.send(
      new PutObjectCommand({ Bucket: "data", Key: "datasets/broken/dataset.json", Body: '{"training": []}' }),
    );
    const { results, failures } = await deliver([uploadEvent("broken", "1"), uploadEvent("broken/deeper", "1")]);
    expect(failures).toEqual([]);
    expect(results.map((result) => JSON.stringify(result)).sort()).toEqual([
      '{"outcome":"refused","code":"DatasetInvalid"}',
      '{"outcome":"refused","code":"DatasetNameInvalid"}',
    ]);
    expect(notices).toHaveLength(2);
    expect(notices.join()).toMatch(/dataset.json/);
    expect(notices.join()).not.toContain("broken/deeper");
    expect((await executions()).filter((name) => name.startsWith("broken"))).toEqual([]);
  }, 60_000);

  it("refuses a run that the month has no room for, with its estimate, and starts it when there is", async () => {
    const caps = { runUsd: 100, monthUsd: 0.01 };
    const poor = await openSandbox({ VOXELBURST_LEDGER: JSON.stringify({ table: "ledger", caps }) });
    const event = await dropDataset(account, "dataset-poor");
    expect(await poor.invoke(event)).toEqual({ outcome: "refused", code: "OverMonthlyBudget" });
    poor.stop();
    expect(notices.at(-1)).toMatch(/ingest can cost \d+\.\d\d USD: 1 x r6id\.4xlarge for up to/);
    const rich = await deliver([event]);
    expect(rich.results).toEqual([{ runId: expect.stringMatching(/^dataset-poor-/), outcome: "started" }]);
  }, 60_000);
});
