// What is held for a job, and what its instances are counted at: the first is never below the second.
import { describe, expect, it } from "vitest";
import {
  centsByMonth,
  IDLE_SECONDS,
  type InstanceTime,
  LOOK_AHEAD_SECONDS,
  mostCents,
  START_SECONDS,
} from "../../../lambdas/ledger/bound.ts";
import type { BoundedJob } from "../../../lib/contracts/index.ts";

const MINUTE = 60_000;
const FROM = Date.UTC(2026, 10, 24);
const job: BoundedJob = {
  service: "batch",
  name: "infer-x-*",
  queue: "queue",
  instanceType: "p5.4xlarge",
  children: 1,
  childrenPerInstance: 1,
  attemptSeconds: 3_600,
  attempts: 1,
  waitSeconds: 7_200,
};
/** One dollar a minute. */
const USD_PER_HOUR = 60;
const spent = (times: readonly InstanceTime[], of = job) =>
  Object.values(centsByMonth(times, of, USD_PER_HOUR, FROM)).reduce((sum, cents) => sum + cents, 0) / 100;
const time = (instance: string, from: number, to: number) => ({
  instance,
  fromMs: FROM + from * MINUTE,
  toMs: FROM + to * MINUTE,
});

describe("what is held", () => {
  it("leaves out the wait for an instance, which nobody pays for, and counts it where nodes wait for each other", () => {
    const alone = mostCents(job, USD_PER_HOUR);
    expect(alone).toBe(mostCents({ ...job, waitSeconds: 600 }, USD_PER_HOUR));
    expect(mostCents({ ...job, waitsTogether: true }, USD_PER_HOUR)).toBe(alone + 7_200 * (100 / 60));
  });

  it.each([
    ["batch", job, START_SECONDS],
    ["training", { ...job, service: "training" as const }, 0],
  ])("leaves a %s alone that takes all of its time: the guard looks ahead within it", (_, one, startSeconds) => {
    const end = (startSeconds + one.attemptSeconds) / 60;
    const soonUsd = LOOK_AHEAD_SECONDS / 60;
    expect(spent([time("a", 0, end)], one) + soonUsd).toBeLessThanOrEqual(mostCents(one, USD_PER_HOUR) / 100);
  });

  it("holds a data set of 484 cases below a hundred dollars, on the default deployment's CPUs", () => {
    const ingest = {
      ...job,
      children: 484,
      childrenPerInstance: 4,
      attempts: 3,
      attemptSeconds: 700,
      waitSeconds: 3_600,
    };
    expect(mostCents(ingest, 1.21)).toBeLessThan(484 * 100);
  });
});

describe("an instance", () => {
  const idle = IDLE_SECONDS / 60;

  it("counts once, however many children share it, with the time in which Batch finds it idle", () => {
    expect(spent([time("a", 0, 60), time("a", 10, 30), time("a", 59, 70)])).toBe(70 + idle);
    expect(spent([time("a", 0, 60), time("b", 0, 60)])).toBe(2 * (60 + idle));
  });

  it("counts between two children where it may have idled, and not where it worked for others meanwhile", () => {
    expect(spent([time("a", 0, 20), time("a", 25, 30)])).toBe(30 + idle);
    expect(spent([time("a", 0, 20), time("a", 200, 230)])).toBe(20 + 30 + 2 * idle);
  });
});
