// The rows of the benchmark ladder's table. Whatever was not measured is null; nothing is copied or estimated.
import type { CompileResult, EngineName, InferResult, ReportRow, TrainResult } from "../../lib/contracts/index.ts";
import { meanOf } from "./dice.ts";
import { absenceSentence, type Failures, failureSentence } from "./failures.ts";
import { type Job, jobsOf, type RunFacts } from "./gather.ts";
import type { LadderEngine, LadderTraining } from "./ladder.ts";
import { coveredSeconds, type Interval, intervalOf, mostAtOnce, originMs } from "./merge.ts";
import type { ReportPorts } from "./ports.ts";
import type { Pricing } from "./pricing.ts";

export const NOT_MEASURED = "not measured";

/** A rate or latency of 0 is one that nothing was timed for. */
const timed = (value: number | undefined): number | null => (value !== undefined && value > 0 ? value : null);

const unmeasured = {
  gpu: NOT_MEASURED,
  batch: null,
  volumesPerSecond: null,
  dice: null,
  speedUp: null,
  patchesPerSecond: null,
  windowsPerSecond: null,
  gpuBusyPercent: null,
  p50Ms: null,
  p95Ms: null,
  usdPer1000Volumes: null,
  versions: {},
} satisfies Partial<ReportRow>;

export interface RowContext {
  facts: RunFacts;
  pricing: Pricing;
  ports: ReportPorts;
  /** Mean Dice of a segmentation by its name, <fold>-<strategy>-<engine>. */
  diceOf: (name: string) => number | null;
  /** Scores of a classification by that name. */
  classesOf: (name: string) => { auc: number | null; accuracy: number | null } | undefined;
  failures: Failures;
}

/** Dice, or of a classification the AUC. */
export const scoreOf = ({ dice, auc }: Pick<ReportRow, "dice" | "auc">): number | null => dice ?? auc ?? null;

const classScoresOf = (name: string | undefined, { classesOf }: RowContext): Pick<ReportRow, "auc" | "accuracy"> => {
  const found = name === undefined ? undefined : classesOf(name);
  return found ? { auc: found.auc, accuracy: found.accuracy } : {};
};

/** The engine whose masks give a training its Dice: the reference `torch`, first in the ladder, or the next with one. */
export const diceEngine = (training: LadderTraining, diceOf: RowContext["diceOf"]): LadderEngine | undefined =>
  training.engines.find((entry) => diceOf(entry.name) !== null);

const usdPer1000 = (volumesPerSecond: number | null, usdPerHour: number | null): number | null =>
  volumesPerSecond === null || usdPerHour === null ? null : ((1000 / volumesPerSecond) * usdPerHour) / 3600;

function trainingRow(training: LadderTraining, context: RowContext): ReportRow {
  const { facts, pricing, diceOf, failures } = context;
  const scoredBy = (name: string) => diceOf(name) ?? context.classesOf(name)?.auc ?? null;
  const source = diceEngine(training, scoredBy);
  const base = {
    kind: "training" as const,
    fold: training.fold,
    strategy: training.strategy,
    ...(source && { diceFrom: source.engine }),
    ...classScoresOf(source?.name, context),
  };
  const dice = source ? diceOf(source.name) : null;
  const job = jobsOf(facts.jobs, "train").find((entry) => entry.taskId === training.taskId);
  if (!job)
    return {
      ...unmeasured,
      ...base,
      gpus: training.planned?.gpus ?? 0,
      dice,
      note: absenceSentence(failures, facts, training.taskId),
    };
  const measured: TrainResult = job.result;
  const volumesPerSecond = timed(measured.volumesPerSecond);
  return {
    ...unmeasured,
    ...base,
    gpu: measured.host.device,
    gpus: measured.host.devices,
    precision: measured.precision,
    batch: measured.batch,
    volumesPerSecond,
    dice,
    patchesPerSecond: timed(measured.patchesPerSecond),
    gpuBusyPercent: measured.gpuBusyPercent ?? null,
    p50Ms: timed(measured.stepLatency.p50Ms),
    p95Ms: timed(measured.stepLatency.p95Ms),
    usdPer1000Volumes: usdPer1000(volumesPerSecond, pricing.usdPerHour(job, 1)),
    versions: measured.host.versions,
    ...(job.reused && { note: `Trained and timed by the earlier run ${measured.runId}.` }),
  };
}

/** The part of a child's time that its file-to-mask seconds cover: its last ones, as the process starts first. */
function workInterval(job: Job<InferResult>, fromMs: number): Interval {
  const { end } = intervalOf(job, fromMs);
  return { start: end - job.result.fileToMaskSeconds, end };
}

/** An array of infer as one measurement: rates of children that ran at once add up, sequential ones do not. */
function mergeInfer(jobs: readonly Job<InferResult>[]) {
  const working = jobs.filter(({ result, reused }) => !reused && result.done > 0 && result.fileToMaskSeconds > 0);
  const origin = originMs(working);
  const intervals = working.map((job) => workInterval(job, origin));
  const fileToMaskSeconds = working.reduce((sum, { result }) => sum + result.fileToMaskSeconds, 0);
  const spanned = coveredSeconds(intervals);
  const busy = working.filter(({ result }) => result.gpuBusyPercent !== undefined);
  const modelSeconds = working.reduce((sum, { result }) => sum + result.modelSeconds, 0);
  const windows = working.reduce((sum, { result }) => sum + result.windows, 0);
  const slowest = (of: (result: InferResult) => number) => Math.max(0, ...working.map(({ result }) => of(result)));
  return {
    working,
    workers: mostAtOnce(intervals),
    volumesPerSecond: timed(spanned > 0 ? working.reduce((sum, { result }) => sum + result.done, 0) / spanned : 0),
    windowsPerSecond: timed(modelSeconds > 0 ? (windows / modelSeconds) * (fileToMaskSeconds / spanned) : 0),
    gpuBusyPercent:
      busy.length === 0
        ? null
        : busy.reduce((sum, { result }) => sum + result.gpuBusyPercent! * result.fileToMaskSeconds, 0) /
          busy.reduce((sum, { result }) => sum + result.fileToMaskSeconds, 0),
    // Percentiles of children cannot be merged; the slowest child's is measured and no child exceeds it.
    p50Ms: timed(slowest((result) => result.windowLatency.p50Ms)),
    p95Ms: timed(slowest((result) => result.windowLatency.p95Ms)),
  };
}

function engineRow(training: LadderTraining, entry: LadderEngine, context: RowContext): ReportRow {
  const { facts, pricing, ports, diceOf, failures } = context;
  const base = {
    kind: "engine" as const,
    fold: training.fold,
    strategy: training.strategy,
    engine: entry.engine,
    dice: diceOf(entry.name),
    ...classScoresOf(entry.name, context),
  };
  const jobs = jobsOf(facts.jobs, "infer").filter((job) => job.taskId === entry.inferTaskId);
  const compiled: CompileResult | undefined = jobsOf(facts.jobs, "compile").find(
    (job) => job.taskId === entry.compileTaskId,
  )?.result;
  const precision = jobs[0]?.result.precision ?? compiled?.precision;
  if (jobs.length === 0)
    return {
      ...unmeasured,
      ...base,
      gpus: 0,
      ...(precision && { precision }),
      note: absenceSentence(failures, facts, compiled ? entry.inferTaskId : entry.compileTaskId),
    };

  const merged = mergeInfer(jobs);
  const first = merged.working[0] ?? jobs[0]!;
  const { host } = first.result;
  const batches = new Set(merged.working.map(({ result }) => result.batch));
  // On one machine, processes that share its GPUs are not more GPUs.
  const most = ports.machine?.where === "local" ? ports.machine.gpus : Number.POSITIVE_INFINITY;
  const skipped = jobs.reduce((sum, { result }) => sum + result.skipped, 0);
  const notes = [
    failureSentence(failures, entry.inferTaskId) ?? false,
    merged.working.length === 0 && skipped > 0 && `All ${skipped} masks existed before this run: nothing was timed.`,
    merged.working.length > 1 &&
      `${merged.working.length} array children${merged.workers > 1 ? `, ${merged.workers} at once` : " in turn"}.`,
  ].filter((note) => note !== false);
  return {
    ...unmeasured,
    ...base,
    gpu: host.device,
    gpus: Math.min(host.devices * Math.max(1, merged.workers), Math.max(most, host.devices)),
    ...(precision && { precision }),
    batch: batches.size === 1 ? ([...batches][0] ?? null) : null,
    volumesPerSecond: merged.volumesPerSecond,
    windowsPerSecond: merged.windowsPerSecond,
    gpuBusyPercent: merged.gpuBusyPercent,
    p50Ms: merged.p50Ms,
    p95Ms: merged.p95Ms,
    usdPer1000Volumes: usdPer1000(merged.volumesPerSecond, pricing.usdPerHour(first, Math.max(1, merged.workers))),
    versions: host.versions,
    ...(notes.length > 0 && { note: notes.join(" ") }),
  };
}

/** Speed-up of each row against the first of its kind that has a speed. */
function withSpeedUp(rows: readonly ReportRow[]): ReportRow[] {
  const reference = rows.find((row) => row.volumesPerSecond !== null)?.volumesPerSecond;
  return rows.map((row) => ({
    ...row,
    speedUp: reference && row.volumesPerSecond !== null ? row.volumesPerSecond / reference : null,
  }));
}

/** Training rows, then engine rows, each in the order of the ladder. */
export function rowsOf(context: RowContext): ReportRow[] {
  const { ladder } = context.facts;
  return [
    ...withSpeedUp(ladder.map((training) => trainingRow(training, context))),
    ...withSpeedUp(ladder.flatMap((training) => training.engines.map((entry) => engineRow(training, entry, context)))),
  ];
}

/** One strategy (and engine) over several folds, when a run has them. */
export interface AcrossFolds {
  strategy: string;
  engine: EngineName;
  folds: number;
  meanDice: number | null;
}

/** Plain means over folds of the folds' mean Dice, as nnU-Net sums up a cross-validation. */
export function acrossFolds(rows: readonly ReportRow[]): AcrossFolds[] {
  const engines = rows.filter((row) => row.kind === "engine" && row.dice !== null);
  return Object.values(Object.groupBy(engines, (row) => `${row.strategy}-${row.engine}`))
    .filter((group) => group !== undefined && group.length > 1)
    .map((group) => ({
      strategy: group![0]!.strategy,
      engine: group![0]!.engine!,
      folds: group!.length,
      meanDice: meanOf(group!.map((row) => row.dice)),
    }));
}
