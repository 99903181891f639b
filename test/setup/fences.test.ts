// The rooms of DESIGN.md may import what it says, and the linter is what holds them to it.
import { spawnSync } from "node:child_process";
import path from "node:path";
import { describe, expect, it } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");

/** Whether the linter refuses an import in a file, which need not exist. */
function refused(file: string, from: string): boolean {
  const biome = path.join(root, "node_modules/.bin/biome");
  const result = spawnSync(biome, ["lint", "--only=style/noRestrictedImports", `--stdin-file-path=${file}`], {
    cwd: root,
    input: `import { x } from ${JSON.stringify(from)};\nexport const y = x;\n`,
    encoding: "utf8",
  });
  return result.status !== 0;
}

describe("import fences", () => {
  it.each([
    ["lib/contracts/plan.ts", "aws-cdk-lib"],
    ["lib/contracts/plan.ts", "../local/store.ts"],
    ["lambdas/plan/core.ts", "@aws-sdk/client-s3"],
    ["lambdas/plan/core.ts", "../../lib/local/store.ts"],
    ["lambdas/plan/handler.ts", "aws-cdk-lib"],
    ["lib/stages/plan.ts", "../../lambdas/plan/core.ts"],
    ["lib/workflow/workflow.ts", "../local/run.ts"],
    ["lib/local/run.ts", "aws-cdk-lib"],
    ["lib/local/run.ts", "../stages/plan.ts"],
    ["lib/cli/run.ts", "../../lambdas/plan/core.ts"],
    ["lib/cli/run.ts", "constructs"],
  ])("refuses %s importing %s", (file, from) => {
    expect(refused(file, from)).toBe(true);
  });

  it.each([
    ["lib/contracts/plan.ts", "zod"],
    ["lambdas/plan/core.ts", "../../lib/contracts/index.ts"],
    ["lambdas/plan/handler.ts", "@aws-sdk/client-s3"],
    ["lib/stages/plan.ts", "aws-cdk-lib"],
    ["lib/local/run.ts", "../../lambdas/plan/core.ts"],
    ["lib/cli/run.ts", "../local/run.ts"],
  ])("lets %s import %s", (file, from) => {
    expect(refused(file, from)).toBe(false);
  });
});
