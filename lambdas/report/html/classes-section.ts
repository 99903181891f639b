// Quality of a classification: ROC curves, confusion matrices, the probabilities of each case.
import * as Plot from "@observablehq/plot";
import type { CaseScores, Report } from "../../../lib/contracts/index.ts";
import { againstRest, rocOf } from "../classes.ts";
import { count, dice } from "./format.ts";
import { type Html, html } from "./markup.ts";
import { COLOURS, draw } from "./plot.ts";
import { table } from "./table.ts";

type Classification = Report["classifications"][number];
/** More rows make a page that nobody reads; the others are in report.json. */
const MOST_CASES = 200;

/** The headline's engine in full, the others folded. */
export const classesSection = ({ classifications }: Report): Html =>
  html`${classifications.map((one, at) => {
    const block = html`${rocFigure(one)}${confusionTable(one)}${casesTable(one)}`;
    return at === 0 ? block : html`<details><summary>Classes and cases of ${one.name}</summary>${block}</details>`;
  })}`;

function rocFigure({ name, classes, cases, auc }: Classification): Html {
  // Of two classes one curve says it all: the other is its mirror image.
  const drawn = (classes.length === 2 ? classes.slice(1) : classes).flatMap(({ class: label, auc: own }, at) => {
    const points = rocOf(againstRest(cases, label));
    return points ? [{ label, own, points, colour: COLOURS[at % COLOURS.length]! }] : [];
  });
  if (drawn.length === 0) return html`<p>No case has a class to score against.</p>`;
  const svg = draw(
    {
      height: 300,
      marginBottom: 40,
      marginTop: 10,
      marginRight: 12,
      x: { label: "share of other cases called it", labelOffset: 36, domain: [0, 1], ticks: 5 },
      y: { label: null, domain: [0, 1], ticks: 5, grid: true },
      marks: [
        Plot.line(
          [
            [0, 0],
            [1, 1],
          ],
          { stroke: "currentColor", strokeOpacity: 0.3, strokeDasharray: "4 4" },
        ),
        ...drawn.map(({ points, colour, label }) =>
          Plot.line(points, {
            x: "falsePositives",
            y: "truePositives",
            stroke: colour,
            strokeWidth: 1.6,
            title: () => label,
          }),
        ),
      ],
    },
    `ROC of ${name}. ${drawn.map(({ label, own }) => `${label}: AUC ${dice(own)}`).join("; ")}.`,
  );
  return html`<figure>
    <div class="legend">${drawn.map(({ label, own, colour }) => html`<span><i class="swatch" style="background:${colour}"></i>${label}, AUC ${dice(own)}</span>`)}</div>
    <div class="panels"><div class="panel"><h4>Share of its cases found</h4>${svg}</div></div>
    <figcaption>ROC curves of ${name}, each class against the rest; mean AUC ${dice(auc)}. Ties make a slope.</figcaption>
  </figure>`;
}

const confusionTable = ({ name, classes, confusion, accuracy }: Classification): Html =>
  table<{ label: string; counts: number[] }>({
    caption: html`Confusion matrix of ${name}: accuracy ${dice(accuracy)}. A row a true class, a column a predicted one.`,
    columns: [
      { head: "True class", cell: (row) => html`<b>${row.label}</b>`, rowHead: true },
      ...classes.map(({ class: head }, at) => ({
        head,
        cell: (row: { counts: number[] }) => row.counts[at] ?? 0,
        numeric: true,
      })),
    ],
    groups: [{ rows: classes.map(({ class: label }, at) => ({ label, counts: confusion[at] ?? [] })) }],
  });

/** Wrong cases first, the surest of them on top: what a person wants to look at. */
const sureness = ({ classification }: CaseScores): number =>
  classification?.reference === undefined ? 1 : (classification.probabilities[classification.reference] ?? 0);

function casesTable({ classes, cases }: Classification): Html {
  const rows = cases.toSorted((a, b) => sureness(a) - sureness(b)).slice(0, MOST_CASES);
  const left = cases.length - rows.length;
  return table<CaseScores>({
    caption: html`Probabilities of each case, the least expected first.${left > 0 && ` ${count(left, "case")} more in report.json.`}`,
    columns: [
      { head: "Case", cell: (row) => html`<span class="case-id">${row.caseId}</span>`, rowHead: true },
      { head: "True class", cell: (row) => row.classification?.reference ?? "to predict" },
      {
        head: "Predicted",
        cell: ({ classification: found }) =>
          found && found.reference !== undefined && found.reference !== found.predicted
            ? html`<b class="bad">${found.predicted}</b>`
            : (found?.predicted ?? ""),
      },
      ...classes.map(({ class: head }) => ({
        head: `P(${head})`,
        cell: (row: CaseScores) => dice(row.classification?.probabilities[head]),
        numeric: true,
      })),
    ],
    groups: [{ rows }],
  });
}
