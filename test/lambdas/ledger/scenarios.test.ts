// What chance seldom brings about: jobs that take the longest that they may, whose limits fail, or that are tried again.
import { describe, expect, it } from "vitest";
import { guard, type Stopped } from "../../../lambdas/guard/core.ts";
import { reserve, settle } from "../../../lambdas/ledger/core.ts";
import { MemoryLedgerStore } from "../../../lambdas/ledger/memory-store.ts";
import { runAccount } from "../../../lambdas/ledger/ports.ts";
import { type BoundedJob, GUARD_INTERVAL_MINUTES, type ReserveInput } from "../../../lib/contracts/index.ts";
import { aRequest } from "../../workflow/run.ts";
import { type JobKind, MOST_BEFORE_RECLAIM_SECONDS, SimulatedAws, type Weather } from "./simulated-aws.ts";
import { VirtualTime } from "./virtual-time.ts";

const USD_PER_HOUR = 10;
const DAY_SECONDS = 86_400;
/** Instances are found last, boot and idle longest, cost what is held for them, and jobs run to their limit. */
const LONGEST = 1 - 1e-9;

const FORMS = ["array", "nodes", "training", "transform"] as const;
type Form = (typeof FORMS)[number];

/** A run on two instances, whose execution goes on. */
class World {
  readonly time = new VirtualTime(Date.UTC(2026, 10, 10));
  readonly store = new MemoryLedgerStore();
  readonly aws: SimulatedAws;
  readonly stopped: Stopped[] = [];
  readonly input: ReserveInput;
  private readonly kind: JobKind;

  /** @param draw - what every draw is: how much of its longest everything takes */
  constructor(form: Form, limits: Partial<BoundedJob>, weather: Partial<Weather> = {}, draw = LONGEST) {
    const calm = { noCapacity: 0, reclaim: 0, hang: 0, unlimited: 0 };
    this.aws = new SimulatedAws(this.time, () => draw, { ...calm, ...weather });
    this.kind = form === "nodes" ? "nodes" : "array";
    const job: BoundedJob = {
      service: form === "array" || form === "nodes" ? "batch" : form,
      name: "infer-x-*",
      queue: "queue",
      instanceType: "p5.4xlarge",
      children: 2,
      childrenPerInstance: 1,
      attemptSeconds: 7_200,
      attempts: 1,
      waitSeconds: 600,
      ...(form === "training" ? { keepAliveSeconds: 900 } : {}),
      ...(form === "nodes" ? { waitsTogether: true } : {}),
      ...limits,
    };
    this.input = { request: aRequest(), taskId: "infer-x", stage: "infer", rung: "spot", job };
  }

  get ports() {
    return {
      store: { get: async () => new TextEncoder().encode("{}") },
      ledger: this.store,
      jobs: this.aws,
      usdPerHour: () => USD_PER_HOUR,
      caps: { runUsd: 10_000, monthUsd: 10_000 },
      clock: this.time,
      isOpen: async () => true,
    };
  }

  submit = () => this.aws.submit(this.input.request.runId, this.input.job, USD_PER_HOUR, this.kind);

  async heldUsd(): Promise<number> {
    return (await reserve(this.input, this.ports)).reservedUsd;
  }

  async committedUsd(): Promise<number> {
    return (await this.store.committedCents(runAccount(this.input.request.runId))) / 100;
  }

  billUsd = (): number => this.aws.bill().runs.get(this.input.request.runId)!;

  /** Lets time pass until nothing is alive or a day is over, and the guard look meanwhile. */
  async pass(): Promise<void> {
    const untilMs = this.time.nowMs + DAY_SECONDS * 1000;
    const looks = async () => {
      while (this.aws.jobs.some(this.aws.isAlive) && this.time.nowMs < untilMs) {
        await this.time.sleep(GUARD_INTERVAL_MINUTES * 60);
        this.stopped.push(...(await guard(this.ports)).stopped);
      }
    };
    await this.time.until([looks()]);
  }
}

describe.each(FORMS)("a job of the form %s", (form) => {
  const isBatch = form === "array" || form === "nodes";

  // Batch starts a lost host's attempt again: here just before the limit of each attempt, so that all of them are used.
  const bootSeconds = form === "array" ? 1_800 : 0;
  const attemptSeconds = isBatch ? MOST_BEFORE_RECLAIM_SECONDS - bootSeconds + 50 : 7_200;

  it.each(isBatch ? [1, 3] : [1])(
    "that takes its longest on %i attempts is left alone, and costs no more than was held",
    async (attempts) => {
      const world = new World(form, { attempts, attemptSeconds }, { reclaim: 1 });
      const heldUsd = await world.heldUsd();
      const job = world.submit();
      await world.pass();
      expect(world.stopped).toEqual([]);
      expect(world.aws.isAlive(job)).toBe(false);
      expect(Math.max(...job.children.map((child) => child.attempts.length))).toBe(isBatch ? attempts : 0);
      expect(world.billUsd()).toBeLessThanOrEqual(heldUsd);
      // It did take nearly all of it.
      expect(world.billUsd()).toBeGreaterThan(0.8 * heldUsd);
    },
  );

  it("that passes every limit of the service is stopped by the guard before it has cost more than was held", async () => {
    const world = new World(form, {}, { unlimited: 1 });
    const heldUsd = await world.heldUsd();
    const job = world.submit();
    await world.pass();
    expect(world.stopped.map(({ code }) => code)).toContain("OverReservation");
    expect(world.aws.isAlive(job)).toBe(false);
    expect(world.billUsd()).toBeLessThanOrEqual(heldUsd);
  });

  it("that was submitted twice under one reservation is stopped before both have cost more than was held", async () => {
    const world = new World(form, { attemptSeconds: 14_400 });
    const heldUsd = await world.heldUsd();
    const jobs = [world.submit(), world.submit()];
    await world.pass();
    expect(world.stopped.map(({ code }) => code)).toContain("OverReservation");
    expect(jobs.map(world.aws.isAlive)).toEqual([false, false]);
    expect(world.billUsd()).toBeLessThanOrEqual(heldUsd);
  });

  it("that its state gave up on is stopped when it is settled, and is charged until then", async () => {
    const world = new World(form, {});
    await world.heldUsd();
    const job = world.submit();
    const settling = async () => {
      await world.time.sleep(3_600);
      const atMs = world.time.nowMs;
      expect(world.aws.isAlive(job)).toBe(true);
      while (!(await settle(world.input, world.ports)).settled) await world.time.sleep(30);
      // A container has two minutes to stop.
      expect(world.time.nowMs - atMs).toBeLessThanOrEqual(150_000);
    };
    await world.time.until([settling()]);
    expect(await world.committedUsd()).toBeGreaterThan(world.billUsd() - 1e-6);
    expect(await world.committedUsd()).toBeLessThanOrEqual(world.aws.mostSettledUsd(world.input.request.runId));
  });

  it("is tried again when the earlier try has been stopped and settled, and not before", async () => {
    const world = new World(form, {}, {}, 0.9);
    const heldUsd = await world.heldUsd();
    const first = world.submit();
    const again = async () => {
      await world.time.sleep(3_600);
      expect(world.aws.isAlive(first)).toBe(true);
      await expect(reserve(world.input, world.ports)).rejects.toMatchObject({ code: "JobStopping" });
      await world.time.sleep(150);
      expect((await reserve(world.input, world.ports)).granted).toBe(true);
    };
    await world.time.until([again()]);
    expect(world.aws.isAlive(first)).toBe(false);
    // The next try has the whole of its reservation, beside what the first did cost.
    expect(await world.committedUsd()).toBeGreaterThan(heldUsd + world.billUsd() - 1e-6);
    world.submit();
    await world.pass();
    expect(world.stopped).toEqual([]);
    expect(await settle(world.input, world.ports)).toMatchObject({ settled: true });
    expect(await world.committedUsd()).toBeGreaterThan(world.billUsd() - 1e-6);
    expect(await world.committedUsd()).toBeLessThanOrEqual(world.aws.mostSettledUsd(world.input.request.runId));
  });
});

describe("a rung that was waited for in vain", () => {
  it.each([
    ["array", 0],
    ["nodes", 1],
  ] as const)("(%s) costs nothing but the nodes that may have been there: %i of two", async (form, nodes) => {
    const world = new World(form, { waitSeconds: 3_600 }, { noCapacity: 1 });
    await world.heldUsd();
    world.submit();
    await world.pass();
    const { settled, usd } = await settle(world.input, world.ports);
    // The wait, and the time to find that an instance is idle.
    expect({ settled, usd }).toEqual({ settled: true, usd: Math.ceil(nodes * 4_200 * (USD_PER_HOUR / 36)) / 100 });
  });
});
