// The ledger in a process: for one machine, where nothing costs, and for tests.
import { taskCosts } from "./costs.ts";
import type { Hold, LedgerPorts, LedgerStore, Limit, Spent, TaskCost } from "./ports.ts";
import { accountChanges, mergedSpent } from "./settlement.ts";

export class MemoryLedgerStore implements LedgerStore {
  private readonly holds = new Map<string, Hold>();
  private readonly settled = new Map<string, Spent>();
  private readonly accounts = new Map<string, number>();

  async hold(hold: Hold, limits: readonly Limit[]): Promise<{ held: Hold } | { full: string }> {
    const existing = this.holds.get(hold.name);
    if (existing) return { held: existing };
    const full = limits.find(({ account, capCents }) => this.cents(account) + hold.cents > capCents);
    if (full) return { full: full.account };
    for (const { account } of limits) this.accounts.set(account, this.cents(account) + hold.cents);
    this.holds.set(hold.name, hold);
    return { held: hold };
  }

  async held(name: string): Promise<Hold | undefined> {
    return this.holds.get(name);
  }

  async allHeld(): Promise<Hold[]> {
    return [...this.holds.values()];
  }

  async settle(hold: Hold, spent: Spent): Promise<boolean> {
    if (!this.holds.delete(hold.name)) return false;
    const before = this.settled.get(hold.name);
    const merged = mergedSpent(spent, before);
    for (const [account, cents] of accountChanges(hold, merged, before))
      this.accounts.set(account, this.cents(account) + cents);
    this.settled.set(hold.name, merged);
    return true;
  }

  async spent(runId: string): Promise<Spent[]> {
    return [...this.settled.values()].filter((one) => one.runId === runId);
  }

  async costs(runId: string): Promise<TaskCost[]> {
    const held = (await this.allHeld()).filter((one) => one.runId === runId);
    return taskCosts(await this.spent(runId), held);
  }

  async committedCents(account: string): Promise<number> {
    return this.cents(account);
  }

  private cents(account: string): number {
    return this.accounts.get(account) ?? 0;
  }
}

/** Of one machine: everything is granted, since nothing costs. */
export const freeLedger = (ports: Pick<LedgerPorts, "store" | "clock">): LedgerPorts => ({
  ...ports,
  ledger: new MemoryLedgerStore(),
  // The engine itself stops what a state leaves behind; nothing is paid for.
  jobs: {
    use: async () => ({ times: [], isAlive: false, running: [] }),
    stop: async () => undefined,
    stopOne: async () => undefined,
  },
  usdPerHour: () => 0,
  caps: { runUsd: Number.POSITIVE_INFINITY, monthUsd: Number.POSITIVE_INFINITY },
});
