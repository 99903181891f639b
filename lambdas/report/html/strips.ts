// Per-case Dice as dots: a panel a class, a row an engine, so that engines of one training line up below each other.
import * as Plot from "@observablehq/plot";
import type { Report } from "../../../lib/contracts/index.ts";
import { count, dice } from "./format.ts";
import { type Html, html } from "./markup.ts";
import { COLOURS, draw, PANEL_WIDTH_PX } from "./plot.ts";

type Segmentation = Report["segmentations"][number];

const RADIUS_PX = 2.6;
const LEFT_PX = 84;
const RIGHT_PX = 46;
const LEAST_ROW_PX = 34;
const MOST_ROW_PX = 80;
/** More panels than this say less than the table of classes above them. */
const MOST_CLASSES = 24;
/** Dots of a whole page: more make a file that nobody can send and that a phone cannot scroll. */
export const MOST_DOTS = 6000;

/**
 * Vertical places of dots at the given horizontal ones, in pixels from the row's middle: each dot goes to the first
 * line, from the middle outwards and alternately above and below, that has room for it.
 */
export function swarm(xPx: readonly number[]): number[] {
  const reach = RADIUS_PX * 2;
  const lastOnLine: number[] = [];
  const offsets = new Array<number>(xPx.length).fill(0);
  for (const at of xPx.map((_, index) => index).sort((a, b) => xPx[a]! - xPx[b]!)) {
    let line = 0;
    while (line < lastOnLine.length && xPx[at]! - lastOnLine[line]! < reach) line++;
    lastOnLine[line] = xPx[at]!;
    offsets[at] = (line % 2 === 1 ? -1 : 1) * Math.ceil(line / 2) * reach;
  }
  return offsets;
}

/** The same axis for all panels of a figure: from the tenth below the worst case to 1. */
const lowerBound = (values: readonly number[]): number =>
  Math.max(0, Math.min(0.9, Math.floor(values.reduce((least, value) => Math.min(least, value), 1) * 10 - 1e-9) / 10));

interface Strip {
  engine: string;
  mean: number | null;
  dots: { caseId: string; value: number; offset: number }[];
}

const stripsOf = (name: string, segmentations: readonly Segmentation[], toPx: (value: number) => number): Strip[] =>
  segmentations.map(({ engine, classes, cases }) => {
    const scored = cases.flatMap((scores) => {
      const value = scores.classes.find((entry) => entry.class === name)?.dice;
      return typeof value === "number" ? [{ caseId: scores.caseId, value }] : [];
    });
    const offsets = swarm(scored.map(({ value }) => toPx(value)));
    return {
      engine,
      mean: classes.find((entry) => entry.class === name)?.dice ?? null,
      dots: scored.map((dot, at) => ({ ...dot, offset: offsets[at]! })),
    };
  });

const highest = (strips: readonly Strip[]): number =>
  strips.flatMap(({ dots }) => dots).reduce((most, { offset }) => Math.max(most, Math.abs(offset)), 0);

/** One class. A pile that is higher than its row is pressed together, and its dots overlap. */
function panel(name: string, strips: readonly Strip[], from: number, rowPx: number): Html {
  const pressed = Math.min(1, (rowPx / 2 - 2 * RADIUS_PX) / (highest(strips) || 1));
  const heightPx = strips.length * rowPx;
  const marks = strips.flatMap(({ engine, mean, dots }, at) => {
    const middle = (at + 0.5) * rowPx;
    return [
      Plot.text([engine], { frameAnchor: "left", y: [middle], dx: -LEFT_PX, textAnchor: "start", text: [engine] }),
      Plot.dot(dots, {
        x: "value",
        y: (dot: Strip["dots"][number]) => middle + dot.offset * pressed,
        r: RADIUS_PX,
        fill: COLOURS[at % COLOURS.length]!,
        fillOpacity: 0.75,
        title: (dot: Strip["dots"][number]) => `${dot.caseId}: ${dice(dot.value)} (${name}, ${engine})`,
      }),
      ...(mean === null
        ? []
        : [
            Plot.ruleX([mean], {
              y1: middle - rowPx / 2 + 3,
              y2: middle + rowPx / 2 - 3,
              stroke: "currentColor",
              strokeWidth: 1.5,
            }),
            Plot.text([dice(mean)], {
              frameAnchor: "right",
              y: [middle],
              dx: RIGHT_PX - 4,
              textAnchor: "end",
              text: [dice(mean)],
              fontWeight: 600,
            }),
          ]),
    ];
  });
  const svg = draw(
    {
      height: heightPx + 34,
      marginLeft: LEFT_PX,
      marginRight: RIGHT_PX,
      marginTop: 4,
      marginBottom: 30,
      x: { domain: [from, 1], label: null, ticks: 5, grid: true },
      y: { domain: [0, heightPx], range: [4, heightPx + 4], axis: null },
      marks,
    },
    `Dice of ${name} by case. ${strips.map((strip) => `${strip.engine}: mean ${dice(strip.mean)} over ${count(strip.dots.length, "case")}`).join("; ")}.`,
  );
  return html`<div class="panel"><h4>${name}</h4>${svg}</div>`;
}

/** How many classes of a training can be drawn with the dots that are left: none of a page that is full. */
function drawable(segmentations: readonly Segmentation[], classes: number, dotsLeft: number): number {
  const dotsPerClass = segmentations.reduce((sum, { cases }) => sum + cases.length, 0);
  const least = dotsLeft === MOST_DOTS ? 1 : 0;
  return Math.min(classes, MOST_CLASSES, Math.max(least, Math.floor(dotsLeft / Math.max(1, dotsPerClass))));
}

/**
 * The figure of one training: classes as panels, engines as rows, cases as dots with their names on hover.
 *
 * @param dotsLeft - of MOST_DOTS, what the figures before this one have not used
 * @returns the figure, and how many dots it used
 */
export function stripsFigure(segmentations: readonly Segmentation[], dotsLeft: number): { figure: Html; dots: number } {
  const all = [...new Set(segmentations.flatMap(({ classes }) => classes.map((entry) => entry.class)))];
  const names = all.slice(0, drawable(segmentations, all.length, dotsLeft));
  const { fold, strategy } = segmentations[0]!;
  if (names.length === 0)
    return {
      figure: html`<p class="aside">Not drawn case by case: this page has its ${MOST_DOTS} dots. All cases are in report.json.</p>`,
      dots: 0,
    };
  const values = segmentations
    .flatMap(({ cases }) => cases.flatMap(({ classes }) => classes.map((entry) => entry.dice)))
    .filter((value): value is number => value !== null);
  const from = lowerBound(values);
  const toPx = (value: number) => ((value - from) / (1 - from)) * (PANEL_WIDTH_PX - LEFT_PX - RIGHT_PX);
  const panels = names.map((name) => ({ name, strips: stripsOf(name, segmentations, toPx) }));
  const most = Math.max(0, ...panels.map(({ strips }) => highest(strips)));
  const rowPx = Math.min(MOST_ROW_PX, Math.max(LEAST_ROW_PX, 2 * most + 6 * RADIUS_PX));
  const rest = names.length < all.length && ` The first ${names.length} of ${all.length} classes are drawn.`;
  return {
    figure: html`<figure>
      <div class="panels">${panels.map(({ name, strips }) => panel(name, strips, from, rowPx))}</div>
      <figcaption>Dice of every validation case of ${fold}, trained with ${strategy}. A dot is a case, its name shows on hover; the line and the number are the class mean. The axis starts at ${from.toFixed(1)}.${rest}</figcaption>
    </figure>`,
    dots: panels.reduce((sum, { strips }) => strips.reduce((part, { dots }) => part + dots.length, sum), 0),
  };
}
