// report.csv: the table, one row a training or engine, RFC 4180.
import type { Report, ReportRow } from "../../lib/contracts/index.ts";
import { NOT_MEASURED } from "./rows.ts";

type Cell = string | number | null | undefined;

/** A cell that a spreadsheet shows and never executes: text that starts like a formula is quoted by an apostrophe. */
function cell(value: Cell): string {
  if (value === null || value === undefined) return NOT_MEASURED;
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const COLUMNS: [string, (row: ReportRow, report: Report) => Cell][] = [
  ["kind", (row) => row.kind],
  ["fold", (row) => row.fold],
  ["strategy", (row) => row.strategy],
  ["engine", (row) => row.engine ?? ""],
  ["gpu", (row) => row.gpu],
  ["gpus", (row) => row.gpus],
  ["precision", (row) => row.precision],
  ["batch", (row) => row.batch],
  ["volumesPerSecond", (row) => row.volumesPerSecond],
  ["dice", (row) => row.dice],
  ["auc", (row) => row.auc],
  ["accuracy", (row) => row.accuracy],
  ["diceFrom", (row) => (row.kind === "engine" ? row.engine : row.diceFrom)],
  ["speedUp", (row) => row.speedUp],
  ["patchesOrWindowsPerSecond", (row) => (row.kind === "training" ? row.patchesPerSecond : row.windowsPerSecond)],
  ["unit", (row) => (row.kind === "training" ? "patches/s" : "windows/s")],
  ["gpuBusyPercent", (row) => row.gpuBusyPercent],
  ["p50Ms", (row) => row.p50Ms],
  ["p95Ms", (row) => row.p95Ms],
  ["usdPer1000Volumes", (row) => row.usdPer1000Volumes],
  ["usdBasis", (_row, report) => usdBasis(report)],
  [
    "versions",
    (row) =>
      Object.keys(row.versions).length === 0
        ? null
        : Object.entries(row.versions)
            .map(([name, version]) => `${name} ${version}`)
            .join("; "),
  ],
  ["note", (row) => row.note ?? ""],
];

/** What the dollars of a row mean. */
export function usdBasis({ where, pricedAs }: Report): string {
  if (where === "local")
    return pricedAs
      ? `equivalent: one ${pricedAs.instanceType} at ${pricedAs.usdPerHour} USD/h, ${pricedAs.date}`
      : "no price";
  return "share of the instance";
}

/** @returns the table with a header line; CRLF ends a line, as RFC 4180 has it */
export const renderCsv = (report: Report): string =>
  [COLUMNS.map(([name]) => name), ...report.rows.map((row) => COLUMNS.map(([, value]) => cell(value(row, report))))]
    .map((cells) => `${cells.join(",")}\r\n`)
    .join("");
