// Array children become one job. Times are in seconds, memory in MiB.
import type { Job } from "./gather.ts";

/** In seconds since an origin: since the epoch, a double would lose what the stages measured. */
export interface Interval {
  start: number;
  end: number;
}

/** The first start of the jobs, in milliseconds since the epoch: the origin of their intervals. */
export const originMs = (jobs: readonly Job[]): number =>
  Math.min(...jobs.map(({ result }) => Date.parse(result.startedAt)));

export const intervalOf = ({ result }: Job, fromMs: number): Interval => {
  const start = (Date.parse(result.startedAt) - fromMs) / 1000;
  return { start, end: start + result.seconds };
};

/** Seconds covered by at least one of the intervals. */
export function coveredSeconds(intervals: readonly Interval[]): number {
  let covered = 0;
  let until = Number.NEGATIVE_INFINITY;
  for (const { start, end } of intervals.toSorted((a, b) => a.start - b.start)) {
    covered += Math.max(0, end - Math.max(start, until));
    until = Math.max(until, end);
  }
  return covered;
}

/** From the first start to the last end; undefined for no interval. */
export function hull(intervals: readonly Interval[]): Interval | undefined {
  if (intervals.length === 0) return undefined;
  return {
    start: Math.min(...intervals.map(({ start }) => start)),
    end: Math.max(...intervals.map(({ end }) => end)),
  };
}

/** The largest number of intervals that overlap at any time. */
export function mostAtOnce(intervals: readonly Interval[]): number {
  const changes = intervals
    .flatMap(({ start, end }) => [
      { at: start, by: 1 },
      { at: end, by: -1 },
    ])
    .sort((a, b) => a.at - b.at || a.by - b.by);
  let now = 0;
  let most = 0;
  for (const { by } of changes) {
    now += by;
    most = Math.max(most, now);
  }
  return most;
}

export interface Merged {
  /** Wall time: of each task from its first child's start to its last one's end, overlapping tasks counted once. */
  seconds: number;
  /** Of them, in which at least one child was running: neither queue nor pause. */
  runningSeconds: number;
  /** Summed over children, times the GPUs of each where it has more than one. */
  cpuOrGpuSeconds: number;
  peakMemoryMiB: number;
}

/** The jobs of a stage or of one task, as one. Reused ones took no time of this run and are left out. */
export function mergeJobs(jobs: readonly Job[]): Merged {
  const own = jobs.filter((job) => !job.reused);
  const origin = originMs(own);
  const tasks = Object.values(Object.groupBy(own, (job) => job.taskId)).map((children) =>
    hull((children ?? []).map((job) => intervalOf(job, origin))),
  );
  return {
    seconds: coveredSeconds(tasks.filter((task) => task !== undefined)),
    runningSeconds: coveredSeconds(own.map((job) => intervalOf(job, origin))),
    cpuOrGpuSeconds: own.reduce((sum, { result }) => sum + result.seconds * Math.max(1, result.host.devices), 0),
    peakMemoryMiB: own.reduce((most, { result }) => Math.max(most, result.peakMemoryMiB), 0),
  };
}
