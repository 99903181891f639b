import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { renderCsv } from "../../../lambdas/report/csv.ts";
import type { Report } from "../../../lib/contracts/index.ts";
import { produce } from "./produce.ts";
import { RunFixture } from "./run-fixture.ts";

/** RFC 4180, read by its letter. */
function readCsv(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let cell = "";
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at]!;
    if (quoted && character === '"' && text[at + 1] === '"') {
      cell += '"';
      at++;
    } else if (character === '"') quoted = !quoted;
    else if (!quoted && character === ",") {
      row.push(cell);
      cell = "";
    } else if (!quoted && character === "\r" && text[at + 1] === "\n") {
      rows.push([...row, cell]);
      row = [];
      cell = "";
      at++;
    } else cell += character;
  }
  return rows;
}

const records = (text: string): Record<string, string>[] => {
  const [head, ...rows] = readCsv(text);
  return rows.map((row) => Object.fromEntries(head!.map((name, at) => [name, row[at]!])));
};

describe("report.csv", () => {
  it("has a line a row of the table, with the numbers of report.json to the last digit", async () => {
    const { csv, json } = await produce(
      new RunFixture({ strategies: ["fp32", "dali"], engines: ["torch", "onnxruntime"] }),
    );
    const read = records(csv);
    expect(read).toHaveLength(json.rows.length);
    for (const [at, row] of json.rows.entries()) {
      expect(Number(read[at]!.volumesPerSecond)).toBe(row.volumesPerSecond);
      expect(Number(read[at]!.dice)).toBe(row.dice);
      expect(Number(read[at]!.patchesOrWindowsPerSecond)).toBe(row.patchesPerSecond ?? row.windowsPerSecond);
      expect(read[at]!.unit).toBe(row.kind === "training" ? "patches/s" : "windows/s");
      expect(read[at]!.gpuBusyPercent).toBe("not measured");
      expect(read[at]!.usdBasis).toBe("equivalent: one p5.4xlarge at 4.2 USD/h, 2026-02-01");
    }
  });

  const measures = [
    "batch",
    "volumesPerSecond",
    "dice",
    "speedUp",
    "gpuBusyPercent",
    "p50Ms",
    "p95Ms",
    "usdPer1000Volumes",
  ] as const;

  it("reads 'not measured' exactly where a value is null", async () => {
    const { json } = await produce(new RunFixture());
    fc.assert(
      fc.property(fc.subarray([...measures]), (missing) => {
        const row = {
          ...json.rows[0]!,
          batch: 2,
          gpuBusyPercent: 50,
          ...Object.fromEntries(missing.map((name) => [name, null])),
        };
        const [read] = records(renderCsv({ ...json, rows: [row] }));
        for (const name of measures) expect(read![name] === "not measured").toBe(missing.includes(name));
      }),
    );
  });

  it("gives any text back as it was, and lets no spreadsheet take it for a formula", async () => {
    const { json } = await produce(new RunFixture());
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 40 }), (text) => {
        const report: Report = { ...json, rows: [{ ...json.rows[0]!, gpu: text, note: `x${text}` }] };
        const [read] = records(renderCsv(report));
        expect(read!.note).toBe(`x${text}`);
        expect(read!.gpu).toBe(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text);
      }),
    );
    const [read] = records(renderCsv({ ...json, rows: [{ ...json.rows[0]!, gpu: "=HYPERLINK(1)" }] }));
    expect(read!.gpu).toBe("'=HYPERLINK(1)");
  });
});
