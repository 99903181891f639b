// From the facts of a run to the report document: the one thing that report.html and report.csv are drawn from.
import type { CaseScores, ErrorDocument, Report, ReportInput, ReportRow } from "../../lib/contracts/index.ts";
import { keys } from "../../lib/contracts/index.ts";
import { scoreClasses } from "./classes.ts";
import { type ScoreSummary, summarise } from "./dice.ts";
import { datasetKeyOf, type Failures, failuresOf, withoutPaths } from "./failures.ts";
import { jobsOf, type RunFacts } from "./gather.ts";
import { coveredSeconds, hull, intervalOf, originMs } from "./merge.ts";
import type { ReportPorts } from "./ports.ts";
import type { Pricing } from "./pricing.ts";
import { rowsOf, scoreOf } from "./rows.ts";
import { stagesOf } from "./stages.ts";

type Warning = Report["warnings"][number];
type Segmentation = Report["segmentations"][number];

/** @returns the report of a run: what was measured, and what went wrong */
export function assemble(input: ReportInput, facts: RunFacts, pricing: Pricing, ports: ReportPorts): Report {
  const { request, plan: output } = input;
  const { plan, jobs } = facts;
  const failures = failuresOf(input, facts);
  const scored = segmentationsOf(request.runId, facts);
  const classifications = classificationsOf(request.runId, facts);
  const diceOf = (name: string) =>
    scored.find(({ segmentation }) => segmentation.name === name)?.segmentation.meanDice ?? null;
  const classesOf = (name: string) => classifications.find((one) => one.name === name);
  const stages = stagesOf(facts, pricing, output?.go === true && output.preprocess.missing === 0);
  const own = jobs.filter((job) => !job.reused);
  const origin = originMs(own);
  const intervals = own.map((job) => intervalOf(job, origin));
  const elapsed = hull(intervals);

  return {
    schema: 1,
    runId: request.runId,
    dataset: request.dataset,
    title: plan?.dataset.name ?? request.dataset,
    version: request.version,
    status:
      output && !output.go
        ? "refused"
        : failures.errors.length > 0 || input.failures.length > 0
          ? "failed"
          : "succeeded",
    where: pricing.where,
    ...(elapsed && {
      startedAt: new Date(origin).toISOString(),
      elapsedSeconds: elapsed.end - elapsed.start,
      runningSeconds: coveredSeconds(intervals),
    }),
    finishedAt: ports.clock.now().toISOString(),
    ...(plan && { nsdToleranceMm: plan.infer.nsdToleranceMm }),
    cases: countsOf(facts),
    rows: rowsOf({ facts, pricing, ports, diceOf, classesOf, failures }),
    segmentations: scored.map(({ segmentation }) => segmentation),
    classifications,
    parities: facts.ladder.flatMap((training) =>
      training.engines.flatMap((entry) => {
        const job = jobsOf(jobs, "compile").find(({ taskId }) => taskId === entry.compileTaskId);
        return job
          ? [
              {
                name: entry.name,
                precision: job.result.precision,
                buildSeconds: job.result.buildSeconds,
                parity: job.result.parity,
              },
            ]
          : [];
      }),
    ),
    curves: facts.ladder.flatMap((training) => {
      const job = jobsOf(jobs, "train").find(({ taskId }) => taskId === training.taskId);
      return job ? [{ name: training.name, points: job.result.curve }] : [];
    }),
    quarantine: facts.quarantine,
    warnings: warningsOf(facts, failures, scored),
    errors: failures.errors,
    falls: (input.falls ?? []).map((fall) => ({ ...fall, reason: withoutPaths(fall.reason, datasetKeyOf(request)) })),
    stages,
    usd: stages.reduce((sum, stage) => sum + stage.usd, 0),
    equivalentUsd: stages.reduce((sum, stage) => sum + stage.equivalentUsd, 0),
    ...(pricing.pricedAs && { pricedAs: pricing.pricedAs }),
    ...(plan && { estimate: plan.estimate }),
    overrides: plan?.overrides ?? [],
    notes: [...(plan?.notes ?? []), ...pricing.notes, ...pauses(elapsed, intervals, pricing.where)],
  };
}

interface Scored {
  segmentation: Segmentation;
  undefinedClasses: string[];
}

/** Of a dataset with classes, every engine of the ladder that classified at least one case. */
function classificationsOf(runId: string, facts: RunFacts): Report["classifications"] {
  const classes = facts.plan?.dataset.classes;
  if (!classes) return [];
  return facts.ladder.flatMap(({ fold, strategy, engines }) =>
    engines.flatMap(({ name, engine, inferTaskId }) => {
      const cases = oncePerCase(facts.scores.get(inferTaskId) ?? []);
      if (cases.length === 0) return [];
      const scores = scoreClasses(cases, classes);
      return [{ name, fold, strategy, engine, ...scores, cases, predictionsPrefix: keys.masks(runId, name) }];
    }),
  );
}

/** Every engine of the ladder that scored or predicted at least one case. */
function segmentationsOf(runId: string, facts: RunFacts): Scored[] {
  if (facts.plan?.dataset.classes) return [];
  return facts.ladder.flatMap((training) =>
    training.engines.flatMap((entry): Scored[] => {
      const cases = oncePerCase(facts.scores.get(entry.inferTaskId) ?? []);
      if (cases.length === 0) return [];
      const summary: ScoreSummary = summarise(cases);
      return [
        {
          segmentation: {
            name: entry.name,
            fold: training.fold,
            strategy: training.strategy,
            engine: entry.engine,
            meanDice: summary.meanDice,
            classes: summary.classes,
            cases,
            masksPrefix: keys.masks(runId, entry.name),
          },
          undefinedClasses: summary.undefinedClasses,
        },
      ];
    }),
  );
}

/** A child that was repeated may have listed a case twice: its last line counts. */
const oncePerCase = (scores: readonly CaseScores[]): CaseScores[] =>
  [...new Map(scores.map((score) => [score.caseId, score])).values()].sort((a, b) => a.caseId.localeCompare(b.caseId));

function countsOf({ plan, records, quarantine, ladder }: RunFacts): Report["cases"] {
  const used = new Set(ladder.map((training) => training.fold));
  const validation = new Set(
    (plan?.folds ?? []).filter((fold) => used.has(fold.name)).flatMap((fold) => fold.validation),
  );
  const split = (name: "training" | "test") => records.filter((record) => record.split === name).length;
  return {
    training: plan?.cases.training ?? split("training"),
    test: plan?.cases.test ?? split("test"),
    validation: validation.size,
    quarantined: Math.max(new Set(quarantine.map((entry) => entry.caseId)).size, plan?.cases.quarantined ?? 0),
  };
}

function warningsOf(facts: RunFacts, failures: Failures, scored: readonly Scored[]): Warning[] {
  const fallbacks = new Set(facts.jobs.flatMap(({ result }) => result.host.fallbacks));
  const parities = jobsOf(facts.jobs, "compile").filter(({ result }) => !result.parity.passed);
  return [
    ...[...fallbacks].map((message) => ({ code: "BackendFallback", message })),
    ...parities.map(({ taskId, result: { parity } }) => ({
      code: "ParityFailed",
      message: `${taskId}: the engine does not agree with FP32 (${parity.rule}).`,
    })),
    ...scored
      .filter(({ undefinedClasses, segmentation }) => undefinedClasses.length > 0 && segmentation.meanDice !== null)
      .map(({ segmentation, undefinedClasses }) => ({
        code: "ClassWithoutDice",
        message: `${segmentation.name}: ${undefinedClasses.join(", ")} ${undefinedClasses.length > 1 ? "are" : "is"} empty in reference and prediction of every case; the mean Dice is over the other classes.`,
      })),
    ...failures.recovered.map((error) => ({
      code: "RecoveredAfterRetry",
      message: `${jobName(error)} failed once and succeeded when repeated: ${error.code}, ${error.message}`,
      ...(error.caseId && { caseId: error.caseId }),
    })),
    ...facts.records
      .flatMap(({ caseId, warnings }) => warnings.map((warning) => ({ ...warning, caseId })))
      .sort((a, b) => a.code.localeCompare(b.code) || a.caseId.localeCompare(b.caseId)),
  ];
}

const jobName = ({ taskId, stage, index }: ErrorDocument): string =>
  `${taskId ?? stage ?? "a job"}${index === undefined ? "" : ` (child ${index})`}`;

/** A queue or an interrupted run stretches the elapsed time; rates do not count it, nor do dollars on one machine. */
function pauses(
  elapsed: { start: number; end: number } | undefined,
  intervals: { start: number; end: number }[],
  where: Pricing["where"],
): string[] {
  if (!elapsed) return [];
  const idleMinutes = (elapsed.end - elapsed.start - coveredSeconds(intervals)) / 60;
  return idleMinutes >= 1 && idleMinutes * 60 > 0.2 * (elapsed.end - elapsed.start)
    ? [
        `For ${idleMinutes.toFixed(1)} of its minutes no stage was running: the run waited for machines, prepared the next stage, or was stopped and resumed. ${where === "local" ? "Rates and dollars" : "Rates"} leave that time out.`,
      ]
    : [];
}

/** The row that a reader asks for first: the fastest engine with a score, otherwise whatever was measured. */
export function headlineOf(rows: readonly ReportRow[]): ReportRow | undefined {
  const speed = (row: ReportRow) => row.volumesPerSecond ?? 0;
  const best = (candidates: ReportRow[]) => candidates.toSorted((a, b) => speed(b) - speed(a))[0];
  const engines = rows.filter((row) => row.kind === "engine");
  return (
    best(engines.filter((row) => scoreOf(row) !== null && row.volumesPerSecond !== null)) ??
    best(engines.filter((row) => scoreOf(row) !== null)) ??
    best(rows.filter((row) => scoreOf(row) !== null || row.volumesPerSecond !== null))
  );
}
