// The ledger: nothing that costs starts before the most that it can cost is held, for its run and for its months.
import {
  keys,
  type ReserveInput,
  type ReserveOutput,
  type RunRequest,
  readJson,
  recipe,
  type SettleInput,
  type SettleOutput,
  under,
  VoxelburstError,
} from "../../lib/contracts/index.ts";
import { centsByMonth, instancesOf, monthOf, monthsOf, mostCents, mostPaidSeconds, mostSeconds } from "./bound.ts";
import { type Hold, type JobUse, type LedgerPorts, monthAccount, runAccount } from "./ports.ts";

export type * from "./ports.ts";

/** From the reservation to the service's answer: retries of throttled calls and of the state machine. */
const START_SLACK_SECONDS = 3_600;

const nameOf = ({ request, taskId, rung }: SettleInput) => [request.runId, taskId, rung].join("/");

/**
 * What the state machine calls before every try of a job. What an earlier try has left running is stopped and what it
 * did cost is settled, so that the next one gets the whole of its own reservation.
 *
 * @throws VoxelburstError JobStopping, which a minute's patience cures, or as hold does
 */
export async function reserve(input: ReserveInput, ports: LedgerPorts): Promise<ReserveOutput> {
  const earlier = await ports.ledger.held(nameOf(input));
  if (earlier) {
    const use = await ports.jobs.use(earlier.job);
    const isUntouched = use.times.length === 0 && !use.isAlive;
    if (!isUntouched && !(await stopAndSettle(earlier, use, ports)).settled)
      throw new VoxelburstError(
        "JobStopping",
        `An earlier try of ${input.taskId} is still stopping.`,
        "Ask again in a minute; the service stops a job within its grace time.",
        { taskId: input.taskId },
      );
  }
  return holdMost(input, ports);
}

/**
 * Holds what the job can cost at most, or refuses with that estimate. A hold of the same name stays as it is, so that
 * any number of deliveries of one event hold once.
 *
 * @throws VoxelburstError PriceUnknown, ObjectMissing or DocumentInvalid
 */
export async function holdMost(input: ReserveInput, ports: Omit<LedgerPorts, "jobs">): Promise<ReserveOutput> {
  const { request, taskId, stage, rung, job } = input;
  const usdPerHour = ports.usdPerHour(job);
  const cents = mostCents(job, usdPerHour);
  const nowMs = ports.clock.now().getTime();
  const lastsUntilMs = nowMs + (START_SLACK_SECONDS + mostSeconds(job)) * 1000;
  const months = monthsOf(nowMs, lastsUntilMs);
  const cap = await capOf(request, ports);
  const hold: Hold = {
    name: nameOf(input),
    runId: request.runId,
    taskId,
    stage,
    rung,
    job,
    usdPerHour,
    cents,
    months,
    reservedAtMs: nowMs,
    lastsUntilMs,
  };
  const answer = await ports.ledger.hold(hold, [
    { account: runAccount(request.runId), capCents: centsBelow(cap.usd) },
    ...months.map((month) => ({ account: monthAccount(month), capCents: centsBelow(ports.caps.monthUsd) })),
  ]);
  if ("held" in answer) return { granted: true, reservedUsd: answer.held.cents / 100 };

  const left = async (account: string, capUsd: number) =>
    usd(Math.max(0, centsBelow(capUsd) - (await ports.ledger.committedCents(account))) / 100);
  const hours = (mostPaidSeconds(job) / 3600).toFixed(1);
  const estimate = `${taskId} can cost ${usd(cents / 100)}: ${instancesOf(job)} x ${job.instanceType} for up to ${hours} h at ${usd(usdPerHour)} an hour.`;
  if (answer.full === runAccount(request.runId))
    return {
      granted: false,
      reservedUsd: cents / 100,
      reason: {
        code: "OverBudget",
        message: `${estimate} Of the run's ${usd(cap.usd)} there is ${await left(answer.full, cap.usd)} left.`,
        remedy: cap.isRecipes
          ? "Raise maxUsd in the recipe, or ask for fewer folds, strategies, engines or steps."
          : "Ask for fewer folds, strategies, engines or steps, or have budgets.maxUsdPerRun of the deployment raised.",
      },
    };
  const month = answer.full.slice(monthAccount("").length);
  return {
    granted: false,
    reservedUsd: cents / 100,
    reason: {
      code: "OverMonthlyBudget",
      message: `${estimate} Of the ${usd(ports.caps.monthUsd)} of ${month} there is ${await left(answer.full, ports.caps.monthUsd)} left, what other runs hold taken off.`,
      remedy: "Start it again when they have ended, or have budgets.maxUsdPerMonth of the deployment raised.",
    },
  };
}

/** A recipe may lower the deployment's cap, never raise it. */
async function capOf({ runId, artefactsUri }: RunRequest, { store, caps }: Pick<LedgerPorts, "store" | "caps">) {
  const reader = store as Parameters<typeof readJson>[0];
  const { maxUsd = Number.POSITIVE_INFINITY } = await readJson(reader, under(artefactsUri, keys.recipe(runId)), recipe);
  return { usd: Math.min(maxUsd, caps.runUsd), isRecipes: maxUsd < caps.runUsd };
}

/**
 * Puts what a task's try did cost in the place of its reservation. Whatever of it still waits or runs is stopped first,
 * since the state that started it has given up on it.
 */
export async function settle(input: SettleInput, ports: LedgerPorts): Promise<SettleOutput> {
  const hold = await ports.ledger.held(nameOf(input));
  if (!hold) return { settled: true, usd: await spentUsd(nameOf(input), input.request.runId, ports) };
  return stopAndSettle(hold, await ports.jobs.use(hold.job), ports);
}

async function stopAndSettle(hold: Hold, use: JobUse, ports: LedgerPorts): Promise<SettleOutput> {
  if (use.isAlive) await ports.jobs.stop(hold.job, "voxelburst: the state that started it has ended");
  return settleHold(hold, ports);
}

/** As settle, of what is known to have been asked to stop. A job that is still alive keeps its reservation. */
export async function settleHold(hold: Hold, ports: Omit<LedgerPorts, "store">): Promise<SettleOutput> {
  const nowMs = ports.clock.now().getTime();
  const use = await ports.jobs.use(hold.job);
  const cost = centsByMonth(use.times, hold.job, hold.usdPerHour, nowMs);
  const total = { usd: sumOf(cost) / 100 };
  if (use.isAlive) return { settled: false, ...total };
  const { name, runId, taskId, stage, rung, job, usdPerHour, reservedAtMs } = hold;
  await ports.ledger.settle(hold, {
    ...{ name, runId, taskId, stage, rung, job, usdPerHour, reservedAtMs },
    centsByMonth: cost,
    settledAtMs: nowMs,
  });
  return { settled: true, ...total };
}

async function spentUsd(name: string, runId: string, { ledger }: LedgerPorts): Promise<number> {
  const spent = (await ledger.spent(runId)).find((one) => one.name === name);
  return spent ? sumOf(spent.centsByMonth) / 100 : 0;
}

/** What a month's runs have spent and hold, in USD. */
export const committedOfMonth = async (atMs: number, { ledger }: Pick<LedgerPorts, "ledger">): Promise<number> =>
  (await ledger.committedCents(monthAccount(monthOf(atMs)))) / 100;

const sumOf = (amounts: Record<string, number>): number => Object.values(amounts).reduce((sum, one) => sum + one, 0);
/** A cap of 10.005 allows 1,000 cents. */
const centsBelow = (amount: number): number => Math.floor(Math.round(amount * 1e6) / 1e4);
const usd = (amount: number): string => `${amount.toFixed(2)} USD`;
