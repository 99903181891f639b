// What a job can cost at most, by the limits that the services themselves enforce, and what its instances did cost.
import type { BoundedJob } from "../../lib/contracts/index.ts";

/**
 * Before a job of Batch runs, its instance boots and pulls the image, and after it Batch takes a while to find that the
 * instance is idle; no limit of the job covers either. Both are meant to be far above what happens: nobody has measured
 * them on a real account.
 */
export const START_SECONDS = 1_800;
export const IDLE_SECONDS = 600;

/** An instance is billed by the second, from the sixtieth on. */
const LEAST_BILLED_SECONDS = 60;

/** SageMaker bills the job alone: not the time that it takes to find instances, nor what comes after. */
const aroundSeconds = ({ service }: BoundedJob): number => (service === "batch" ? START_SECONDS + IDLE_SECONDS : 0);

/** Batch starts instances for the children that wait: never more than all of them fill. */
export const instancesOf = ({ children, childrenPerInstance }: BoundedJob): number =>
  Math.ceil(children / childrenPerInstance);

/** From the first instance's start to the last one's end: every attempt waits its longest and takes its longest. */
export const mostSeconds = (job: BoundedJob): number =>
  job.attempts * (job.waitSeconds + job.attemptSeconds + aroundSeconds(job)) + keptSeconds(job);

/** A warm pool's instances: another training may take them earlier, which the records of this one do not show. */
const keptSeconds = ({ keepAliveSeconds = 0 }: BoundedJob): number => keepAliveSeconds;

/** Rounded up: a reservation is never below what it stands for. */
export const mostCents = (job: BoundedJob, usdPerHour: number): number =>
  Math.ceil(instancesOf(job) * mostSeconds(job) * (usdPerHour / 36));

/** An instance from when it may have been started for a job to the job's end on it; without an end it is there still. */
export interface InstanceTime {
  instance: string;
  fromMs: number;
  toMs?: number;
}

/**
 * When the instance of an attempt can have been started: after it was asked for, and not long before the attempt ran.
 *
 * @param nodesWaitSeconds - how long the first node of several may have waited for the last
 */
export const instanceStartMs = (askedForMs: number, startedMs: number, nodesWaitSeconds = 0): number =>
  Math.min(startedMs, Math.max(askedForMs, startedMs - (START_SECONDS + nodesWaitSeconds) * 1000));

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
 * What instances cost so far, by month, in cents and rounded up. Each counts as a whole, from before its first child to
 * after its last one: what shares it or idles between two children is not known here, and the sum must not be below the
 * bill. The report counts shares instead.
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
    const billedToMs =
      job.service === "batch"
        ? toMs + IDLE_SECONDS * 1000
        : Math.max(toMs, fromMs + LEAST_BILLED_SECONDS * 1000) + keptSeconds(job) * 1000;
    for (let start = fromMs; start < billedToMs; start = endOfMonth(start)) {
      const end = Math.min(billedToMs, endOfMonth(start));
      seconds[monthOf(start)] = (seconds[monthOf(start)] ?? 0) + (end - start) / 1000;
    }
  }
  return Object.fromEntries(
    Object.entries(seconds).map(([month, amount]) => [month, Math.ceil(amount * (usdPerHour / 36))]),
  );
}
