// The Lambda gets one file: no module beside it, no file to read.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { report as Report } from "../../../lambdas/report/core.ts";
import { produce } from "./produce.ts";
import { RunFixture } from "./run-fixture.ts";

describe("the bundle of report", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), "report-bundle-"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("is one file that writes the same page as the source, far from node_modules", async () => {
    const outfile = path.join(folder, "core.mjs");
    const { warnings } = await build({
      entryPoints: [path.resolve(import.meta.dirname, "../../../lambdas/report/core.ts")],
      bundle: true,
      platform: "node",
      target: "node24",
      format: "esm",
      outfile,
      logLevel: "silent",
    });
    expect(warnings).toEqual([]);
    const { report } = (await import(/* @vite-ignore */ pathToFileURL(outfile).href)) as { report: typeof Report };
    const run = new RunFixture();
    const source = await produce(new RunFixture());
    const output = await report(run.input, { store: run.store, clock: { now: () => run.now() } });
    expect(run.store.text(run.uri(output.htmlKey))).toBe(source.html);
  });
});
