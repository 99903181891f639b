// The report of a run: report.json, report.csv and report.html, of whatever the run has left.
import {
  keys,
  parseOrThrow,
  type Report,
  type ReportInput,
  type ReportOutput,
  report as reportSchema,
  under,
} from "../../lib/contracts/index.ts";
import { amountsOf } from "./amounts.ts";
import { assemble, headlineOf } from "./assemble.ts";
import { renderCsv } from "./csv.ts";
import { gather } from "./gather.ts";
import { dice, duration, significant, usd } from "./html/format.ts";
import { renderHtml } from "./html/page.ts";
import { compareNights, isNightly, nightOf, nightsBefore, regressionSentences, withComparison } from "./nightly.ts";
import { picturesOf } from "./pictures.ts";
import type { ReportPorts } from "./ports.ts";
import { pricingOf } from "./pricing.ts";

export type { ReportPorts } from "./ports.ts";

/**
 * Reads the results, errors, plan, case records, quarantine, scores and previews of a run and writes its report.
 * It works on a run that failed anywhere or was refused; report.json is written last, after what it stands for.
 *
 * @throws VoxelburstError ReportInvalid when the report would not fit its contract: a defect of this module
 */
export async function report(input: ReportInput, ports: ReportPorts): Promise<ReportOutput> {
  const { runId, artefactsUri } = input.request;
  const facts = await gather(input, ports.store);
  const pricing = pricingOf(input, facts, await amountsOf(input, facts, ports), ports);
  const assembled = await withNight(input, assemble(input, facts, pricing, ports), ports);
  const document = parseOrThrow(reportSchema, assembled, "report.json", "ReportInvalid");
  const pictures = await picturesOf(document, ports.store, artefactsUri);

  const reportKey = keys.report(runId, "report.json");
  const htmlKey = keys.report(runId, "report.html");
  const csvKey = keys.report(runId, "report.csv");
  const put = (key: string, body: string, contentType: string) =>
    ports.store.put(under(artefactsUri, key), body, { contentType });
  await put(htmlKey, renderHtml(document, pictures), "text/html; charset=utf-8");
  await put(csvKey, renderCsv(document), "text/csv; charset=utf-8");
  await put(reportKey, `${JSON.stringify(document, null, 2)}\n`, "application/json");

  return {
    status: document.status,
    error: document.status === "succeeded" ? "" : (document.errors[0]?.code ?? "RunFailed"),
    message: [sentence(document), ...regressionsOf(document)].join(" "),
    reportKey,
    htmlKey,
    csvKey,
  };
}

/** Of a run that the schedule started: compares it with the nights before, remembers it and emits its metrics. */
async function withNight({ request }: ReportInput, document: Report, ports: ReportPorts): Promise<Report> {
  if (!isNightly(request)) return document;
  const tonight = nightOf(request, document.rows);
  const comparison = compareNights(tonight, await nightsBefore(request, ports.store));
  // Under the night's own name: a report that is made again replaces it.
  await ports.store.put(
    under(request.artefactsUri, keys.night(request.dataset, request.night)),
    `${JSON.stringify(tonight, null, 1)}\n`,
    { contentType: "application/json" },
  );
  ports.onNight?.(comparison);
  return withComparison(document, comparison);
}

const regressionsOf = ({ nightly }: Report): string[] =>
  nightly ? regressionSentences(nightly).map((one) => `Regression: ${one}`) : [];

/** One sentence for the notification and the terminal. */
function sentence(document: Report): string {
  const first = document.errors[0];
  if (document.status === "refused") return `${document.runId} was refused: ${first?.message} ${first?.remedy}`;
  if (document.status === "failed") {
    const others = document.errors.length > 1 ? ` (and ${document.errors.length - 1} more)` : "";
    return `${document.runId} failed${first?.stage ? ` in ${first.stage}` : ""}: ${first?.message}${others} ${first?.remedy}`;
  }
  const row = headlineOf(document.rows);
  const dollars = document.where === "local" ? `${usd(document.equivalentUsd)} equivalent` : usd(document.usd);
  const parts = [
    document.classifications.length > 0
      ? `AUC ${dice(row?.auc ?? null)}, accuracy ${dice(row?.accuracy ?? null)}`
      : `mean Dice ${dice(row?.dice ?? null)}`,
    `volumes/s ${significant(row?.volumesPerSecond ?? null)}${row?.engine ? ` with ${row.engine}` : ""}`,
    dollars,
    duration(document.elapsedSeconds ?? null),
  ];
  return `${document.runId} succeeded: ${parts.join(", ")}.`;
}
