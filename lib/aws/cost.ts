// What runs cost, from the ledger: spent, and what is still held for what they may yet cost.
import { DynamoLedgerStore } from "../../lambdas/clients/dynamo-ledger.ts";
import { monthAccount } from "../../lambdas/ledger/ports.ts";

export interface StageCost {
  stage: string;
  taskId: string;
  rung: string;
  instanceType: string;
  spentUsd: number;
  /** The most that it may still cost; 0 when it is over. */
  heldUsd: number;
}

const usdOf = (cents: number) => cents / 100;
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

export class CloudCosts {
  private readonly ledger: DynamoLedgerStore;

  constructor(ledger: DynamoLedgerStore) {
    this.ledger = ledger;
  }

  static ofTable(table: string): CloudCosts {
    return new CloudCosts(new DynamoLedgerStore(table));
  }

  /** Of one run, in the order of its tasks' names. */
  async ofRun(runId: string): Promise<StageCost[]> {
    const [spent, held] = await Promise.all([this.ledger.spent(runId), this.ledger.allHeld()]);
    const costs = [
      ...spent.map((one) => ({
        stage: one.stage,
        taskId: one.taskId,
        rung: one.rung,
        instanceType: one.instanceType,
        spentUsd: usdOf(sum(Object.values(one.centsByMonth))),
        heldUsd: 0,
      })),
      ...held
        .filter((one) => one.runId === runId)
        .map((one) => ({
          stage: one.stage,
          taskId: one.taskId,
          rung: one.rung,
          instanceType: one.job.instanceType,
          spentUsd: 0,
          heldUsd: usdOf(one.cents),
        })),
    ];
    return costs.sort((a, b) => (a.taskId < b.taskId ? -1 : a.taskId > b.taskId ? 1 : 0));
  }

  /** Spent and held by all runs in a calendar month, UTC. */
  async committedUsd(month: string): Promise<number> {
    return usdOf(await this.ledger.committedCents(monthAccount(month)));
  }
}
