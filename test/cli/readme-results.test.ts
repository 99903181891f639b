import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { type Results, readResults, withResults } from "../../lib/cli/readme-results.ts";

const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");

test("README's tables are those of docs/benchmarks", () => {
  expect(withResults(readme, readResults())).toBe(readme);
});

test("what was not measured reads so, and a column that no row has is left out", () => {
  const results: Results = {
    file: "some.json",
    bench: {
      schema: 1,
      what: "Steps",
      command: "voxelburst bench",
      commit: "0123456789abcdef",
      version: "0.1.0",
      date: "2026-11-24T15:00:00Z",
      hardware: "a card",
      cpus: 2,
      versions: {},
      rows: [
        { kind: "training", strategy: "fp32", patchesPerSecond: 5.2, p50Ms: 3, p95Ms: 4 },
        { kind: "training", strategy: "amp" },
      ],
      failed: [],
      notes: [],
    },
  };
  const written = withResults(readme, [results]);
  expect(written).toContain("| fp32 | 5.20         | 3.00 / 4.00  |");
  expect(written).toContain("| amp  | not measured | not measured |");
  expect(written).toContain(
    "Steps, on a card (2026-11-24, commit 0123456789). [All figures](docs/benchmarks/some.json).",
  );
  expect(written).not.toContain("windows/s |");
});

test("refuses a README without its marks", () => {
  expect(() => withResults("# nothing", [])).toThrow("README has no");
});
