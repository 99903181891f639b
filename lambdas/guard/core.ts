// The guard: behind the services' own limits it stops what costs more than was reserved, what nobody waits for any more
// and what does not get on, and settles what the state machine has left.
import { VoxelburstError } from "../../lib/contracts/index.ts";
import { centsByMonth, LOOK_AHEAD_SECONDS } from "../ledger/bound.ts";
import { type Hold, type JobUse, type LedgerPorts, settleHold } from "../ledger/core.ts";

export interface GuardPorts extends Omit<LedgerPorts, "store"> {
  /** Whether the run's execution goes on. */
  isOpen(runId: string): Promise<boolean>;
}

export interface GuardLimits {
  /** Between two looks of the guard, and until a stopped job's instances are gone. */
  lookAheadSeconds: number;
  /** A job that has said nothing for so long is stopped. */
  silentSeconds: number;
  /** An ended job is settled by the state machine; after so long it is settled here. */
  graceSeconds: number;
}

export const GUARD_LIMITS: GuardLimits = {
  lookAheadSeconds: LOOK_AHEAD_SECONDS,
  // Every stage reports each case or each few seconds of steps; the longest silence is a TensorRT build, 1.7 minutes
  // measured on an H100, and the reading of a large study.
  silentSeconds: 3_600,
  graceSeconds: 900,
};

export interface Stopped {
  runId: string;
  taskId: string;
  code: "OverReservation" | "RunEnded" | "NoProgress";
  message: string;
}

/** A reservation whose job could not be looked at, stopped or settled. */
export interface FailedLook {
  name: string;
  error: Error;
}

export interface GuardReport {
  stopped: Stopped[];
  settled: number;
  /** Reservations that are left, those that could not be looked at among them. */
  held: number;
  failed: FailedLook[];
}

/** One look at every reservation, each on its own: whoever calls it says what failed. */
export async function guard(ports: GuardPorts, limits: GuardLimits = GUARD_LIMITS): Promise<GuardReport> {
  const report: GuardReport = { stopped: [], settled: 0, held: 0, failed: [] };
  for (const hold of await ports.ledger.allHeld())
    try {
      if (await look(hold, ports, limits, report)) report.settled++;
      else report.held++;
    } catch (error) {
      report.held++;
      report.failed.push({ name: hold.name, error: error instanceof Error ? error : new Error(String(error)) });
    }
  return report;
}

/** @returns whether it was settled */
async function look(hold: Hold, ports: GuardPorts, limits: GuardLimits, { stopped }: GuardReport): Promise<boolean> {
  const use = await ports.jobs.use(hold.job);
  const stop = await stopIfNeeded(hold, use, ports, limits);
  if (stop) stopped.push(stop);
  return isLeft(hold, use, ports.clock.now().getTime(), limits) && (await settleHold(hold, ports)).settled;
}

/** @throws VoxelburstError GuardIncomplete, so that its alarm counts the call */
export function throwIfFailed({ failed }: GuardReport): void {
  if (failed.length === 0) return;
  const [{ name, error }] = failed as [FailedLook];
  throw new VoxelburstError(
    "GuardIncomplete",
    `${failed.length} reservations could not be looked at, the first of them ${name}: ${error.message}`,
    "See docs/runbook.md, GuardFailing. The other reservations were looked at.",
    { cause: error },
  );
}

async function stopIfNeeded(
  hold: Hold,
  use: JobUse,
  ports: GuardPorts,
  limits: GuardLimits,
): Promise<Stopped | undefined> {
  if (!use.isAlive) return undefined;
  const { runId, taskId, job } = hold;
  const stop = async (code: Stopped["code"], message: string): Promise<Stopped> => {
    await ports.jobs.stop(job, `voxelburst ${code}: ${message}`);
    return { runId, taskId, code, message };
  };
  const nowMs = ports.clock.now().getTime();
  const spentCents = await spentOfHold(hold, use, nowMs, ports);
  const running = new Set(use.times.filter(({ toMs }) => toMs === undefined).map(({ instance }) => instance)).size;
  const soonCents = running * limits.lookAheadSeconds * (hold.usdPerHour / 36);
  if (spentCents + soonCents > hold.cents || nowMs > hold.lastsUntilMs)
    return stop(
      "OverReservation",
      `${taskId} has cost ${dollars(spentCents)} of the ${dollars(hold.cents)} USD that were reserved for it, on ${running} instances.`,
    );
  if (!(await ports.isOpen(runId)) && nowMs - hold.reservedAtMs > limits.graceSeconds * 1000)
    return stop("RunEnded", `${taskId} still ran after its run had ended.`);
  const silent = use.running.filter(
    ({ startedAtMs, lastSignMs }) => nowMs - Math.max(startedAtMs, lastSignMs ?? 0) > limits.silentSeconds * 1000,
  );
  if (silent.length === 0) return undefined;
  const message = `${silent.length} of ${use.running.length} running jobs of ${taskId} wrote no line for ${Math.round(limits.silentSeconds / 60)} minutes.`;
  for (const { id } of silent) await ports.jobs.stopOne(job, id, `voxelburst NoProgress: ${message}`);
  return { runId, taskId, code: "NoProgress", message };
}

/** What this try has cost: less what earlier tries of the same name were settled at. */
async function spentOfHold(hold: Hold, use: JobUse, nowMs: number, { ledger }: GuardPorts): Promise<number> {
  const sum = (amounts: Record<string, number>) => Object.values(amounts).reduce((total, one) => total + one, 0);
  const before = (await ledger.spent(hold.runId)).find(({ name }) => name === hold.name);
  return sum(centsByMonth(use.times, hold.job, hold.usdPerHour, nowMs)) - sum(before?.centsByMonth ?? {});
}

/** Ended long enough ago that the state machine has had its turn; or never begun in all the time that it had. */
function isLeft(hold: Hold, use: JobUse, nowMs: number, { graceSeconds }: GuardLimits): boolean {
  if (use.isAlive) return false;
  if (nowMs > hold.lastsUntilMs) return true;
  const ends = use.times.map(({ toMs }) => toMs ?? nowMs).filter((ms) => ms >= hold.reservedAtMs);
  return ends.length > 0 && nowMs - Math.max(...ends) > graceSeconds * 1000;
}

const dollars = (cents: number): string => (cents / 100).toFixed(2);
