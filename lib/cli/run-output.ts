// A run's plan, end and report as messages, and its --json object.
import { readdirSync } from "node:fs";
import path from "node:path";
import {
  type ErrorDocument,
  type Estimate,
  keys,
  type Plan,
  type Report,
  type ReportRow,
  under,
} from "../contracts/index.ts";
import type { Workbench } from "../local/workbench.ts";
import { duration, plural, significant, type Table, usd } from "./format.ts";
import { type Emit, note, warning } from "./messages.ts";

const orUnmeasured = (value: number | null, format: (value: number) => string) =>
  value === null ? "not measured" : format(value);

export function estimateTable(estimate: Estimate): Table {
  return {
    columns: [
      { title: "stage" },
      { title: "time", align: "right" },
      { title: "memory", align: "right" },
      { title: "cost", align: "right" },
      { title: "equivalent", align: "right" },
    ],
    rows: [
      ...estimate.stages.map((stage) => [
        stage.stage,
        duration(stage.minutes * 60),
        `${significant(stage.memoryGiB)} GiB`,
        usd(stage.usd),
        usd(stage.equivalentUsd),
      ]),
      ["all", duration(estimate.minutes * 60), "", usd(estimate.usd), usd(estimate.equivalentUsd)],
    ],
  };
}

export function emitPlan(plan: Plan, emit: Emit): void {
  const { cases, network, folds, estimate } = plan;
  emit(
    note(
      "Planned",
      [
        `plan: ${plural(cases.training, "training case")}, ${plural(cases.test, "case")} to predict, ${cases.quarantined} in quarantine`,
        `  spacing ${plan.spacingMmZyx.map(significant).join(" x ")} mm, patch ${plan.patch.join(" x ")}, batch ${plan.batch}, ${plan.precision}`,
        `  ${network.model} with ${network.features.join("-")} features`,
        `  folds ${folds.map((fold) => `${fold.name} (${fold.train.length} + ${fold.validation.length})`).join(", ")}`,
        ...plan.overrides.map((field) => `  set by the recipe: ${field}`),
      ].join("\n"),
    ),
  );
  for (const text of plan.notes) emit(note("PlanNote", `  note: ${text}`));
  const { instanceType, usdPerHour, date } = estimate.pricedAs;
  const title = `estimate (equivalent: ${instanceType} at ${usd(usdPerHour)} an hour, ${date})`;
  emit({ kind: "table", code: "Estimated", title, table: estimateTable(estimate) });
}

const latency = (row: ReportRow) =>
  row.p50Ms === null || row.p95Ms === null ? "not measured" : `${significant(row.p50Ms)} / ${significant(row.p95Ms)}`;

function reportTable(report: Report): Table {
  const classified = report.classifications.length > 0;
  const onGpu = report.rows.some((row) => row.gpus > 0);
  return {
    columns: [
      { title: "fold" },
      { title: "strategy" },
      { title: "engine" },
      { title: "device" },
      { title: "batch", align: "right" },
      { title: "volumes/s", align: "right" },
      ...(classified
        ? [
            { title: "AUC", align: "right" as const },
            { title: "accuracy", align: "right" as const },
          ]
        : [{ title: "Dice", align: "right" as const }]),
      { title: "speed-up", align: "right" },
      { title: "patches|windows/s", align: "right" },
      ...(onGpu ? [{ title: "GPU busy", align: "right" as const }] : []),
      { title: "p50 / p95 ms", align: "right" },
      { title: "$/1000 volumes", align: "right" },
    ],
    rows: report.rows.map((row) => [
      row.fold,
      row.strategy,
      row.engine ?? "(training)",
      row.gpus > 1 ? `${row.gpus} x ${row.gpu}` : row.gpu,
      row.batch === null ? "-" : String(row.batch),
      orUnmeasured(row.volumesPerSecond, significant),
      ...(classified ? [row.auc ?? null, row.accuracy ?? null] : [row.dice]).map((score) =>
        orUnmeasured(score, (value) => value.toFixed(4)),
      ),
      orUnmeasured(row.speedUp, (times) => `${significant(times)}x`),
      orUnmeasured(row.kind === "training" ? row.patchesPerSecond : row.windowsPerSecond, significant),
      ...(onGpu ? [orUnmeasured(row.gpuBusyPercent, (percent) => `${significant(percent)} %`)] : []),
      latency(row),
      orUnmeasured(row.usdPer1000Volumes, usd),
    ]),
  };
}

/** The table of results, what was skipped and refused, errors, and where everything lies. */
export function emitReport(report: Report, result: RunResult, emit: Emit): void {
  if (report.rows.length > 0)
    emit({ kind: "table", code: "Reported", title: report.title, table: reportTable(report) });
  const classes = report.segmentations.flatMap((segmentation) =>
    segmentation.classes.map(
      (one) =>
        `  ${segmentation.name} ${one.class}: Dice ${orUnmeasured(one.dice, (dice) => dice.toFixed(4))} over ${plural(one.cases, "case")}`,
    ),
  );
  if (classes.length > 0) emit(note("DiceByClass", classes.join("\n")));
  const skipped = report.stages.filter((stage) => stage.skipped > 0);
  if (skipped.length > 0)
    emit(
      note(
        "Skipped",
        `skipped, as it existed: ${skipped.map((stage) => `${stage.stage} ${stage.skipped} of ${stage.skipped + stage.done}`).join(", ")}`,
      ),
    );
  for (const { taskId, rung, reason, next } of report.falls)
    emit(
      note("RungLeft", `${taskId}: ${rung} had no machine (${reason}); ${next ? `then ${next}` : "no rung was left"}`),
    );
  for (const entry of report.quarantine)
    emit(note("Quarantined", `in quarantine: ${entry.caseId}: ${entry.code}: ${entry.message}`));
  for (const one of report.warnings) emit(warning(one.code, `${one.caseId ? `${one.caseId}: ` : ""}${one.message}`));
  emit(note("ReportWritten", `report: ${result.html}`));
  if (result.masks) emit(note("MasksWritten", `masks:  ${result.masks}`));
  if (result.predictions) emit(note("PredictionsWritten", `predictions: ${result.predictions}`));
  for (const model of result.models) emit(note("ModelWritten", `model:  ${model}`));
  if (areFoldsOfOne(report, result.models))
    emit(
      note(
        "EnsembleReady",
        `all folds together: voxelburst predict ${result.models.map((model) => `--model ${model}`).join(" ")} IMAGES --out DIR`,
      ),
    );
}

/** Whether the models are those of several folds and differ in nothing else. */
function areFoldsOfOne({ segmentations }: Report, models: readonly string[]): boolean {
  const folds = new Set(segmentations.map(({ fold }) => fold));
  return folds.size > 1 && segmentations.length === folds.size && models.length === folds.size;
}

export type RunStatusName = "succeeded" | "failed" | "refused" | "cancelled" | "running" | "interrupted";

/** The object that `run --json` ends with. Paths are absolute; null is what does not exist. */
export interface RunResult {
  runId: string;
  status: RunStatusName;
  /** Whether this command did anything: started, redriven, or the run existed already. */
  outcome: string;
  report: string | null;
  html: string | null;
  csv: string | null;
  /** Holds the <caseId>.nii.gz files when there is one training and one engine, else a folder for each. */
  masks: string | null;
  /** Model folders for `voxelburst predict`. */
  models: string[];
  meanDice: number | null;
  /** Of a classification, in the place of masks: holds predictions.<child>.jsonl, or a folder for each engine. */
  predictions: string | null;
  /** Of a classification with one training and one engine. */
  auc: number | null;
  accuracy: number | null;
  quarantined: { caseId: string; code: string }[];
  error: ErrorDocument | null;
}

export async function resultOf(
  workbench: Workbench,
  runId: string,
  status: RunStatusName,
  outcome: string,
): Promise<{ result: RunResult; report?: Report }> {
  const report = await workbench.report(runId);
  const at = (file: Parameters<typeof keys.report>[1]) => (report ? workbench.pathOf(keys.report(runId, file)) : null);
  const segmentations = report?.segmentations ?? [];
  const [only, ...others] = segmentations;
  const classified = report?.classifications ?? [];
  const [one] = classified;
  const sole = classified.length === 1 ? one : undefined;
  const allMasks = workbench.pathOf(keys.masks(runId, "x")).replace(/\/x$/, "");
  return {
    report,
    result: {
      runId,
      status,
      outcome,
      report: at("report.json"),
      html: at("report.html"),
      csv: at("report.csv"),
      masks: only ? (others.length > 0 ? allMasks : workbench.pathOf(only.masksPrefix)) : null,
      models: await modelsOf(workbench, runId),
      meanDice: only && others.length === 0 ? only.meanDice : null,
      predictions: one ? (sole ? workbench.pathOf(sole.predictionsPrefix) : allMasks) : null,
      auc: sole?.auc ?? null,
      accuracy: sole?.accuracy ?? null,
      quarantined: (report?.quarantine ?? []).map(({ caseId, code }) => ({ caseId, code })),
      error: report?.errors[0] ?? null,
    },
  };
}

/** Folders that compile has completed for the run: each is a model folder. */
async function modelsOf(workbench: Workbench, runId: string): Promise<string[]> {
  const tasks = path.dirname(workbench.pathOf(keys.task(runId, "x")));
  let names: string[];
  try {
    names = readdirSync(tasks).filter((name) => /^compile-.*(?<!\.cases|\.manifest)\.json$/.test(name));
  } catch {
    return []; // the run failed before it had tasks
  }
  const models: string[] = [];
  for (const name of names.sort()) {
    const uri = under(workbench.home.artefactsUri, keys.task(runId, name.replace(/\.json$/, "")));
    const bytes = await workbench.store.get(uri);
    const { outputPrefix } = JSON.parse(new TextDecoder().decode(bytes)) as { outputPrefix: string };
    if (await workbench.store.exists(under(workbench.home.artefactsUri, keys.outputResult(outputPrefix))))
      models.push(workbench.pathOf(outputPrefix));
  }
  return models;
}
