// The ledger's store on DynamoDB against the one in memory, which the cap is shown with: they have to be the same.
import { CreateTableCommand, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DynamoLedgerStore } from "../../../lambdas/clients/dynamo-ledger.ts";
import { MemoryLedgerStore } from "../../../lambdas/ledger/memory-store.ts";
import { type Hold, type LedgerStore, monthAccount, runAccount, type Spent } from "../../../lambdas/ledger/ports.ts";
import { type Moto, startMoto } from "../../aws/moto.ts";

let moto: Moto;
let client: DynamoDBClient;
let tables = 0;
beforeAll(async () => {
  moto = await startMoto();
  client = new DynamoDBClient({
    endpoint: moto.url,
    region: "us-east-1",
    credentials: { accessKeyId: "a", secretAccessKey: "s" },
  });
}, 120_000);
afterAll(() => moto?.stop());

async function aTable(): Promise<DynamoLedgerStore> {
  const TableName = `ledger-${tables++}`;
  const text = (AttributeName: string) => ({ AttributeName, AttributeType: "S" as const });
  await client.send(
    new CreateTableCommand({
      TableName,
      BillingMode: "PAY_PER_REQUEST",
      KeySchema: [
        { AttributeName: "pk", KeyType: "HASH" },
        { AttributeName: "sk", KeyType: "RANGE" },
      ],
      AttributeDefinitions: [text("pk"), text("sk")],
    }),
  );
  return new DynamoLedgerStore(TableName, client);
}

const aHold = (runId: string, task: string, cents: number, reservedAtMs = 0): Hold => ({
  name: `${runId}/${task}/rung`,
  runId,
  taskId: task,
  stage: "infer",
  rung: "rung",
  job: {
    service: "batch",
    name: "infer-*",
    queue: "queue",
    instanceType: "p5.4xlarge",
    children: 2,
    childrenPerInstance: 1,
    attemptSeconds: 60,
    attempts: 1,
    waitSeconds: 600,
  },
  usdPerHour: 10,
  cents,
  months: ["2026-11"],
  reservedAtMs,
  lastsUntilMs: 1,
});
const limitsOf = ({ runId }: Hold, runCents: number, monthCents: number) => [
  { account: runAccount(runId), capCents: runCents },
  { account: monthAccount("2026-11"), capCents: monthCents },
];
const spentOf = (hold: Hold, centsByMonth: Record<string, number>): Spent => {
  const { name, runId, taskId, stage, rung, job, usdPerHour, reservedAtMs } = hold;
  return { name, runId, taskId, stage, rung, job, usdPerHour, reservedAtMs, centsByMonth, settledAtMs: 1 };
};

const step = fc.record({
  kind: fc.constantFrom("hold", "hold", "settle"),
  run: fc.constantFrom("run-a", "run-b"),
  task: fc.constantFrom("x", "y"),
  cents: fc.integer({ min: 0, max: 80 }),
});

async function play(store: LedgerStore, steps: readonly { kind: string; run: string; task: string; cents: number }[]) {
  const answers: unknown[] = [];
  for (const [index, { kind, run, task, cents }] of steps.entries()) {
    if (kind === "hold") {
      const hold = aHold(run, task, cents, index);
      answers.push(await store.hold(hold, limitsOf(hold, 100, 150)));
      continue;
    }
    const held = await store.held(`${run}/${task}/rung`);
    answers.push(held && (await store.settle(held, spentOf(held, { "2026-11": cents, "2026-12": 1 }))));
  }
  const accounts = ["run-a", "run-b"].map(runAccount).concat(["2026-11", "2026-12"].map(monthAccount));
  for (const account of accounts) answers.push(await store.committedCents(account));
  const sorted = <T extends { name: string }>(list: T[]) => list.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  for (const run of ["run-a", "run-b", "run"]) answers.push(await store.costs(run));
  answers.push(sorted(await store.allHeld()), sorted(await store.spent("run-a")), sorted(await store.spent("run-b")));
  return answers;
}

describe("the ledger on DynamoDB", () => {
  it("answers as the one in memory does, whatever is held and settled in whatever order", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
        expect(await play(await aTable(), steps)).toEqual(await play(new MemoryLedgerStore(), steps));
      }),
      { numRuns: 8 },
    );
  }, 120_000);

  it("grants no more than the cap to many who ask at once", async () => {
    const store = await aTable();
    const answers = await Promise.all(
      Array.from({ length: 24 }, (_, index) => {
        const hold = aHold(`run-${index}`, "x", 10);
        return store.hold(hold, limitsOf(hold, 1_000, 70));
      }),
    );
    expect(answers.filter((answer) => "held" in answer)).toHaveLength(7);
    expect(await store.committedCents(monthAccount("2026-11"))).toBe(70);
  }, 60_000);

  it("settles once what two settle at once", async () => {
    const store = await aTable();
    const hold = aHold("run-a", "x", 50);
    await store.hold(hold, limitsOf(hold, 100, 100));
    const both = await Promise.all([1, 2].map(() => store.settle(hold, spentOf(hold, { "2026-11": 20 }))));
    expect(both.sort()).toEqual([false, true]);
    expect(await store.committedCents(runAccount("run-a"))).toBe(20);
  });
});
