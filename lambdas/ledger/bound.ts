// What a job can cost at most, by the limits that the services themselves enforce, and what its instances did cost.
import { type BoundedJob, GUARD_INTERVAL_MINUTES } from "../../lib/contracts/index.ts";

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

/**
 * What the guard counts in before it has happened: until its next look, and until what it stops is gone (Batch gives a
 * container two minutes).
 */
export const LOOK_AHEAD_SECONDS = (GUARD_INTERVAL_MINUTES + 3) * 60;

/** From the reservation to the last instance's end: every attempt waits its longest and takes its longest. */
export const mostSeconds = (job: BoundedJob): number =>
  job.attempts * (job.waitSeconds + job.attemptSeconds + aroundSeconds(job)) + keptSeconds(job) + LOOK_AHEAD_SECONDS;

/** What an instance is paid for of it: not the wait for it, unless it waits for others. */
export const mostPaidSeconds = (job: BoundedJob): number =>
  mostSeconds(job) - (job.waitsTogether ? 0 : job.attempts * job.waitSeconds);

/** A warm pool's instances: another training may take them earlier, which the records of this one do not show. */
const keptSeconds = ({ keepAliveSeconds = 0 }: BoundedJob): number => keepAliveSeconds;

/** Rounded up: a reservation is never below what it stands for. */
export const mostCents = (job: BoundedJob, usdPerHour: number): number =>
  Math.ceil(instancesOf(job) * mostPaidSeconds(job) * (usdPerHour / 36));

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
 * after its last one: what shares it is not known here, and the sum must not be below the bill. Where it had no child of
 * the job for longer than an idle instance stays, it worked for others, or it ended and another has come.
 */
export function centsByMonth(
  times: readonly InstanceTime[],
  job: BoundedJob,
  usdPerHour: number,
  nowMs: number,
): Record<string, number> {
  // Between two times of a training SageMaker has taken the instances back.
  const idleMs = job.service === "batch" ? IDLE_SECONDS * 1000 : 0;
  const spans: { fromMs: number; toMs: number }[] = [];
  for (const own of Map.groupBy(times, ({ instance }) => instance).values()) {
    let last: (typeof spans)[number] | undefined;
    for (const { fromMs, toMs = nowMs } of own.toSorted((a, b) => a.fromMs - b.fromMs)) {
      if (last && fromMs <= last.toMs + idleMs) last.toMs = Math.max(last.toMs, toMs);
      else {
        last = { fromMs, toMs };
        spans.push(last);
      }
    }
  }
  const seconds: Record<string, number> = {};
  for (const { fromMs, toMs } of spans) {
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
