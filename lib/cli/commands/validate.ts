// voxelburst validate DATASET: every check that a run would make before it trains, and nothing else.
import {
  caseRecord,
  ingestedCase,
  keys,
  type QuarantineEntry,
  quarantineEntry,
  type RunRequest,
  readJson,
  readJsonLines,
  under,
} from "../../contracts/index.ts";
import type { Workbench } from "../../local/workbench.ts";
import type { CommandContext, CommandResult } from "../command.ts";
import { conductWithProgress, failureOf } from "../conduct.ts";
import { EXIT } from "../exit-codes.ts";
import { plural } from "../format.ts";
import { note, warning } from "../messages.ts";
import { datasetOptions, type RunOptions } from "./run.ts";

export async function validate(
  context: CommandContext,
  dataset: string,
  options: Pick<RunOptions, "recipe" | "set">,
): Promise<CommandResult> {
  const { workbench, emit } = context;
  const begun = await workbench.beginUntil("Ingest", dataset, datasetOptions(options));
  if (begun.claimed) {
    const conducted = await conductWithProgress(context, begun.claimed);
    if (conducted.execution.status === "ABORTED") return { exitCode: EXIT.cancelled, json: { status: "cancelled" } };
    if (conducted.execution.status !== "SUCCEEDED") throw failureOf(undefined, conducted);
  }
  const { good, bad, warnings } = await findings(workbench, begun.request);
  for (const one of warnings) emit(warning(one.code, `${one.caseId}: ${one.message}`));
  for (const entry of bad)
    emit(note("CaseRefused", `${entry.caseId}: ${entry.code}: ${entry.message}\n  what to do: ${entry.remedy}`));
  emit(
    note(
      "Validated",
      `${plural(good, "case")} can be used, ${plural(bad.length, "case")} would be put into quarantine`,
    ),
  );
  return {
    exitCode: bad.length > 0 ? EXIT.invalidInput : EXIT.done,
    json: { status: bad.length > 0 ? "invalid" : "valid", cases: good, problems: bad, warnings },
  };
}

interface Findings {
  good: number;
  bad: QuarantineEntry[];
  warnings: { caseId: string; code: string; message: string }[];
}

async function findings(workbench: Workbench, request: RunRequest): Promise<Findings> {
  const { store } = workbench;
  const at = (key: string) => under(request.artefactsUri, key);
  const found: Findings = { good: 0, bad: [], warnings: [] };
  for (let index = 0; index < request.ingestShards; index++) {
    const ingested = await readJsonLines(store, at(keys.ingested(request.runId, index)), ingestedCase);
    found.good += ingested.length;
    for (const { caseId, recordKey } of ingested) {
      const { warnings } = await readJson(store, at(recordKey), caseRecord);
      found.warnings.push(...warnings.map((one) => ({ caseId, ...one })));
    }
    found.bad.push(...(await readJsonLines(store, at(keys.quarantined(request.runId, index)), quarantineEntry)));
  }
  found.bad.sort((a, b) => (a.caseId < b.caseId ? -1 : 1));
  return found;
}
