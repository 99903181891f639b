// What went wrong and what to do: at the top of a run that did not succeed, and in full further down.
import type { ErrorDocument, QuarantineEntry, Report } from "../../../lib/contracts/index.ts";
import { count } from "./format.ts";
import { type Content, type Html, html } from "./markup.ts";
import { table } from "./table.ts";

/** Errors told at the top; the others follow in their section. */
const ERRORS_AT_TOP = 3;
const MOST_WARNINGS = 200;

const placeOf = ({ stage, taskId, index, caseId }: ErrorDocument): string =>
  [taskId ?? stage, index !== undefined && `child ${index}`, caseId && `case ${caseId}`].filter(Boolean).join(", ");

function errorEntry(error: ErrorDocument): Html {
  const place = placeOf(error);
  return html`<li>
    <p><code>${error.code}</code>${place && html` <span class="place">${place}</span>`}</p>
    <p>${error.message}</p>
    ${error.field && html`<p class="aside">Field <code>${error.field}</code>${error.got !== undefined && html`, got ${error.got}`}${error.allowed !== undefined && html`, allowed ${error.allowed}`}.</p>`}
    <p><b>What to do:</b> ${error.remedy}</p>
  </li>`;
}

/** The top of a failed or refused run; nothing for one that succeeded. */
export function verdict(report: Report): Content {
  const { status, errors, runId } = report;
  if (status === "succeeded") return null;
  const refused = status === "refused";
  const shown = errors.slice(0, ERRORS_AT_TOP);
  return html`<section class="verdict" aria-labelledby="verdict">
    <h2 id="verdict">${refused ? "The run was refused before it spent anything on a GPU" : "The run failed"}</h2>
    <ul class="errors">${shown.map(errorEntry)}</ul>
    ${errors.length > shown.length && html`<p><a href="#errors">${count(errors.length - shown.length, "more error")}</a></p>`}
    ${!refused && html`<p>When the cause is removed, <code>voxelburst resume ${runId}</code> goes on from here: what is finished is kept. Everything below is what the run had measured by then.</p>`}
  </section>`;
}

export function errorsSection({ errors }: Report): Content {
  return errors.length > ERRORS_AT_TOP ? html`<ul class="errors">${errors.map(errorEntry)}</ul>` : null;
}

export function quarantineSection({ quarantine }: Report): Html {
  if (quarantine.length === 0) return html`<p>No case was refused.</p>`;
  return html`<p>${count(new Set(quarantine.map((entry) => entry.caseId)).size, "case")} refused by ingest; the run went on without. Corrected files make a new run, which redoes only what they touch.</p>
    ${table<QuarantineEntry>({
      caption: "Quarantine",
      reflow: true,
      columns: [
        { head: "Case", cell: (entry) => html`<span class="case-id">${entry.caseId}</span>`, rowHead: true },
        { head: "Code", cell: (entry) => html`<code>${entry.code}</code>` },
        { head: "What is wrong", cell: (entry) => entry.message, wide: true },
        { head: "Got", cell: (entry) => entry.got },
        { head: "Allowed", cell: (entry) => entry.allowed },
        { head: "What to do", cell: (entry) => entry.remedy, wide: true },
      ],
      groups: [{ rows: quarantine }],
    })}`;
}

/** Warnings of one code and text together, with the cases that have it. */
export function warningsSection({ warnings }: Report): Content {
  if (warnings.length === 0) return null;
  const groups = Object.values(Object.groupBy(warnings, ({ code, message }) => `${code} ${message}`));
  return html`<ul class="warnings">${groups.slice(0, MOST_WARNINGS).map((group) => {
    const { code, message } = group![0]!;
    const cases = group!.flatMap(({ caseId }) => (caseId ? [caseId] : []));
    return html`<li><code>${code}</code> ${message}${cases.length > 0 && html` <span class="case-id">${cases.slice(0, 12).join(", ")}${cases.length > 12 && ` and ${cases.length - 12} more`}</span>`}</li>`;
  })}</ul>
  ${groups.length > MOST_WARNINGS && html`<p>${groups.length - MOST_WARNINGS} more are in report.json.</p>`}`;
}
