// The ledger's store on DynamoDB: one table, and a transaction of conditional writes for every change.
//
// pk "account", sk "run#<runId>" or "month#<yyyy-mm>"   committedCents: what is held and spent together
// pk "held", sk <hold's name>                           a Hold, while it is one
// pk "spent#<runId>", sk <hold's name>                  a Spent, once it is settled
import { DynamoDBClient, TransactionCanceledException } from "@aws-sdk/client-dynamodb";
import {
  DynamoDBDocumentClient,
  GetCommand,
  paginateQuery,
  TransactWriteCommand,
  type TransactWriteCommandInput,
} from "@aws-sdk/lib-dynamodb";
import { taskCosts } from "../ledger/costs.ts";
import type { Hold, LedgerStore, Limit, Spent, TaskCost } from "../ledger/ports.ts";
import { accountChanges, mergedSpent } from "../ledger/settlement.ts";

type Writes = NonNullable<TransactWriteCommandInput["TransactItems"]>;

/** Transactions on the same accounts collide: the account of the month is everybody's. */
const COLLISION_TRIES = 12;
const COLLISION_PAUSE_MS = 25;

const accountKey = (account: string) => ({ pk: "account", sk: account });
const heldKey = (name: string) => ({ pk: "held", sk: name });
const spentKey = (runId: string, name: string) => ({ pk: `spent#${runId}`, sk: name });

export class DynamoLedgerStore implements LedgerStore {
  private readonly table: string;
  private readonly client: DynamoDBDocumentClient;

  constructor(table: string, client: DynamoDBClient = new DynamoDBClient({})) {
    this.table = table;
    this.client = DynamoDBDocumentClient.from(client);
  }

  async hold(hold: Hold, limits: readonly Limit[]): Promise<{ held: Hold } | { full: string }> {
    const failed = await this.write([
      { Put: { ...this.at(), Item: { ...heldKey(hold.name), hold }, ConditionExpression: "attribute_not_exists(pk)" } },
      ...limits.map(({ account, capCents }) => ({
        Update: {
          ...this.at(),
          Key: accountKey(account),
          UpdateExpression: "ADD committedCents :cents",
          // Expressions cannot add, so that the cap is lowered by what is asked for. An account that is not there is empty.
          ConditionExpression:
            hold.cents <= capCents
              ? "attribute_not_exists(committedCents) OR committedCents <= :most"
              : "attribute_exists(pk) AND attribute_not_exists(pk)",
          ExpressionAttributeValues: {
            ":cents": hold.cents,
            ...(hold.cents <= capCents ? { ":most": capCents - hold.cents } : {}),
          },
        },
      })),
    ]);
    if (failed === undefined) return { held: hold };
    if (!failed.has(0)) return { full: limits[[...failed][0]! - 1]!.account };
    const existing = await this.held(hold.name);
    // It was settled in this very moment: now there is room for this one.
    return existing ? { held: existing } : this.hold(hold, limits);
  }

  async held(name: string): Promise<Hold | undefined> {
    return (await this.get(heldKey(name)))?.hold as Hold | undefined;
  }

  async allHeld(): Promise<Hold[]> {
    return (await this.query("held")).map((item) => item.hold as Hold);
  }

  async settle(hold: Hold, spent: Spent): Promise<boolean> {
    const before = (await this.get(spentKey(hold.runId, hold.name)))?.spent as Spent | undefined;
    const merged = mergedSpent(spent, before);
    const failed = await this.write([
      {
        Delete: {
          ...this.at(),
          Key: heldKey(hold.name),
          // "hold" is a word of DynamoDB's own.
          ConditionExpression: "#hold.reservedAtMs = :reservedAtMs",
          ExpressionAttributeNames: { "#hold": "hold" },
          ExpressionAttributeValues: { ":reservedAtMs": hold.reservedAtMs },
        },
      },
      { Put: { ...this.at(), Item: { ...spentKey(hold.runId, hold.name), spent: merged } } },
      ...[...accountChanges(hold, merged, before)].map(([account, cents]) => ({
        Update: {
          ...this.at(),
          Key: accountKey(account),
          UpdateExpression: "ADD committedCents :cents",
          ExpressionAttributeValues: { ":cents": cents },
        },
      })),
    ]);
    return failed === undefined;
  }

  async spent(runId: string): Promise<Spent[]> {
    return (await this.query(`spent#${runId}`)).map((item) => item.spent as Spent);
  }

  /** Two queries: other runs' holds are not read. */
  async costs(runId: string): Promise<TaskCost[]> {
    const [spent, held] = await Promise.all([this.spent(runId), this.query("held", `${runId}/`)]);
    return taskCosts(
      spent,
      held.map((item) => item.hold as Hold),
    );
  }

  async committedCents(account: string): Promise<number> {
    return ((await this.get(accountKey(account)))?.committedCents as number | undefined) ?? 0;
  }

  private at() {
    return { TableName: this.table };
  }

  /** @returns the positions of the writes whose condition did not hold, or undefined when all were done */
  private async write(TransactItems: Writes): Promise<Set<number> | undefined> {
    for (let attempt = 1; ; attempt++)
      try {
        await this.client.send(new TransactWriteCommand({ TransactItems }));
        return undefined;
      } catch (error) {
        if (!(error instanceof TransactionCanceledException)) throw error;
        const codes = (error.CancellationReasons ?? []).map(({ Code }) => Code);
        const failed = codes.flatMap((code, index) => (code === "ConditionalCheckFailed" ? [index] : []));
        if (failed.length > 0) return new Set(failed);
        if (!codes.includes("TransactionConflict") || attempt >= COLLISION_TRIES) throw error;
        const pause = COLLISION_PAUSE_MS * 2 ** Math.min(attempt, 6) * Math.random();
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
  }

  private async get(Key: Record<string, string>) {
    return (await this.client.send(new GetCommand({ ...this.at(), Key, ConsistentRead: true }))).Item;
  }

  /** @param start - of the sort key */
  private async query(pk: string, start?: string) {
    const items = [];
    const pages = paginateQuery(
      { client: this.client },
      {
        ...this.at(),
        KeyConditionExpression: start === undefined ? "pk = :pk" : "pk = :pk AND begins_with(sk, :start)",
        ExpressionAttributeValues: { ":pk": pk, ...(start === undefined ? {} : { ":start": start }) },
        ConsistentRead: true,
      },
    );
    for await (const { Items = [] } of pages) items.push(...Items);
    return items;
  }
}
