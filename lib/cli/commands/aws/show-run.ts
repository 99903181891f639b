// The end of a run on AWS as messages and its --json object: what run-output.ts is for one machine.
import { type Cloud, reportOf } from "../../../aws/cloud.ts";
import type { CloudRun } from "../../../aws/runs.ts";
import { keys, under, VoxelburstError } from "../../../contracts/index.ts";
import { fromDocument } from "../../../local/stage-command.ts";
import type { CommandContext, CommandResult } from "../../command.ts";
import { EXIT, exitCodeOf } from "../../exit-codes.ts";
import { emitReport, type RunResult, type RunStatusName } from "../../run-output.ts";

const statusOf = ({ status }: CloudRun): RunStatusName => (status === "timed-out" ? "failed" : status);

/** Shows the report, and the first error of a run that failed. */
export async function showCloudRun(
  { emit }: CommandContext,
  cloud: Cloud,
  run: CloudRun,
  outcome: string,
): Promise<CommandResult> {
  const { runId } = run;
  const report = await reportOf(cloud, runId);
  const at = (key: string) => under(cloud.artefactsUri, key);
  const file = (name: Parameters<typeof keys.report>[1]) => (report ? at(keys.report(runId, name)) : null);
  const segmentations = report?.segmentations ?? [];
  const classifications = report?.classifications ?? [];
  const status = report?.status === "refused" ? "refused" : statusOf(run);
  const result: RunResult = {
    runId,
    status,
    outcome,
    report: file("report.json"),
    html: file("report.html"),
    csv: file("report.csv"),
    predictions: classifications.length === 1 ? at(classifications[0]!.predictionsPrefix) : null,
    auc: classifications.length === 1 ? classifications[0]!.auc : null,
    accuracy: classifications.length === 1 ? classifications[0]!.accuracy : null,
    masks: segmentations.length === 1 ? at(segmentations[0]!.masksPrefix) : null,
    models: [],
    meanDice: segmentations.length === 1 ? segmentations[0]!.meanDice : null,
    quarantined: (report?.quarantine ?? []).map(({ caseId, code }) => ({ caseId, code })),
    error: report?.errors[0] ?? null,
  };
  if (report) emitReport(report, result, emit);
  if (status === "cancelled") return { exitCode: EXIT.cancelled, json: result };
  if (status !== "failed" && status !== "refused") return { exitCode: EXIT.done, json: result };
  const [first] = report?.errors ?? [];
  const error = first
    ? fromDocument(first)
    : new VoxelburstError(
        run.status === "timed-out" ? "RunTimedOut" : "RunFailed",
        "The run ended before it could report.",
        `\`voxelburst logs ${runId} --on aws\` shows what its jobs said.`,
      );
  emit({ kind: "error", code: error.code, text: error.message, remedy: error.remedy });
  return { exitCode: exitCodeOf(error.code), json: { ...result, error: error.toDocument() } };
}
