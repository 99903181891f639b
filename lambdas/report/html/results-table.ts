// DESIGN.md's table: training rows and engine rows, notes below it.
import type { Report, ReportRow } from "../../../lib/contracts/index.ts";
import { NOT_MEASURED } from "../rows.ts";
import { dice, percent, percentiles, significant, times, usd } from "./format.ts";
import { type Content, type Html, html } from "./markup.ts";
import { type Column, table } from "./table.ts";

/** Rows with the same versions share a letter, as notes of a table do. */
function versionNotes(rows: readonly ReportRow[]): {
  letterOf: (row: ReportRow) => string | undefined;
  notes: [string, string][];
} {
  const letters = new Map<string, string>();
  const textOf = (row: ReportRow) =>
    Object.entries(row.versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(", ");
  for (const row of rows) {
    const text = textOf(row);
    if (text && !letters.has(text)) letters.set(text, letterAt(letters.size));
  }
  return { letterOf: (row) => letters.get(textOf(row)), notes: [...letters].map(([text, letter]) => [letter, text]) };
}

const letterAt = (at: number): string =>
  (at < 26 ? "" : letterAt(Math.floor(at / 26) - 1)) + String.fromCharCode(97 + (at % 26));

const hardware = (row: ReportRow): Content => {
  if (row.gpu === NOT_MEASURED) return NOT_MEASURED;
  return row.gpus > 0 ? html`${row.gpu} × ${row.gpus}` : html`${row.gpu} <small>CPU</small>`;
};

const nameOf = (row: ReportRow): Content => html`<b>${row.engine ?? row.strategy}</b>
  <small>${row.engine ? `weights of ${row.fold} ${row.strategy}` : row.fold}${row.precision ? `, ${row.precision}` : ""}</small>
  ${row.note && html`<small class="aside">${row.note}</small>`}`;

/** Why the dollars of a row are what they are, for its column's head. */
const dollarsHead = ({ where, pricedAs }: Report): Content =>
  html`$ per 1,000 volumes ${where === "local" && html`<small>${pricedAs ? "equivalent" : "no price"}</small>`}`;

/** The table and its notes. */
export function resultsTable(report: Report): Html {
  if (report.rows.length === 0)
    return html`<p>No training and no engine was planned before the run ended, so there is nothing to compare.</p>`;
  const { letterOf, notes } = versionNotes(report.rows);
  const columns: Column<ReportRow>[] = [
    { head: "Strategy", cell: nameOf, rowHead: true },
    { head: "GPU × count", cell: hardware, wide: true },
    { head: "Batch", cell: (row) => row.batch ?? NOT_MEASURED, numeric: true },
    { head: "Volumes/s", cell: (row) => significant(row.volumesPerSecond), numeric: true, strong: true },
    ...(isClassification(report)
      ? [
          { head: "AUC", cell: (row: ReportRow) => dice(row.auc), numeric: true, strong: true },
          { head: "Accuracy", cell: (row: ReportRow) => dice(row.accuracy), numeric: true },
        ]
      : [{ head: "Dice", cell: (row: ReportRow) => dice(row.dice), numeric: true, strong: true }]),
    { head: "Speed\u2011up", cell: (row) => times(row.speedUp), numeric: true },
    {
      head: "Patches/s or windows/s",
      cell: (row) => significant(row.kind === "training" ? row.patchesPerSecond : row.windowsPerSecond),
      numeric: true,
    },
    { head: "GPU busy", cell: (row) => percent(row.gpuBusyPercent), numeric: true },
    { head: "p50 / p95", unit: "ms", cell: (row) => percentiles(row.p50Ms, row.p95Ms), numeric: true },
    {
      head: "$ per 1,000 volumes",
      headContent: dollarsHead(report),
      cell: (row) => usd(row.usdPer1000Volumes),
      numeric: true,
    },
    {
      head: "Versions",
      cell: (row) => {
        const letter = letterOf(row);
        return letter ? html`<a href="#versions-${letter}">${letter}</a>` : NOT_MEASURED;
      },
    },
  ];
  const kinds = [
    { title: "Training", rows: report.rows.filter((row) => row.kind === "training") },
    { title: `Inference, file to ${outputOf(report)}`, rows: report.rows.filter((row) => row.kind === "engine") },
  ].filter(({ rows }) => rows.length > 0);
  return html`${table({ caption: "Speed and quality", columns, groups: kinds, reflow: true })}
    <div class="notes">
      ${tableNotes(report).map((note) => html`<p>${note}</p>`)}
      ${notes.length > 0 && html`<p>Versions:</p>`}
      <ul class="plain">${notes.map(([letter, text]) => html`<li id="versions-${letter}"><sup>${letter}</sup> ${text}</li>`)}</ul>
    </div>`;
}

const isClassification = ({ classifications }: Report): boolean => classifications.length > 0;
const outputOf = (report: Report): string => (isClassification(report) ? "prediction" : "mask");

/** What the columns mean, in the words of DESIGN.md. */
function tableNotes(report: Report): string[] {
  const { rows, where, pricedAs } = report;
  const sources = new Set(rows.filter((row) => row.kind === "training").map((row) => row.diceFrom));
  sources.delete(undefined);
  return [
    `A training row’s volumes/s is patches/s × voxels of a patch ÷ voxels of the median case; an engine row’s is file to ${outputOf(report)}: loading, preprocessing, model and export. The two are not comparable with each other. Windows/s is model time alone.`,
    isClassification(report)
      ? "A training row’s AUC and accuracy are those of the probabilities which the reference engine torch made from its weights where it ran, otherwise the first engine. AUC is of one class against the rest, and the mean over classes."
      : `A training row’s Dice is that of the masks which ${sources.size > 0 ? [...sources].join(" or ") : "its reference engine"} made from its weights: the reference engine torch where it ran, otherwise the first engine. Dice follows nnU-Net: a class is the mean over the cases where it is defined, the mean is the plain mean of the classes.`,
    "Speed-up is against the first measured row of the same kind. Latency is of one training step or of one call on a batch of windows; of several array children the slowest one’s.",
    where === "local"
      ? `Dollars are an equivalent: this run cost nothing. ${pricedAs ? `They price its minutes as one ${pricedAs.instanceType} at ${usd(pricedAs.usdPerHour)} an hour (${pricedAs.source}, ${pricedAs.date}).` : "No price is known, because plan did not finish."}`
      : "Dollars are those of the instances’ shares that produced the rate, at the price of the rung that the task ran on; the notes of the plan say where that is not known.",
    `“${NOT_MEASURED}” means just that: no value here is copied or estimated.`,
  ];
}
