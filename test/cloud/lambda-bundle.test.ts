import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { bundleLambda, LAMBDAS } from "../../lib/cloud/lambda-bundle.ts";

const folder = mkdtempSync(path.join(tmpdir(), "voxelburst-bundle-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("the bundle of a function", () => {
  // report carries the page's assets: the viewer, its styles and the plots.
  it.each(LAMBDAS.map((verb) => [verb, verb === "report" ? 2 : 1] as const))(
    "%s is below %i MiB and carries its own SDK",
    async (verb, mebibytes) => {
      const file = path.join(folder, verb, "index.mjs");
      await bundleLambda(verb, file);
      expect(statSync(file).size).toBeLessThan(mebibytes * 2 ** 20);
      expect(readFileSync(file, "utf8")).not.toMatch(/from\s*["']@(aws-sdk|smithy)/);
    },
    60_000,
  );
});
