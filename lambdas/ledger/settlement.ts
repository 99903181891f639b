// What settling a reservation changes in the accounts, whatever keeps them.
import { type Hold, monthAccount, runAccount, type Spent } from "./ports.ts";

/**
 * The services' records are of all tries of a name, and are forgotten after a week: so the larger amount of each month
 * stands, the earlier settlement's or the new one's.
 */
export function mergedSpent(spent: Spent, before: Spent | undefined): Spent {
  const centsByMonth = { ...before?.centsByMonth };
  for (const [month, cents] of Object.entries(spent.centsByMonth))
    centsByMonth[month] = Math.max(cents, centsByMonth[month] ?? 0);
  return { ...spent, centsByMonth };
}

/** Account to cents that are added to it, which may be less than nothing: what came newly, less what was held. */
export function accountChanges(hold: Hold, merged: Spent, before: Spent | undefined): Map<string, number> {
  const changes = new Map<string, number>();
  let total = 0;
  for (const month of new Set([...hold.months, ...Object.keys(merged.centsByMonth)])) {
    const added = (merged.centsByMonth[month] ?? 0) - (before?.centsByMonth[month] ?? 0);
    total += added;
    changes.set(monthAccount(month), added - (hold.months.includes(month) ? hold.cents : 0));
  }
  return changes.set(runAccount(hold.runId), total - hold.cents);
}
