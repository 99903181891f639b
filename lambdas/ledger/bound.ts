// What a job can cost at most, by the limits that the services themselves enforce, and what its instances did cost.
import type { BoundedJob } from "../../lib/contracts/index.ts";

/**
 * An instance is paid for while it boots and pulls the image, which no limit of a job covers, and until Batch has found
 * that it is idle. Nobody has measured either on a real account; a quarter of an hour is meant to be far more.
 */
export const OVERHEAD_SECONDS = 900;

/** SageMaker bills the job alone: not the time that it takes to find instances. */
const overheadSeconds = ({ service }: BoundedJob): number => (service === "batch" ? OVERHEAD_SECONDS : 0);

/** Batch starts instances for the children that wait: never more than all of them fill. */
export const instancesOf = ({ children, childrenPerInstance }: BoundedJob): number =>
  Math.ceil(children / childrenPerInstance);

/** From the first instance's start to the last one's end: every attempt waits its longest and takes its longest. */
export const mostSeconds = (job: BoundedJob): number =>
  job.attempts * (job.waitSeconds + job.attemptSeconds + overheadSeconds(job));

/** Rounded up: a reservation is never below what it stands for. */
export const mostCents = (job: BoundedJob, usdPerHour: number): number =>
  Math.ceil(instancesOf(job) * mostSeconds(job) * (usdPerHour / 36));

/** An instance in the time that a job was on it; without an end it still is. */
export interface InstanceTime {
  instance: string;
  fromMs: number;
  toMs?: number;
}

/** "2026-11", UTC: what AWS bills by. */
export const monthOf = (ms: number): string => new Date(ms).toISOString().slice(0, 7);

/** Every month of a time, ends included. */
export function monthsOf(fromMs: number, toMs: number): string[] {
  const months = [monthOf(fromMs)];
  for (let end = endOfMonth(fromMs); end <= toMs; end = endOfMonth(end)) months.push(monthOf(end));
  return months;
}

const endOfMonth = (ms: number): number => {
  const date = new Date(ms);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1);
};

/**
 * What instances cost so far, by month, in cents and rounded up. Each counts as a whole, with its overhead, from its
 * first child's start to its last one's end: what shares it or idles between two children is not known here, and the
 * sum must not be below the bill. The report counts shares instead.
 */
export function centsByMonth(
  times: readonly InstanceTime[],
  job: BoundedJob,
  usdPerHour: number,
  nowMs: number,
): Record<string, number> {
  const hulls = new Map<string, { fromMs: number; toMs: number }>();
  for (const { instance, fromMs, toMs = nowMs } of times) {
    const known = hulls.get(instance) ?? { fromMs, toMs };
    hulls.set(instance, { fromMs: Math.min(known.fromMs, fromMs), toMs: Math.max(known.toMs, toMs) });
  }
  const seconds: Record<string, number> = {};
  for (const { fromMs, toMs } of hulls.values()) {
    for (let start = fromMs; start < toMs; ) {
      const end = Math.min(toMs, endOfMonth(start));
      seconds[monthOf(start)] = (seconds[monthOf(start)] ?? 0) + (end - start) / 1000;
      start = end;
    }
    // It may lie on either side of a month's end: the month it began in and the month it ended in both count it.
    for (const month of new Set([monthOf(fromMs), monthOf(toMs)]))
      seconds[month] = (seconds[month] ?? 0) + overheadSeconds(job);
  }
  return Object.fromEntries(
    Object.entries(seconds).map(([month, amount]) => [month, Math.ceil(amount * (usdPerHour / 36))]),
  );
}
