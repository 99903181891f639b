// What runs cost, from the ledger: spent, and what is still held for what they may yet cost.
import { DynamoLedgerStore } from "../../lambdas/clients/dynamo-ledger.ts";
import { monthAccount, type TaskCost } from "../../lambdas/ledger/ports.ts";

export class CloudCosts {
  private readonly ledger: DynamoLedgerStore;

  constructor(ledger: DynamoLedgerStore) {
    this.ledger = ledger;
  }

  static ofTable(table: string): CloudCosts {
    return new CloudCosts(new DynamoLedgerStore(table));
  }

  ofRun(runId: string): Promise<TaskCost[]> {
    return this.ledger.costs(runId);
  }

  /** Spent and held by all runs in a calendar month, UTC. */
  async committedUsd(month: string): Promise<number> {
    return (await this.ledger.committedCents(monthAccount(month))) / 100;
  }
}
