// Writes README's tables of results from docs/benchmarks/*.json: `node lib/cli/readme-results.ts`. A test holds them to
// the files, so that no figure in README is one that nobody measured.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type Bench, type BenchRow, bench as benchSchema, parseOrThrow } from "../contracts/index.ts";
import { nameOf } from "./bench-rows.ts";
import { significant } from "./format.ts";

const START = "<!-- results: written by lib/cli/readme-results.ts from docs/benchmarks -->";
const END = "<!-- end of results -->";
const root = fileURLToPath(new URL("../../", import.meta.url));

export interface Results {
  file: string;
  bench: Bench;
}

/** The results files, by name. Files of an older form have no `schema` and are left to be read as they are. */
export function readResults(folder = path.join(root, "docs", "benchmarks")): Results[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith(".json"))
    .sort()
    .flatMap((file) => {
      const document: unknown = JSON.parse(readFileSync(path.join(folder, file), "utf8"));
      if (typeof document !== "object" || document === null || !("schema" in document)) return [];
      return [{ file, bench: parseOrThrow(benchSchema, document, file, "ResultsInvalid") }];
    });
}

/** README with the tables between its two marks replaced. @throws Error when a mark is missing */
export function withResults(readme: string, results: readonly Results[]): string {
  const start = readme.indexOf(START);
  const end = readme.indexOf(END);
  if (start < 0 || end < start) throw new Error(`README has no "${START}" with "${END}" behind it`);
  const tables = results.map((one) => `${sectionOf(one)}\n`).join("");
  return `${readme.slice(0, start + START.length)}\n\n${tables}${readme.slice(end)}`;
}

type Column = readonly [title: string, of: (row: BenchRow) => string | undefined];

const figure = (value: number | null | undefined, format: (value: number) => string = significant) =>
  typeof value === "number" ? format(value) : undefined;

const COLUMNS: readonly Column[] = [
  ["batch", (row) => figure(row.batch, String)],
  ["patches/s", (row) => figure(row.patchesPerSecond)],
  ["a GPU", (row) => figure(row.patchesPerSecondPerGpu)],
  ["scaling", (row) => figure(row.scalingEfficiency, (share) => `${significant(100 * share)} %`)],
  ["windows/s", (row) => figure(row.windowsPerSecond)],
  ["volumes/s", (row) => figure(row.volumesPerSecond)],
  ["Dice", (row) => figure(row.dice, (dice) => dice.toFixed(4))],
  [
    "p50 / p95 ms",
    (row) => (row.p50Ms && row.p95Ms ? `${significant(row.p50Ms)} / ${significant(row.p95Ms)}` : undefined),
  ],
  ["loading", (row) => figure(row.loadingRatio, (times) => `${times.toFixed(2)}x`)],
  ["GPU busy %", (row) => figure(row.gpuBusyPercent)],
  ["TFLOP/s", (row) => figure(row.teraflopPerSecond)],
  ["of peak", (row) => figure(row.peakShare, (share) => `${significant(100 * share)} %`)],
  ["GiB", (row) => figure(row.peakMemoryMiB, (mib) => significant(mib / 1024))],
  ["W", (row) => figure(row.watts)],
  ["$/1000 volumes", (row) => figure(row.usdPer1000Volumes, significant)],
];

function sectionOf({ file, bench }: Results): string {
  const rows = bench.rows.filter((row) => row.kind !== "profile");
  const used = COLUMNS.filter(([, of]) => rows.some((row) => of(row) !== undefined));
  const cells = [
    ["", ...used.map(([title]) => title)],
    ...rows.map((row) => [nameOf(row), ...used.map(([, of]) => of(row) ?? "not measured")]),
  ];
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  const line = (row: readonly string[]) => `| ${row.map((cell, i) => cell.padEnd(widths[i]!)).join(" | ")} |`;
  const [head, ...body] = cells;
  const { pricedAs } = bench;
  const words = [
    `${bench.what}, on ${bench.hardware} (${bench.date.slice(0, 10)}, commit ${bench.commit.slice(0, 10)}`,
    ...(pricedAs && rows.some((row) => row.usdPer1000Volumes)
      ? [`, priced as ${pricedAs.instanceType} at $${pricedAs.usdPerHour} an hour, ${pricedAs.date}`]
      : []),
    `). [All figures](docs/benchmarks/${file}).`,
  ];
  const notes = bench.notes.length > 0 ? ["", ...bench.notes.map((text) => `- ${text}`)] : [];
  return [
    `${words.join("")}\n`,
    line(head!),
    `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`,
    ...body.map(line),
    ...notes,
    "",
  ].join("\n");
}

if (import.meta.main) {
  const file = path.join(root, "README.md");
  writeFileSync(file, withResults(readFileSync(file, "utf8"), readResults()));
}
