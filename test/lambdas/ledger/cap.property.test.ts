// The cap, whatever happens: runs side by side under random prices, limits and weather, against a bill that charges as
// AWS does.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { guard } from "../../../lambdas/guard/core.ts";
import { START_SECONDS } from "../../../lambdas/ledger/bound.ts";
import { type Hold, holdMost, reserve, settle } from "../../../lambdas/ledger/core.ts";
import { MemoryLedgerStore } from "../../../lambdas/ledger/memory-store.ts";
import { monthAccount, runAccount } from "../../../lambdas/ledger/ports.ts";
import {
  type BoundedJob,
  GUARD_INTERVAL_MINUTES,
  type ReserveInput,
  type ReserveOutput,
} from "../../../lib/contracts/index.ts";
import { aRequest } from "../../workflow/run.ts";
import { type JobKind, SimulatedAws } from "./simulated-aws.ts";
import { VirtualTime } from "./virtual-time.ts";

const GUARD_SECONDS = GUARD_INTERVAL_MINUTES * 60;

/** Mulberry32: a seed's random numbers, the same every time. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const job = fc.record({
  form: fc.constantFrom(
    "array" as const,
    "array" as const,
    "nodes" as const,
    "training" as const,
    "transform" as const,
  ),
  children: fc.integer({ min: 1, max: 20 }),
  childrenPerInstance: fc.constantFrom(1, 2, 4, 8),
  attemptSeconds: fc.integer({ min: 60, max: 14_400 }),
  attempts: fc.integer({ min: 1, max: 3 }),
  waitSeconds: fc.integer({ min: 600, max: 3_600 }),
  usdPerHour: fc.integer({ min: 1, max: 110 }),
  keepAliveSeconds: fc.constantFrom(0, 0, 900, 21_600),
});
const task = fc.array(job, { minLength: 1, maxLength: 3 }).map((rungs) => ({ rungs }));
const run = fc.record({
  beginsAfterSeconds: fc.integer({ min: 0, max: 20_000 }),
  maxUsd: fc.integer({ min: 1, max: 3_000 }),
  /** Each side by side with the others. */
  lanes: fc.array(fc.array(task, { minLength: 1, maxLength: 2 }), { minLength: 1, maxLength: 2 }),
});
const scenario = fc.record({
  seed: fc.integer(),
  /** Before the end of November: months are in it or not. */
  daysLeftOfMonth: fc.constantFrom(0.2, 10),
  monthUsd: fc.integer({ min: 10, max: 5_000 }),
  runs: fc.array(run, { minLength: 1, maxLength: 4 }),
  weather: fc.record({
    noCapacity: fc.constantFrom(0, 0.2, 0.6),
    reclaim: fc.constantFrom(0, 0.3, 0.8),
    hang: fc.constantFrom(0, 0.3),
    unlimited: fc.constantFrom(0, 0, 0.2),
  }),
  /** That an execution ends between two of its steps and nobody takes it up again. */
  crash: fc.constantFrom(0, 0.15),
  /** That a state gives up on its job and reserves for another try under the same name. */
  again: fc.constantFrom(0, 0.3),
});
type Scenario = typeof scenario extends fc.Arbitrary<infer T> ? T : never;

class Deployment {
  readonly time: VirtualTime;
  readonly aws: SimulatedAws;
  readonly store = new MemoryLedgerStore();
  readonly open = new Set<string>();
  readonly answers: { input: ReserveInput; answer: ReserveOutput; atMs: number }[] = [];
  readonly holdsSeen = new Map<string, Hold>();
  readonly prices = new Map<string, number>();
  private readonly scenario: Scenario;
  private readonly random: () => number;

  constructor(scenario: Scenario) {
    this.scenario = scenario;
    this.random = randomOf(scenario.seed);
    this.time = new VirtualTime(Date.UTC(2026, 11) - scenario.daysLeftOfMonth * 86_400_000);
    this.aws = new SimulatedAws(this.time, this.random, scenario.weather);
  }

  ports(maxUsd: number) {
    return {
      store: { get: async () => new TextEncoder().encode(JSON.stringify({ maxUsd })) },
      ledger: this.store,
      jobs: this.aws,
      usdPerHour: ({ instanceType }: BoundedJob) => this.prices.get(instanceType)!,
      caps: { runUsd: 2_000, monthUsd: this.scenario.monthUsd },
      clock: this.time,
      isOpen: async (runId: string) => this.open.has(runId),
    };
  }

  async play(): Promise<void> {
    const runs = this.scenario.runs.map((each, index) => this.run(each, `demo-00000000000${index}-1`));
    const watch = this.watch(Promise.all(runs).then(() => undefined));
    await this.time.until([...runs, watch]);
  }

  /** The state machine: lanes side by side, each task down its rungs. */
  private async run({ beginsAfterSeconds, maxUsd, lanes }: Scenario["runs"][number], runId: string): Promise<void> {
    await this.time.sleep(beginsAfterSeconds);
    this.open.add(runId);
    const ports = this.ports(maxUsd);
    await Promise.all(
      lanes.map(async (tasks, lane) => {
        for (const [position, { rungs }] of tasks.entries())
          for (const [step, { form, usdPerHour, keepAliveSeconds, ...limits }] of rungs.entries()) {
            const taskId = `task-${lane}-${position}`;
            const instanceType = `${runId}.${taskId}.${step}`;
            this.prices.set(instanceType, usdPerHour);
            const job: BoundedJob = {
              ...limits,
              service: form === "array" || form === "nodes" ? "batch" : form,
              // All but arrays have whole instances.
              ...(form === "array" ? {} : { childrenPerInstance: 1 }),
              ...(form === "training" ? { keepAliveSeconds } : {}),
              ...(form === "nodes" ? { waitsTogether: true } : {}),
              name: `${taskId}-${runId}-k${step}-*`,
              queue: "queue",
              instanceType,
            };
            const input = { request: aRequest({ runId }), taskId, stage: "infer" as const, rung: `rung${step}`, job };
            const isDone = await this.onRung(input, ports, form === "nodes" ? "nodes" : "array");
            if (isDone || !this.open.has(runId)) break;
          }
      }),
    );
    this.open.delete(runId);
  }

  /** @returns whether the task was done there */
  private async onRung(input: ReserveInput, ports: ReturnType<Deployment["ports"]>, kind: JobKind): Promise<boolean> {
    const { job } = input;
    const { runId } = input.request;
    const isOver = () => !this.open.has(runId);
    for (let isAgain = true; isAgain; ) {
      if (isOver()) return false;
      const answer = await this.reserve(input, ports);
      this.answers.push({ input, answer, atMs: this.time.nowMs });
      this.notice(await this.store.allHeld());
      if (!answer.granted || this.mayCrash(runId)) return false;
      const submitted = this.aws.submit(runId, job, this.prices.get(job.instanceType)!, kind);
      isAgain = this.random() < this.scenario.again;
      const backstop = job.attempts * (job.waitSeconds + job.attemptSeconds + START_SECONDS);
      const patience = isAgain ? this.random() * backstop : backstop;
      const began = this.time.nowMs;
      while (this.aws.isAlive(submitted) && this.time.nowMs - began < patience * 1000 && !isOver())
        await this.time.sleep(Math.min(600, Math.max(1, (this.aws.endOf(submitted) - this.time.nowMs) / 1000)));
      if (isOver() || this.mayCrash(runId)) return false;
    }
    while (!(await settle(input, ports)).settled) await this.time.sleep(30);
    return this.random() < 0.5;
  }

  /** As the state machine, which asks again while an earlier try is stopping. */
  private async reserve(input: ReserveInput, ports: ReturnType<Deployment["ports"]>): Promise<ReserveOutput> {
    for (;;)
      try {
        return await reserve(input, ports);
      } catch (error) {
        if ((error as Error).name !== "JobStopping") throw error;
        await this.time.sleep(30);
      }
  }

  private mayCrash(runId: string): boolean {
    if (this.random() >= this.scenario.crash) return false;
    this.open.delete(runId);
    return true;
  }

  private notice(holds: readonly Hold[]): void {
    for (const hold of holds) this.holdsSeen.set(`${hold.name}@${hold.reservedAtMs}`, hold);
  }

  /** The guard, every few minutes for as long as anything is held or may come. */
  private async watch(ended: Promise<void>): Promise<void> {
    let isEnded = false;
    void ended.then(() => {
      isEnded = true;
    });
    for (;;) {
      await this.time.sleep(GUARD_SECONDS);
      await guard(this.ports(0));
      const held = await this.store.allHeld();
      // Nothing is held past the time that it can last, and a look of the guard.
      for (const hold of held)
        expect(this.time.nowMs).toBeLessThanOrEqual(hold.lastsUntilMs + (GUARD_SECONDS + 120) * 1000);
      if (isEnded && held.length === 0) return;
    }
  }
}

describe("the cap", () => {
  it("is above the bill of every run and of every month, whatever happens, and nothing is held for longer than it can last", async () => {
    let refused = 0;
    let granted = 0;
    let reclaimedOrStopped = 0;
    await fc.assert(
      fc.asyncProperty(scenario, async (one) => {
        const deployment = new Deployment(one);
        await deployment.play();
        const { runs, months } = deployment.aws.bill();
        for (const [runId, usd] of runs) {
          const { maxUsd } = one.runs[Number(runId.at(-3))]!;
          expect(usd, runId).toBeLessThanOrEqual(Math.min(maxUsd, 2_000));
          // What the ledger says was spent is never below the bill.
          const spentUsd = (await deployment.store.committedCents(runAccount(runId))) / 100;
          expect(usd, runId).toBeLessThanOrEqual(spentUsd + 1e-6);
          expect(spentUsd, runId).toBeLessThanOrEqual(Math.min(maxUsd, 2_000));
          // Nor is it above by more than what no record shows.
          expect(spentUsd, runId).toBeLessThanOrEqual(deployment.aws.mostSettledUsd(runId));
        }
        for (const [month, usd] of months) {
          expect(usd, month).toBeLessThanOrEqual(one.monthUsd);
          const spentUsd = (await deployment.store.committedCents(monthAccount(month))) / 100;
          expect(usd, month).toBeLessThanOrEqual(spentUsd + 1e-6);
          expect(spentUsd, month).toBeLessThanOrEqual(one.monthUsd);
        }
        await expectRoomForWhatFits(deployment, one);
        refused += deployment.answers.filter(({ answer }) => !answer.granted).length;
        granted += deployment.answers.filter(({ answer }) => answer.granted).length;
        reclaimedOrStopped += deployment.aws.jobs.filter(({ children }) =>
          children.some(({ attempts }) => attempts.length > 1),
        ).length;
      }),
      { numRuns: 400 },
    );
    // The scenarios are no walk in the park: all of it did happen.
    expect(Math.min(refused, granted, reclaimedOrStopped)).toBeGreaterThan(50);
  }, 120_000);

  /** Whatever was refused while others held money is granted when they have ended, if it fits beside what was spent. */
  async function expectRoomForWhatFits(deployment: Deployment, one: Scenario): Promise<void> {
    for (const { input, answer } of deployment.answers) {
      if (answer.granted) continue;
      const { maxUsd } = one.runs[Number(input.request.runId.at(-3))]!;
      const ports = deployment.ports(maxUsd);
      const again = await holdMost({ ...input, taskId: `again-${input.taskId}` }, ports);
      const cents = Math.round(again.reservedUsd * 100);
      const month = monthAccount(new Date(deployment.time.nowMs).toISOString().slice(0, 7));
      const left = async (account: string, capUsd: number) =>
        capUsd * 100 - (await deployment.store.committedCents(account)) + (again.granted ? cents : 0);
      const fits =
        cents <= (await left(runAccount(input.request.runId), Math.min(maxUsd, 2_000))) &&
        cents <= (await left(month, one.monthUsd));
      // A job that reaches into the next month needs room there too.
      if (again.granted) expect(fits).toBe(true);
      else if (fits) expect(again.reason?.code).toBe("OverMonthlyBudget");
      if (again.granted)
        await settle({ request: input.request, taskId: `again-${input.taskId}`, rung: input.rung }, ports);
      if (again.granted) return; // one is enough: it would change what the others find
    }
  }
});
