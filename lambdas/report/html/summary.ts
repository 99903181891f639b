// The first thing on the page: five figures and one paragraph.
import type { Report, ReportRow } from "../../../lib/contracts/index.ts";
import { headlineOf } from "../assemble.ts";
import { acrossFolds, NOT_MEASURED, scoreOf } from "../rows.ts";
import { count, dice, duration, minutes, significant, usd } from "./format.ts";
import { type Content, type Html, html } from "./markup.ts";

interface Figure {
  label: string;
  value: string;
  detail: Content;
  kind?: string;
}

const sourceOf = (row: ReportRow | undefined): string =>
  row ? `${row.engine ?? row.strategy}, ${row.engine ? `${row.fold} ${row.strategy}` : row.fold}` : "";

function figures(report: Report): Figure[] {
  const row = headlineOf(report.rows);
  const local = report.where !== "aws";
  const priced = report.pricedAs !== undefined || !local;
  const paused = (report.elapsedSeconds ?? 0) - (report.runningSeconds ?? 0) > 60;
  return [
    {
      label: "Status",
      value: report.status,
      kind: report.status,
      detail:
        report.status === "succeeded"
          ? `${count(report.cases.quarantined, "case")} in quarantine`
          : count(report.errors.length, report.status === "refused" ? "reason" : "error"),
    },
    report.classifications.length > 0
      ? { label: "AUC", value: dice(row?.auc ?? null), detail: sourceOf(row) }
      : { label: "Mean Dice", value: dice(row?.dice ?? null), detail: sourceOf(row) },
    {
      label: "Volumes/s",
      value: significant(row?.volumesPerSecond ?? null),
      detail:
        row &&
        row.volumesPerSecond !== null &&
        `${row.kind === "engine" ? `file to ${report.classifications.length > 0 ? "prediction" : "mask"}` : "training"}, ${row.gpu}`,
    },
    {
      label: "Dollars",
      value: priced ? usd(local ? report.equivalentUsd : report.usd) : NOT_MEASURED,
      detail: local
        ? priced
          ? `equivalent, ${report.pricedAs?.instanceType}; paid $0`
          : "paid $0"
        : "instances, see the notes",
    },
    {
      label: "Minutes",
      value: minutes(report.elapsedSeconds ?? null),
      detail: paused
        ? `of which ${minutes(report.runningSeconds)} running`
        : report.estimate && `${minutes(report.estimate.minutes * 60)} estimated`,
    },
  ];
}

/** Status, Dice, volumes/s, dollars, minutes: readable in five seconds. */
export const summary = (report: Report): Html =>
  html`<dl class="summary">${figures(report).map(
    ({ label, value, detail, kind }) =>
      html`<div class="${kind ?? ""}${value === NOT_MEASURED ? " absent" : ""}"><dt>${label}</dt><dd><span class="value">${value}</span>${detail && html`<span class="detail">${detail}</span>`}</dd></div>`,
  )}</dl>`;

const NUMBERS = [
  "no",
  "one",
  "two",
  "three",
  "four",
  "five",
  "six",
  "seven",
  "eight",
  "nine",
  "ten",
  "eleven",
  "twelve",
];

/** "two engines", "13 engines": a number in a sentence. */
const inWords = (value: number, noun: string): string =>
  value < NUMBERS.length ? `${NUMBERS[value]} ${noun}${value === 1 ? "" : "s"}` : count(value, noun);

const capital = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1);

const listed = (names: readonly string[]): string =>
  names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;

/** What was done, in the words of an abstract. */
export function abstract(report: Report): Html {
  const { cases, rows, elapsedSeconds } = report;
  const unique = (names: string[]) => listed([...new Set(names)]);
  const trainings = rows.filter((row) => row.kind === "training" && row.volumesPerSecond !== null);
  const engines = rows.filter((row) => row.kind === "engine" && scoreOf(row) !== null);
  const did = report.classifications.length > 0 ? "classified" : "segmented";
  const folds = unique(rows.map((row) => row.fold));
  return html`<p class="abstract">The dataset <b>${report.dataset}</b> has ${count(cases.training, "usable training case")}${cases.test > 0 && `, ${count(cases.test, "case")} without label`} and <a href="#quarantine">${inWords(cases.quarantined, "case")} in quarantine</a>.
    ${trainings.length > 0 && `${capital(inWords(trainings.length, "training"))} of ${folds} (${unique(trainings.map((row) => row.strategy))}) ran on ${unique(trainings.map((row) => row.gpu))}. `}
    ${engines.length > 0 && `${capital(inWords(engines.length, "engine"))} (${unique(engines.map((row) => row.engine ?? ""))}) ${did} ${count(cases.validation, "validation case")}. `}
    ${acrossFolds(rows).map((entry) => `Over ${inWords(entry.folds, "fold")}, ${entry.strategy} with ${entry.engine} has a mean Dice of ${dice(entry.meanDice)}. `)}
    ${elapsedSeconds !== undefined && `From the start of the first stage to the end of the last it took ${duration(elapsedSeconds)}.`}</p>`;
}
