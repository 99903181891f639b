// The page: one file, no script, no request; its own policy forbids both.
import type { Report } from "../../../lib/contracts/index.ts";
import type { Picture } from "../pictures.ts";
import { classesSection } from "./classes-section.ts";
import { curvesSection } from "./curves.ts";
import { moment } from "./format.ts";
import { ladderSection } from "./ladder-section.ts";
import { type Content, html, trusted } from "./markup.ts";
import { hostsSection, notesSection, paritySection } from "./provenance-section.ts";
import { qualitySection } from "./quality-section.ts";
import { resultsTable } from "./results-table.ts";
import { stagesSection } from "./stages-section.ts";
import { STYLE } from "./style.ts";
import { abstract, summary } from "./summary.ts";
import { errorsSection, quarantineSection, verdict, warningsSection } from "./trouble-section.ts";

const POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

const section = (id: string, title: string, content: Content): Content =>
  content && html`<section aria-labelledby="${id}"><h2 id="${id}">${title}</h2>${content}</section>`;

/** report.html of a report and the pictures of its cases. */
export function renderHtml(report: Report, pictures: readonly Picture[]): string {
  const title = `${report.title}: report`;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="voxelburst ${report.version}">
<title>${title}</title>
<link rel="icon" href="data:,">
<style>${trusted(STYLE)}</style>
</head>
<body>
<header>
<p class="kicker">voxelburst report</p>
<h1>${report.title}</h1>
<p class="byline"><span class="case-id">${report.runId}</span> · <time datetime="${report.finishedAt}">${moment(report.finishedAt)}</time> · version ${report.version}</p>
</header>
<main>
${verdict(report)}
${summary(report)}
${abstract(report)}
${section("results", "Results", resultsTable(report))}
${section("quality", "Quality by class and case", report.classifications.length > 0 ? classesSection(report) : qualitySection(report, pictures))}
${section("training", "Training", curvesSection(report))}
${section("parity", "Parity of the engines", paritySection(report))}
${section("time", "Time and dollars", stagesSection(report))}
${section("ladder", "Capacity", ladderSection(report))}
${section("quarantine", "Quarantine", quarantineSection(report))}
${section("warnings", "Warnings", warningsSection(report))}
${section("errors", "Errors", errorsSection(report))}
${section("plan", "Plan, recipe and capacity", notesSection(report))}
${section("hosts", "Hosts and versions", hostsSection(report))}
</main>
<footer><p>The numbers of this page are in report.json and report.csv beside it. Not a medical device: for research only.</p></footer>
</body>
</html>
`.text;
}
