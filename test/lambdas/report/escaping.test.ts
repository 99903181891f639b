import fc from "fast-check";
import { parseHTML } from "linkedom";
import { describe, expect, it } from "vitest";
import { html } from "../../../lambdas/report/html/markup.ts";
import { renderHtml } from "../../../lambdas/report/html/page.ts";
import { chosen, type Picture } from "../../../lambdas/report/pictures.ts";
import type { Report } from "../../../lib/contracts/index.ts";
import { produce } from "./produce.ts";
import { RunFixture } from "./run-fixture.ts";

/** Text that tries to leave its place. */
const hostile = fc.oneof(
  fc.constantFrom(
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title><script>1</script>",
    "</style><style>*{display:none}",
    "</svg><foreignObject>",
    "<!--",
    "-->",
    "]]>",
    "&lt;b&gt;",
    "&#60;b>",
    "\u0000\u000b\u009f",
    "\ud800",
    "\u202e\u2028",
    "javascript:alert(1)",
    "{{x}}",
  ),
  fc.string({ unit: "binary", maxLength: 24 }),
  fc.string({ unit: fc.constantFrom("<", ">", "&", '"', "'", "/", "=", "!", "-", "a", " ", "\n"), maxLength: 24 }),
);

/** Fields whose values choose what is drawn: they are enumerations or keys between parts of the report. */
const STRUCTURAL = new Set([
  "kind",
  "status",
  "where",
  "stage",
  "part",
  "finishedAt",
  "startedAt",
  "strategy",
  "engine",
  "diceFrom",
  "schema",
  "backend",
  "precision",
]);

/** A report with every text replaced, the same text by the same replacement so that references still meet. */
function replaced(report: Report, text: (original: string) => string): Report {
  const visit = (value: unknown, name = ""): unknown => {
    if (typeof value === "string") return STRUCTURAL.has(name) ? value : text(value);
    if (Array.isArray(value)) return value.map((item) => visit(item, name));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, field]) => [name === "versions" ? text(key) : key, visit(field, key)]),
    );
  };
  return visit(report) as Report;
}

interface Element {
  tagName: string;
  attributes: Iterable<{ name: string }>;
  children: Iterable<Element>;
  getAttribute(name: string): string | null;
}

/** Tags and the names of their attributes, in order: what text must never change. */
function skeleton(page: string): string {
  const walk = (element: Element): string =>
    `<${element.tagName}${[...element.attributes].map(({ name }) => ` ${name}`).join("")}>${[...element.children].map(walk).join("")}`;
  return walk(parseHTML(page).document.documentElement as unknown as Element);
}

const picturesOf = (report: Report): Picture[] =>
  report.segmentations.flatMap(({ name, cases }) => chosen(cases).map((choice) => ({ segmentation: name, ...choice })));

async function exampleReport(): Promise<Report> {
  const run = new RunFixture({ strategies: ["dali"], engines: ["onnxruntime"], validationCases: 3 });
  run.fail({
    code: "StageFailed",
    message: "It broke.",
    remedy: "Mend it.",
    stage: "train",
    taskId: "train-x",
    field: "f",
    got: "g",
    allowed: "a",
    caseId: "case-001",
  });
  const { json } = await produce(run);
  return { ...json, status: "failed" };
}

describe("text in report.html", () => {
  it("is escaped in elements and attributes, for any text at all", () => {
    fc.assert(
      fc.property(hostile, (text) => {
        const page =
          html`<!doctype html><html><body><p title="${text}" data-x='${text}'>${text}</p><i></i></body></html>`.text;
        expect(skeleton(page)).toBe(
          skeleton('<!doctype html><html><body><p title="" data-x=""></p><i></i></body></html>'),
        );
      }),
      { numRuns: 500 },
    );
  });

  it("comes back as it was written", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 30 }), (text) => {
        const { document } = parseHTML(html`<!doctype html><html><body><p>${text}</p></body></html>`.text);
        const shown = (document as unknown as { querySelector(s: string): { textContent: string } }).querySelector(
          "p",
        ).textContent;
        expect(shown).toBe(text.replace(/[^\P{Cc}\t\n\r]/gu, "\ufffd"));
      }),
    );
  });

  it("never changes what a page is made of, wherever in the report it stands", async () => {
    const report = await exampleReport();
    // Distinct texts stay distinct: a number keeps apart what refers to different things.
    const numbers = new Map<string, number>();
    const numbered = (make: (at: number) => string) => (original: string) => {
      if (!numbers.has(original)) numbers.set(original, numbers.size);
      return make(numbers.get(original)!);
    };
    const render = (changed: Report) => renderHtml(changed, picturesOf(changed));
    const harmless = replaced(
      report,
      numbered((at) => `text${at}`),
    );
    const expected = skeleton(render(harmless));
    expect(expected.length).toBeGreaterThan(5000);
    fc.assert(
      fc.property(fc.array(hostile, { minLength: 1, maxLength: 5 }), (texts) => {
        const changed = replaced(
          report,
          numbered((at) => `${texts[at % texts.length]}${at}`),
        );
        expect(skeleton(render(changed))).toBe(expected);
      }),
      { numRuns: 40 },
    );
  });
});
