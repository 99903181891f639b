// Observable Plot without a browser: linkedom stands in for the document, the page's style sheet does the rest.
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import { type Html, trusted } from "./markup.ts";

const { document } = parseHTML("<!doctype html><html><body></body></html>");

/** The part of a DOM element that is used here; the compiler knows no browser's types. */
interface SvgElement {
  readonly children: Iterable<SvgElement>;
  readonly outerHTML: string;
  getAttribute(name: string): string | null;
  setAttribute(name: string, value: string): void;
  removeAttribute(name: string): void;
  querySelector(selector: string): SvgElement | null;
  querySelectorAll(selector: string): Iterable<SvgElement>;
  remove(): void;
}

/**
 * Every panel's natural width. Two stand side by side on a screen, 1.15 times as large; on a phone of 390 px one is
 * 0.85 times as large: the 12 px text of the style sheet stays legible on both.
 */
export const PANEL_WIDTH_PX = 420;

/** Colours of the style sheet, told apart by every kind of colour vision in both themes. */
export const COLOURS = [1, 2, 3, 4, 5].map((at) => `var(--series-${at})`);

const GEOMETRY = [
  "d",
  "transform",
  "x",
  "y",
  "x1",
  "x2",
  "y1",
  "y2",
  "cx",
  "cy",
  "width",
  "height",
  "points",
  "dx",
  "dy",
];

/** Coordinates to a hundredth of a pixel: what a pen can show, in half the bytes. */
function roundCoordinates(element: SvgElement): void {
  for (const name of GEOMETRY) {
    const value = element.getAttribute(name);
    if (value)
      element.setAttribute(
        name,
        value.replace(/-?\d+\.\d{3,}/g, (digits: string) => String(Number(Number(digits).toFixed(2)))),
      );
  }
  for (const child of element.children) roundCoordinates(child);
}

/**
 * A drawn panel.
 *
 * @param label - what a reader who does not see it must know: an image's alternative text
 */
export function draw(options: Plot.PlotOptions, label: string): Html {
  const svg = Plot.plot({
    width: PANEL_WIDTH_PX,
    className: "plot",
    ...options,
    document: document as unknown as Plot.PlotOptions["document"],
  }) as unknown as SvgElement;
  svg.querySelector("style")?.remove();
  for (const attribute of ["font-size", "font-family"]) svg.removeAttribute(attribute);
  for (const group of svg.querySelectorAll("[aria-label]")) group.removeAttribute("aria-label");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  roundCoordinates(svg);
  return trusted(svg.outerHTML);
}
