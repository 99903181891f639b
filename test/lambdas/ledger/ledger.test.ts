import { describe, expect, it } from "vitest";
import { ingestHoldFromEnvironment } from "../../../lambdas/clients/ingest-hold.ts";
import { GUARD_LIMITS, guard } from "../../../lambdas/guard/core.ts";
import { LOOK_AHEAD_SECONDS } from "../../../lambdas/ledger/bound.ts";
import { holdMost, type JobUse, reserve, settle } from "../../../lambdas/ledger/core.ts";
import { freeLedger, MemoryLedgerStore } from "../../../lambdas/ledger/memory-store.ts";
import { monthAccount, runAccount } from "../../../lambdas/ledger/ports.ts";
import { type BoundedJob, type ReserveInput, reserveInput, settleInput } from "../../../lib/contracts/index.ts";
import { aRequest, run } from "../../workflow/run.ts";

const HOUR = 3_600_000;
const nothing: JobUse = { times: [], isAlive: false, running: [] };
const job: BoundedJob = {
  service: "training",
  name: "train-x-*",
  instanceType: "p5.4xlarge",
  children: 2,
  childrenPerInstance: 1,
  // With the time that the guard looks ahead: an hour.
  attemptSeconds: 3_600 - LOOK_AHEAD_SECONDS,
  attempts: 1,
  waitSeconds: 0,
};
const input = (changes: Partial<ReserveInput> = {}): ReserveInput => ({
  request: aRequest(),
  taskId: "train-fold0-fused",
  rung: "on-demand-p5.4xlarge",
  stage: "train",
  job,
  ...changes,
});

/** A deployment at ten dollars an hour, in the middle of a month. */
function deployment(caps = { runUsd: 100, monthUsd: 1_000 }, recipe: object = {}) {
  let nowMs = Date.UTC(2026, 10, 15);
  let use: JobUse = nothing;
  const stopped: string[] = [];
  const ports = {
    store: { get: async () => new TextEncoder().encode(JSON.stringify(recipe)) },
    ledger: new MemoryLedgerStore(),
    jobs: {
      use: async () => use,
      stop: async (_job: BoundedJob, reason: string) => void stopped.push(reason),
      stopOne: async (_job: BoundedJob, id: string) => void stopped.push(id),
    },
    usdPerHour: () => 10,
    caps,
    clock: { now: () => new Date(nowMs) },
    isOpen: async () => true,
  };
  return {
    ports,
    stopped,
    see: (next: JobUse) => {
      use = next;
    },
    pass: (ms: number) => {
      nowMs += ms;
    },
    now: () => nowMs,
    committed: (account = runAccount(aRequest().runId)) => ports.ledger.committedCents(account),
  };
}

describe("a reservation", () => {
  it("is what the job can cost at most: instances times limit times attempts times price", async () => {
    const { ports, committed } = deployment();
    expect(await reserve(input(), ports)).toEqual({ granted: true, reservedUsd: 20 });
    expect(await committed()).toBe(2_000);
    expect(await committed(monthAccount("2026-11"))).toBe(2_000);
    const array = {
      ...job,
      service: "batch" as const,
      children: 9,
      childrenPerInstance: 8,
      attempts: 3,
      waitSeconds: 600,
    };
    // 2 instances x (3 x (3,120 + 1,800 + 600) + 480) s x 10 USD an hour: the wait for an instance is not paid for
    expect(await reserve(input({ taskId: "infer", job: array }), ports)).toMatchObject({
      reservedUsd: 94.67,
      granted: false,
    });
  });

  it("is made once however often it is asked for", async () => {
    const { ports, committed } = deployment();
    await Promise.all([1, 2, 3].map(() => holdMost(input(), ports)));
    await reserve(input(), ports);
    expect(await committed()).toBe(2_000);
  });

  it("that passes the run's cap is refused with the estimate, and changes nothing", async () => {
    const { ports, committed } = deployment({ runUsd: 19.99, monthUsd: 1_000 });
    const { granted, reason } = await reserve(input(), ports);
    expect({ granted, reason }).toEqual({
      granted: false,
      reason: {
        code: "OverBudget",
        message:
          "train-fold0-fused can cost 20.00 USD: 2 x p5.4xlarge for up to 1.0 h at 10.00 USD an hour. Of the run's 19.99 USD there is 19.99 USD left.",
        remedy: expect.stringContaining("budgets.maxUsdPerRun"),
      },
    });
    expect(await committed()).toBe(0);
    expect(await committed(monthAccount("2026-11"))).toBe(0);
  });

  it("obeys a recipe that lowers the cap, and no recipe that raises it", async () => {
    const lower = await reserve(input(), deployment(undefined, { maxUsd: 5 }).ports);
    expect(lower.reason).toMatchObject({ code: "OverBudget", remedy: expect.stringContaining("maxUsd in the recipe") });
    const { ports } = deployment({ runUsd: 19, monthUsd: 1_000 }, { maxUsd: 500 });
    expect((await reserve(input(), ports)).granted).toBe(false);
  });

  it("that passes the month's cap names the month, and counts in every month that it reaches into", async () => {
    const { ports, pass, committed } = deployment({ runUsd: 100, monthUsd: 30 });
    pass(15.98 * 24 * HOUR); // half an hour of November is left
    await reserve(input(), ports);
    expect([await committed(monthAccount("2026-11")), await committed(monthAccount("2026-12"))]).toEqual([
      2_000, 2_000,
    ]);
    const other = aRequest({ dataset: "other" });
    const refused = await reserve(input({ request: other }), ports);
    expect(refused.reason).toMatchObject({ code: "OverMonthlyBudget", message: expect.stringContaining("2026-11") });
  });

  it("costs nothing on one machine, where everything is granted", async () => {
    const { store, clock } = deployment().ports;
    const ports = freeLedger({ store, clock });
    expect(await reserve(input({ job: { ...job, children: 10_000 } }), ports)).toEqual({
      granted: true,
      reservedUsd: 0,
    });
    expect(await settle(input(), ports)).toEqual({ settled: true, usd: 0 });
  });
});

describe("settling", () => {
  const time = (fromMs: number, hours: number, instance = "i") => ({ instance, fromMs, toMs: fromMs + hours * HOUR });

  it("puts what the instances did cost in the place of what was held", async () => {
    const { ports, see, now, committed } = deployment();
    await reserve(input(), ports);
    see({ ...nothing, times: [time(now(), 0.1, "a"), time(now(), 0.5, "b")] });
    expect(await settle(input(), ports)).toEqual({ settled: true, usd: 6 });
    expect([await committed(), await committed(monthAccount("2026-11"))]).toEqual([600, 600]);
    expect(await settle(input(), ports)).toEqual({ settled: true, usd: 6 });
    expect(await committed()).toBe(600);
  });

  it("counts the time that a warm pool keeps the instances for", async () => {
    const { ports, see, now, pass, committed } = deployment();
    const warm = input({ job: { ...job, keepAliveSeconds: 1_800 } });
    await reserve(warm, ports);
    expect(await committed()).toBe(3_000);
    const fromMs = now();
    pass(HOUR / 2);
    see({ ...nothing, times: ["a", "b"].map((instance) => ({ instance, fromMs, toMs: now() })) });
    expect(await settle(warm, ports)).toEqual({ settled: true, usd: 20 });
  });

  it("stops what still runs, and keeps the reservation until it has ended", async () => {
    const { ports, see, now, stopped, committed } = deployment();
    await reserve(input(), ports);
    see({ times: [{ instance: "a", fromMs: now() - HOUR }], isAlive: true, running: [] });
    expect(await settle(input(), ports)).toEqual({ settled: false, usd: 10 });
    expect(stopped).toHaveLength(1);
    expect(await committed()).toBe(2_000);
  });

  it("of an earlier try comes before the next one's reservation, and neither is counted twice", async () => {
    const { ports, see, now, stopped, committed } = deployment();
    await reserve(input(), ports);
    see({ times: [{ instance: "a", fromMs: now() - HOUR / 2 }], isAlive: true, running: [] });
    await expect(reserve(input(), ports)).rejects.toMatchObject({ code: "JobStopping" });
    expect(stopped).toHaveLength(1);
    see({ ...nothing, times: [time(now() - HOUR / 2, 0.5, "a")] });
    expect((await reserve(input(), ports)).granted).toBe(true);
    expect(await committed()).toBe(500 + 2_000);
    see({ ...nothing, times: [time(now() - HOUR / 2, 0.5, "a"), time(now(), 0.25, "b")] });
    expect(await settle(input(), ports)).toEqual({ settled: true, usd: 7.5 });
    expect(await committed()).toBe(750);
  });
});

describe("the guard", () => {
  const running = (fromMs: number, lastSignMs?: number): JobUse => ({
    times: [{ instance: "a", fromMs }],
    isAlive: true,
    running: [{ id: "job:3", startedAtMs: fromMs, ...(lastSignMs ? { lastSignMs } : {}) }],
  });

  it("lets a job alone that keeps its reservation and says something", async () => {
    const { ports, see, now, stopped } = deployment();
    await reserve(input(), ports);
    see(running(now() - HOUR, now() - 60_000));
    expect(await guard(ports)).toEqual({ stopped: [], settled: 0, held: 1, failed: [] });
    expect(stopped).toEqual([]);
  });

  it("stops what would pass its reservation before it looks again", async () => {
    const { ports, see, now, stopped } = deployment();
    await reserve(input(), ports);
    see(running(now() - 1.9 * HOUR, now()));
    expect((await guard(ports)).stopped).toMatchObject([
      { code: "OverReservation", message: expect.stringContaining("19.00 of the 20.00 USD") },
    ]);
    expect(stopped[0]).toContain("OverReservation");
  });

  it("stops what nobody waits for any more", async () => {
    const { ports, see, now, pass } = deployment();
    await reserve(input(), ports);
    pass(GUARD_LIMITS.graceSeconds * 1000 + 1);
    see(running(now() - 60_000, now()));
    const { stopped } = await guard({ ...ports, isOpen: async () => false });
    expect(stopped).toMatchObject([{ code: "RunEnded" }]);
  });

  it("stops the one child that has been silent for an hour, and no other", async () => {
    const { ports, see, now, stopped } = deployment();
    await reserve(input(), ports);
    const silent = running(now() - 1.2 * HOUR, now() - 1.1 * HOUR);
    silent.running.push({ id: "job:4", startedAtMs: now() - 1.2 * HOUR, lastSignMs: now() - 60_000 });
    see(silent);
    expect((await guard(ports)).stopped).toMatchObject([{ code: "NoProgress" }]);
    expect(stopped).toEqual(["job:3"]);
  });

  it("looks at every reservation, whichever of the looks fail", async () => {
    const { ports, pass, committed } = deployment();
    const taskIds = ["train-fold0-fused", "train-fold1-fused", "train-fold2-fused"];
    for (const taskId of taskIds) await reserve(input({ taskId, job: { ...job, name: `${taskId}-*` } }), ports);
    pass(2.1 * HOUR); // all of them are over
    const use = async ({ name }: BoundedJob) => {
      if (name.startsWith(taskIds[1]!)) throw new Error("Rate exceeded");
      return nothing;
    };
    const report = await guard({ ...ports, jobs: { ...ports.jobs, use } });
    expect(report).toMatchObject({ settled: 2, held: 1, failed: [{ error: { message: "Rate exceeded" } }] });
    expect(report.failed[0]!.name).toContain(taskIds[1]);
    expect(await committed()).toBe(2_000);
  });

  it("settles what was never begun when its time is over, so that it holds nothing for longer", async () => {
    const { ports, pass, committed } = deployment();
    await reserve(input(), ports);
    pass(1.9 * HOUR);
    expect(await guard(ports)).toMatchObject({ settled: 0, held: 1 });
    pass(0.2 * HOUR);
    expect(await guard(ports)).toMatchObject({ settled: 1, held: 0 });
    expect(await committed()).toBe(0);
  });
});

describe("the state machine's calls", () => {
  it("are what the ledger's contract takes, of every stage", async () => {
    const { requests } = await run();
    const sent = (word: RegExp) => requests.filter(({ stateName }) => word.test(stateName));
    const payload = (each: { arguments: unknown }) => (each.arguments as { Payload: unknown }).Payload;
    expect(
      sent(/Reserve$/)
        .map((each) => reserveInput.parse(payload(each)).stage)
        .sort(),
    ).toEqual(["compile", "infer", "ingest", "preprocess", "train"]);
    for (const each of sent(/Settle$/)) settleInput.parse(payload(each));
  });

  it("reserve for ingest what start-run has held already: the same name, on the same rung, at the same limits", async () => {
    const request = aRequest({ ingestSeconds: 700 });
    const { argumentsOf } = await run({}, request);
    const asked = reserveInput.parse(argumentsOf("IngestReserve")[0]!.Payload);
    const { queue, instanceType, childrenPerInstance, waitSeconds, attempts } = asked.job;
    const rung = { rung: asked.rung, queue, instanceType, childrenPerInstance, waitSeconds, attempts };
    process.env.VOXELBURST_INGEST = JSON.stringify({ ...rung, attemptSeconds: 43_200 });
    expect(ingestHoldFromEnvironment()(request)).toEqual(asked);
  });
});
