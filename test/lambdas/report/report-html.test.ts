import { parseHTML } from "linkedom";
import { beforeAll, describe, expect, it } from "vitest";
import {
  dice,
  duration,
  minutes,
  percent,
  percentiles,
  significant,
  times,
  usd,
} from "../../../lambdas/report/html/format.ts";
import { renderHtml } from "../../../lambdas/report/html/page.ts";
import { STYLE } from "../../../lambdas/report/html/style.ts";
import { type CaseScores, inferTaskId, type Report } from "../../../lib/contracts/index.ts";
import { type Produced, produce } from "./produce.ts";
import { RunFixture } from "./run-fixture.ts";

/** The part of a document that the tests ask for; the compiler knows no browser's types. */
interface Node {
  textContent: string;
  tagName: string;
  getAttribute(name: string): string | null;
  querySelector(selector: string): Node | null;
  querySelectorAll(selector: string): Iterable<Node>;
}
const open = (html: string) => parseHTML(html).document as unknown as Node;
const all = (node: Node, selector: string): Node[] => [...node.querySelectorAll(selector)];
const text = (node: Node | null | undefined): string => (node?.textContent ?? "").replace(/\s+/g, " ").trim();
const tableOf = (page: Node, caption: RegExp): Node =>
  all(page, "table").find((table) => caption.test(text(table.querySelector("caption"))))!;

describe("report.html of a whole run", () => {
  const run = new RunFixture({ strategies: ["fp32", "dali"], engines: ["torch", "onnxruntime"] });
  let made: Produced;
  let page: Node;
  beforeAll(async () => {
    made = await produce(run);
    page = open(made.html);
  });

  it("asks for nothing: no script, no link out, images inline, and a policy that forbids the rest", () => {
    expect(all(page, "script, iframe, object, embed, form, base")).toEqual([]);
    for (const image of all(page, "img")) expect(image.getAttribute("src")).toMatch(/^data:image\/png;base64,/);
    for (const link of all(page, "a, link")) expect(link.getAttribute("href")).toMatch(/^(#|data:,)/);
    expect(made.html).not.toMatch(/url\(|@import|https?:\/\/(?!www\.w3\.org\/)/);
    expect(page.querySelector('meta[http-equiv="Content-Security-Policy"]')!.getAttribute("content")).toContain(
      "default-src 'none'",
    );
  });

  it("shows status, Dice, volumes/s, dollars and minutes before anything else", () => {
    expect(all(page, ".summary dt").map(text)).toEqual(["Status", "Mean Dice", "Volumes/s", "Dollars", "Minutes"]);
    const best = made.json.rows.find((row) => row.kind === "engine" && row.engine === "onnxruntime")!;
    expect(all(page, ".summary .value").map(text)).toEqual([
      "succeeded",
      dice(best.dice),
      significant(best.volumesPerSecond),
      usd(made.json.equivalentUsd),
      minutes(made.json.elapsedSeconds),
    ]);
  });

  it("has DESIGN.md's columns in DESIGN.md's order", () => {
    const table = tableOf(page, /^Speed and quality/);
    expect(all(table, "thead th").map((head) => text(head).replace("\u2011", "-"))).toEqual([
      "Strategy",
      "GPU × count",
      "Batch",
      "Volumes/s",
      "Dice",
      "Speed-up",
      "Patches/s or windows/s",
      "GPU busy",
      "p50 / p95 ms",
      "$ per 1,000 volumes equivalent",
      "Versions",
    ]);
    expect(all(table, "tbody").map((body) => text(body.querySelector(".group")))).toEqual([
      "Training",
      "Inference, file to mask",
    ]);
    expect(all(table, "tbody tr").length).toBe(2 + made.json.rows.length);
  });

  it("says how a training's volumes/s, its Dice and the dollars are meant", () => {
    const notes = text(page.querySelector(".notes"));
    expect(notes).toContain(
      "patches/s × voxels of a patch ÷ voxels of the median case; an engine row’s is file to mask",
    );
    expect(notes).toContain("the masks which torch made from its weights");
    expect(notes).toContain("one p5.4xlarge at $4.20 an hour (AWS price list, us-east-1, 2026-02-01)");
  });

  it("draws curves, strips and bars as pictures with words for who does not see them", () => {
    const labels = all(page, "svg").map((svg) => svg.getAttribute("aria-label") ?? "");
    expect(labels.every((label) => label.length > 20)).toBe(true);
    for (const start of [
      "Loss by step.",
      "Pseudo-Dice by step.",
      "Pseudo-Dice by minutes.",
      "Dice of organ by case.",
      "Dice of lesion by case.",
      "Minutes.",
      "Dollars, equivalent.",
    ])
      expect(labels.some((label) => label.startsWith(start))).toBe(true);
    for (const svg of all(page, "svg")) expect(svg.getAttribute("role")).toBe("img");
  });

  it("has a dot for every case, class and engine, with the case's name on hover", () => {
    const titles = all(page, "svg circle title").map(text);
    for (const { cases, engine } of made.json.segmentations)
      for (const { caseId, classes } of cases)
        for (const entry of classes)
          expect(titles).toContain(`${caseId}: ${dice(entry.dice)} (${entry.class}, ${engine})`);
  });

  it("pictures the worst, median and best case of a training, with their Dice as alternative text", () => {
    const scores = run.scoresOf("fold1", "fp32", "onnxruntime").toSorted((a, b) => a.meanDice! - b.meanDice!);
    const alternatives = all(page, ".case img").map((image) => image.getAttribute("alt") ?? "");
    const expected = (rank: string, entry: CaseScores) =>
      `${rank} case, ${entry.caseId}: mean Dice ${dice(entry.meanDice)}.`;
    expect(alternatives[0]).toContain(expected("Worst", scores[0]!));
    expect(alternatives[1]).toContain(expected("Median", scores[5]!));
    expect(alternatives[2]).toContain(expected("Best", scores[11]!));
    expect(alternatives).toHaveLength(6);
  });

  it("lists each quarantined case with its code, sentence and remedy", () => {
    const table = text(tableOf(page, /^Quarantine/));
    for (const entry of made.json.quarantine)
      for (const part of [entry.caseId, entry.code, entry.message, entry.got, entry.allowed, entry.remedy])
        expect(table).toContain(part);
  });

  it("sets the estimate beside what happened, stage by stage", () => {
    const rows = all(tableOf(page, /^Time, memory and dollars/), "tbody tr").map((row) => all(row, "th, td").map(text));
    const train = made.json.stages.find(({ stage }) => stage === "train")!;
    const planned = run.plan.estimate.stages.find(({ stage }) => stage === "train")!;
    expect(rows.map(([stage]) => stage)).toEqual(["ingest", "preprocess", "train", "compile", "infer"]);
    expect(rows[2]!.slice(0, 4)).toEqual([
      "train",
      duration(train.seconds),
      duration(planned.minutes * 60),
      significant(train.seconds / 60 / planned.minutes),
    ]);
  });

  it("has one h1, headings without gaps, and heads and captions on every table", () => {
    expect(all(page, "h1")).toHaveLength(1);
    expect(all(page, "section > h2").length).toBeGreaterThan(7);
    for (const table of all(page, "table")) {
      expect(text(table.querySelector("caption"))).not.toBe("");
      for (const head of all(table, "th")) expect(head.getAttribute("scope")).toMatch(/^(col|row|rowgroup)$/);
    }
    for (const section of all(page, "section"))
      expect(all(page, `#${section.getAttribute("aria-labelledby")}`)).toHaveLength(1);
    const ids = all(page, "[id]").map((node) => node.getAttribute("id"));
    expect(new Set(ids).size).toBe(ids.length);
    for (const link of all(page, 'a[href^="#"]')) expect(ids).toContain(link.getAttribute("href")!.slice(1));
  });

  it("is the same for the same run", async () => {
    expect((await produce(run)).html).toBe(made.html);
  });
});

describe("report.html of other runs", () => {
  it("tells at the top of a failed run what happened and what to do, before the figures", async () => {
    const run = new RunFixture();
    run.removeAll(`runs/${run.runId}/results/infer`, `runs/${run.runId}/infer/`);
    run.fail({
      code: "DiskFull",
      message: "The disk is full.",
      remedy: "Free some space.",
      stage: "infer",
      taskId: inferTaskId("fold1", "dali", "onnxruntime"),
    });
    run.input.failures.push({
      stage: "infer",
      taskId: inferTaskId("fold1", "dali", "onnxruntime"),
      error: "States.TaskFailed",
      cause: "",
    });
    const { html } = await produce(run);
    const top = text(open(html).querySelector(".verdict"));
    for (const part of [
      "The run failed",
      "DiskFull",
      "The disk is full.",
      "What to do: Free some space.",
      `voxelburst resume ${run.runId}`,
    ])
      expect(top).toContain(part);
    expect(html.indexOf('class="verdict"')).toBeLessThan(html.indexOf('class="summary"'));
  });

  it("works without previews, with a preview that is no PNG, and says so", async () => {
    const run = new RunFixture();
    const scores = run.scoresOf("fold1", "dali", "onnxruntime").toSorted((a, b) => a.meanDice! - b.meanDice!);
    run.put(scores[0]!.previewKey!, "<svg onload=alert(1)>");
    run.remove(scores[11]!.previewKey!);
    const page = open((await produce(run)).html);
    expect(all(page, ".case img")).toHaveLength(1);
    expect(all(page, ".no-picture")).toHaveLength(2);
  });

  it("sums a cross-validation up by the mean of its folds", async () => {
    const { html, json } = await produce(new RunFixture({ folds: ["fold0", "fold1", "fold2"] }));
    const means = json.segmentations.map(({ meanDice }) => meanDice!);
    const mean = means.reduce((sum, value) => sum + value, 0) / 3;
    expect(text(open(html).querySelector(".abstract"))).toContain(
      `Over three folds, dali with onnxruntime has a mean Dice of ${dice(mean)}.`,
    );
  });
});

describe("report.html of a large run", () => {
  it("stays a file that one can send, and says what it leaves to report.json", async () => {
    const { json } = await produce(new RunFixture({ strategies: ["fp32", "dali"], engines: ["torch", "onnxruntime"] }));
    const classes = Array.from({ length: 30 }, (_, at) => `structure ${at}`);
    const large: Report = {
      ...json,
      segmentations: json.segmentations.map((segmentation) => ({
        ...segmentation,
        classes: classes.map((name) => ({ ...segmentation.classes[0]!, class: name })),
        cases: Array.from({ length: 1000 }, (_, at) => {
          const scores = segmentation.cases[at % segmentation.cases.length]!;
          const entries = classes.map((name) => ({ ...scores.classes[0]!, class: name }));
          return { ...scores, caseId: `case-${at}`, classes: entries };
        }),
      })),
    };
    const page = renderHtml(large, []);
    expect(page.length).toBeLessThan(5_000_000);
    for (const sentence of [
      "The first 3 of 30 classes are drawn.",
      "Not drawn case by case: this page has its 6000 dots.",
      "819 more are in report.json",
    ])
      expect(page.includes(sentence), sentence).toBe(true);
  });
});

describe("numbers", () => {
  it("are 'not measured' when there is none, in every format", () => {
    for (const format of [dice, duration, minutes, percent, significant, times, usd])
      for (const nothing of [null, undefined, Number.NaN, Number.POSITIVE_INFINITY])
        expect(format(nothing)).toBe("not measured");
    expect(percentiles(null, 3)).toBe("not measured");
    expect(percentiles(3, undefined)).toBe("not measured");
  });

  it("keep the digits that matter", () => {
    expect([0, 0.00001, 0.01234, 5.7, 99.94, 99.96, 1234.5].map(significant)).toEqual([
      "0",
      "1.0e-5",
      "0.0123",
      "5.70",
      "99.9",
      "100",
      "1,235",
    ]);
    expect([0, 0.0042, 0.01, 3.456, 1234.5].map(usd)).toEqual(["$0.00", "$0.0042", "$0.01", "$3.46", "$1,234.50"]);
    expect([0.42, 42, 740, 11_100].map(duration)).toEqual(["0.4 s", "42 s", "12.3 min", "3 h 05 min"]);
    expect([25, 258, 1930, 74_000].map(minutes)).toEqual(["0.42", "4.3", "32.2", "1,233"]);
  });
});

describe("colours", () => {
  const luminance = (hex: string): number => {
    const [r, g, b] = [1, 3, 5].map((at) => {
      const value = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
  };
  const contrast = (a: string, b: string): number => {
    const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
    return (light! + 0.05) / (dark! + 0.05);
  };
  const [light, dark] = STYLE.split("prefers-color-scheme: dark").map((part) =>
    Object.fromEntries(
      [...part.split("}")[0]!.matchAll(/--([a-z0-9-]+): (#[0-9a-f]{6})/g)].map(([, name, value]) => [name!, value!]),
    ),
  );

  it.each([
    ["light", light!],
    ["dark", dark!],
  ])("of the %s theme reach WCAG's contrast: 4.5 for text, 3 for what is drawn", (_theme, colours) => {
    for (const paper of [colours.paper!, colours.faint!]) {
      for (const name of ["ink", "soft", "accent", "good", "bad"])
        expect(contrast(colours[name]!, paper), name).toBeGreaterThanOrEqual(4.5);
      for (const at of [1, 2, 3, 4, 5])
        expect(contrast(colours[`series-${at}`]!, paper), `series ${at}`).toBeGreaterThanOrEqual(3);
    }
  });
});
