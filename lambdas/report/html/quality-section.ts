// Segmentation quality, a block a training: classes, cases as dots, cases as pictures, cases as numbers.
import { type CaseScores, previewColours, type Report } from "../../../lib/contracts/index.ts";
import { type Picture, shownSegmentations } from "../pictures.ts";
import { NOT_MEASURED } from "../rows.ts";
import { count, dice, significant } from "./format.ts";
import { type Content, type Html, html } from "./markup.ts";
import { MOST_DOTS, stripsFigure } from "./strips.ts";
import { table } from "./table.ts";

type Segmentation = Report["segmentations"][number];
/** Cells of all tables of cases: more make a page that nobody reads and a file that nobody can send. */
const MOST_CELLS = 12_000;

/** The headline's training in full, the others folded. */
export function qualitySection(report: Report, pictures: readonly Picture[]): Html {
  if (report.segmentations.length === 0) return html`<p>No engine wrote a mask, so there is no Dice.</p>`;
  const scored = report.segmentations.filter((segmentation) => segmentation.classes.length > 0);
  if (scored.length === 0)
    return html`<p>${count(report.segmentations[0]!.cases.length, "case")} predicted; none has a label to score against.</p>`;

  const shown = shownSegmentations(report);
  const trainingOf = ({ fold, strategy }: Segmentation) => `${fold} ${strategy}`;
  const order = [...new Set([...shown, ...scored].map(trainingOf))];
  const blocks = order.map((training) => ({
    training,
    segmentations: scored.filter((segmentation) => trainingOf(segmentation) === training),
    pictured: shown.filter((segmentation) => trainingOf(segmentation) === training),
  }));
  const cells = MOST_CELLS / Math.max(1, shown.length);
  let dotsLeft = MOST_DOTS;
  return html`${blocks
    .filter(({ segmentations }) => segmentations.length > 0)
    .map(({ training, segmentations, pictured }, at) => {
      const { figure, dots } = stripsFigure(segmentations, dotsLeft);
      dotsLeft -= dots;
      const block = html`${classesTable(report, training, segmentations)}
        ${at === 0 && classesNotes}
        ${figure}
        ${pictured.map((segmentation) => picturesFigure(segmentation, pictures))}
        ${pictured.map((segmentation) => casesTable(segmentation, cells))}`;
      return at === 0 ? block : html`<details><summary>Classes and cases of ${training}</summary>${block}</details>`;
    })}`;
}

const classesNotes = html`<div class="notes"><p>Means over the cases where a measure is defined. HD95 is the image’s diagonal when one side alone is empty; NSD counts surface elements. A case that is empty in reference and prediction has no Dice; one that is empty in one of them alone has Dice 0.</p></div>`;

function classesTable(report: Report, training: string, segmentations: readonly Segmentation[]): Html {
  type Line = Segmentation["classes"][number] & { engine: string };
  const names = [...new Set(segmentations.flatMap(({ classes }) => classes.map((entry) => entry.class)))];
  const lines = names.flatMap((name) =>
    segmentations.flatMap(({ engine, classes }): Line[] =>
      classes.filter((entry) => entry.class === name).map((entry) => ({ ...entry, engine })),
    ),
  );
  const means = segmentations.map(({ engine, meanDice }) => `${engine} ${dice(meanDice)}`).join(", ");
  return table<Line>({
    caption: html`Classes, weights of ${training}. Mean Dice: ${means}.`,
    reflow: true,
    columns: [
      { head: "Class", cell: (line) => html`<b>${line.class}</b>`, rowHead: true },
      { head: "Engine", cell: (line) => line.engine },
      { head: "Dice", cell: (line) => dice(line.dice), numeric: true, strong: true },
      { head: "HD95", unit: "mm", cell: (line) => significant(line.hd95Mm), numeric: true },
      {
        head: report.nsdToleranceMm === undefined ? "NSD" : `NSD at ${report.nsdToleranceMm} mm`,
        cell: (line) => dice(line.nsd),
        numeric: true,
      },
      { head: "Cases", cell: (line) => line.cases, numeric: true },
      { head: "Empty in reference", cell: (line) => line.emptyReference, numeric: true },
      { head: "Empty in prediction", cell: (line) => line.emptyPrediction, numeric: true },
    ],
    groups: [{ rows: lines }],
  });
}

const RANKS = { worst: "Worst case", median: "Median case", best: "Best case" } as const;

const byClass = (scores: CaseScores): string =>
  scores.classes.map((entry) => `${entry.class} ${dice(entry.dice)}`).join(", ");

function picture({ rank, scores, dataUri, widthPx, heightPx }: Picture): Html {
  const words = `${RANKS[rank]}, ${scores.caseId}: mean Dice ${dice(scores.meanDice)}`;
  return html`<div class="case">
    ${
      dataUri
        ? html`<img src="${dataUri}" width="${widthPx}" height="${heightPx}" alt="${words}. The slice with most of both masks, reference and prediction outlined.">`
        : html`<div class="no-picture">No preview was written for this case.</div>`
    }
    <p><b>${RANKS[rank]}</b> <span class="case-id">${scores.caseId}</span><br>mean Dice ${dice(scores.meanDice)}<br><small>${byClass(scores)}</small></p>
  </div>`;
}

function picturesFigure(segmentation: Segmentation, pictures: readonly Picture[]): Content {
  const own = pictures.filter((entry) => entry.segmentation === segmentation.name);
  const { fold, strategy, engine, cases } = segmentation;
  if (own.length === 0) return null;
  const scored = cases.filter((scores) => scores.meanDice !== null).length;
  return html`<figure>
    <div class="legend"><span><i class="swatch line" style="background:${previewColours.reference}"></i>reference</span><span><i class="swatch line" style="background:${previewColours.prediction}"></i>prediction</span></div>
    <div class="cases">${own.map(picture)}</div>
    <figcaption>${own.map(({ rank }) => rank).join(", ")} of ${count(scored, "case")} by mean Dice, as ${engine} segmented them with the weights of ${fold} ${strategy}. Each picture is the slice with most of both masks.</figcaption>
  </figure>`;
}

function casesTable(segmentation: Segmentation, cells: number): Html {
  const names = segmentation.classes.map((entry) => entry.class);
  const value = (scores: CaseScores, name: string): Content => {
    const found = scores.classes.find((entry) => entry.class === name);
    if (!found) return scores.part === "test" ? "no label" : NOT_MEASURED;
    return found.dice === null ? "both empty" : dice(found.dice);
  };
  const listed = segmentation.cases
    .toSorted((a, b) => (a.meanDice ?? 2) - (b.meanDice ?? 2))
    .slice(0, Math.max(10, Math.floor(cells / (names.length + 3))));
  const rest = segmentation.cases.length - listed.length;
  return html`<details>
    <summary>All cases of ${segmentation.fold} ${segmentation.strategy}, ${segmentation.engine}</summary>
    ${table<CaseScores>({
      caption: `Dice by case, worst first${rest > 0 ? `; ${rest} more are in report.json` : ""}`,
      columns: [
        { head: "Case", cell: (scores) => html`<span class="case-id">${scores.caseId}</span>`, rowHead: true },
        {
          head: "Mean Dice",
          cell: (scores) => (scores.part === "test" ? "no label" : dice(scores.meanDice)),
          numeric: true,
          strong: true,
        },
        ...names.map((name) => ({ head: name, cell: (scores: CaseScores) => value(scores, name), numeric: true })),
        { head: "File to mask", unit: "s", cell: (scores) => significant(scores.seconds), numeric: true },
      ],
      groups: [{ rows: listed }],
    })}
  </details>`;
}
