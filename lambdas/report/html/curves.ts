// Loss and pseudo-Dice of every training, one pair of panels a fold.
import * as Plot from "@observablehq/plot";
import { type Report, strategy as strategies } from "../../../lib/contracts/index.ts";
import { dice, significant } from "./format.ts";
import { type Html, html } from "./markup.ts";
import { COLOURS, draw } from "./plot.ts";

type Point = Report["curves"][number]["points"][number];
type Measure = "loss" | "pseudoDice" | "auc";
const TITLES = { loss: "Loss", pseudoDice: "Pseudo-Dice", auc: "AUC" };

const PSEUDO_DICE_NOTE =
  "Pseudo-Dice is pooled over validation patches: it shows progress and is not comparable with the per-case Dice above.";
const AUC_NOTE = "AUC is over the fold’s validation cases, while it trains.";

/** A panel is 300 px wide: more points than this only blacken it. */
const MOST_POINTS = 240;

/** Means of equal runs of points, at most MOST_POINTS of them. */
export function thinned(points: readonly { x: number; y: number }[]): { x: number; y: number }[] {
  const size = Math.ceil(points.length / MOST_POINTS);
  if (size <= 1) return [...points];
  return Array.from({ length: Math.ceil(points.length / size) }, (_, at) => {
    const run = points.slice(at * size, (at + 1) * size);
    const mean = (of: (point: { x: number; y: number }) => number) =>
      run.reduce((sum, point) => sum + of(point), 0) / run.length;
    return { x: mean((point) => point.x), y: mean((point) => point.y) };
  });
}

interface Series {
  strategy: string;
  colour: string;
  points: readonly Point[];
}

const colourOf = (strategy: string): string =>
  COLOURS[Math.max(0, strategies.options.indexOf(strategy as never)) % COLOURS.length]!;

function panel(series: readonly Series[], measure: Measure, against: "step" | "minutes"): Html | undefined {
  const lines = series
    .map(({ strategy, colour, points }) => ({
      strategy,
      colour,
      points: thinned(
        points.flatMap((point) => {
          const y = point[measure];
          return y === undefined ? [] : [{ x: against === "step" ? point.step : point.seconds / 60, y }];
        }),
      ),
    }))
    .filter(({ points }) => points.length > 0);
  if (lines.length === 0) return undefined;

  const title = `${TITLES[measure]} by ${against}`;
  const format = measure === "loss" ? significant : dice;
  const ends = lines.map(({ strategy, points }) => `${strategy} ends at ${format(points.at(-1)!.y)}`);
  const marks = lines.flatMap(({ strategy, colour, points }) => [
    ...(points.length > 1
      ? [Plot.lineY(points, { x: "x", y: "y", stroke: colour, strokeWidth: 1.6, title: () => strategy })]
      : []),
    Plot.dot(points.slice(-1), {
      x: "x",
      y: "y",
      fill: colour,
      r: 2.5,
      title: (point: { x: number; y: number }) =>
        `${strategy}: ${format(point.y)} at ${against === "step" ? `step ${significant(point.x)}` : `${significant(point.x)} minutes`}`,
    }),
  ]);
  const svg = draw(
    {
      height: 210,
      marginLeft: 44,
      marginBottom: 34,
      marginTop: 10,
      marginRight: 12,
      x: {
        label: against === "step" ? "training step" : "minutes of training",
        ticks: 5,
        nice: false,
        tickFormat: (x: number) => x.toLocaleString("en-US"),
      },
      y: { label: null, ticks: 5, nice: 5, grid: true, ...(measure !== "loss" && { domain: [0, 1] }) },
      marks,
    },
    `${title}. ${ends.join("; ")}.`,
  );
  return html`<div class="panel"><h4>${title}</h4>${svg}</div>`;
}

/** One figure a fold: its trainings in one colour each. */
export function curvesSection(report: Report): Html {
  const trainings = report.rows.filter((row) => row.kind === "training");
  const byFold = new Map<string, Series[]>();
  for (const { name, points } of report.curves) {
    const row = trainings.find((entry) => `${entry.fold}-${entry.strategy}` === name);
    if (!row || points.length === 0) continue;
    const series = { strategy: row.strategy, colour: colourOf(row.strategy), points };
    byFold.set(row.fold, [...(byFold.get(row.fold) ?? []), series]);
  }
  if (byFold.size === 0) return html`<p>No training left a curve.</p>`;
  return html`${[...byFold].map(
    ([fold, series]) => html`<figure>
      <div class="legend">${series.map(
        ({ strategy, colour }) => html`<span><i class="swatch" style="background:${colour}"></i>${strategy}</span>`,
      )}</div>
      <div class="panels">
        ${panel(series, "loss", "step")}
        ${panel(series, "pseudoDice", "step")}
        ${panel(series, "auc", "step")}
        ${series.length > 1 && panel(series, "pseudoDice", "minutes")}
      </div>
      <figcaption>Training of ${fold}. ${report.classifications.length > 0 ? AUC_NOTE : PSEUDO_DICE_NOTE}</figcaption>
    </figure>`,
  )}`;
}
