// The rooms of DESIGN.md may import what it says, and the linter is what holds them to it.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");

const forbidden = [
  ["lib/contracts/plan.ts", "aws-cdk-lib"],
  ["lib/contracts/task.ts", "../local/store.ts"],
  ["lambdas/plan/core.ts", "@aws-sdk/client-s3"],
  ["lambdas/plan/folds.ts", "../../lib/local/store.ts"],
  ["lambdas/plan/handler.ts", "aws-cdk-lib"],
  ["lib/stages/plan.ts", "../../lambdas/plan/core.ts"],
  ["lib/workflow/workflow.ts", "../local/run.ts"],
  ["lib/local/run.ts", "aws-cdk-lib"],
  ["lib/local/store.ts", "../stages/plan.ts"],
  ["lib/cli/run.ts", "../../lambdas/plan/core.ts"],
  ["lib/cli/plan.ts", "constructs"],
  ["lib/cli/ps.ts", "@aws-sdk/client-sfn"],
  ["lib/aws/deployed.ts", "aws-cdk-lib"],
  ["lib/aws/upload.ts", "../local/home.ts"],
  ["lib/aws/reports.ts", "../../lambdas/report/handler.ts"],
  ["lib/contracts/case-record.ts", "node:fs"],
  ["lib/cli/main.ts", "../workflow/workflow.ts"],
  ["lib/cli/commands/run.ts", "../../workflow/workflow.ts"],
  ["lib/local/home.ts", "../workflow/workflow.ts"],
  ["lib/local/machine.ts", "../../lambdas/clients/machine.ts"],
  ["lib/local/child.ts", "@aws-sdk/client-s3"],
  ["lib/local/slots.ts", "../aws/runs.ts"],
  ["lib/local/faults.ts", "../../lambdas/plan/handler.ts"],
  ["lib/aws/quotas.ts", "../workflow/workflow.ts"],
  ["lib/cloud/network.ts", "@aws-sdk/client-ec2"],
  ["lib/cloud/storage.ts", "../aws/cloud.ts"],
  ["lib/stages/ingest.ts", "../setup/test.ts"],
  ["lambdas/plan/shards.ts", "../../containers/plan.ts"],
  ["lambdas/plan/work.ts", "@middy/core"],
  ["lambdas/plan/rungs.ts", "../clients/machine.ts"],
  ["lib/setup/test.ts", "zod"],
  ["bin/app.ts", "../lib/local/home.ts"],
  ["bin/voxelburst.ts", "../lib/local/home.ts"],
] as const;
const allowed = [
  ["lib/contracts/recipe.ts", "zod"],
  ["lambdas/report/core.ts", "../../lib/contracts/index.ts"],
  ["lambdas/report/handler.ts", "@aws-sdk/client-s3"],
  ["lib/stages/report.ts", "aws-cdk-lib"],
  ["lib/local/lambdas.ts", "../../lambdas/plan/core.ts"],
  ["lib/cli/report.ts", "../local/run.ts"],
  ["lib/cli/watch.ts", "../aws/runs.ts"],
  ["lib/aws/runs.ts", "@aws-sdk/client-sfn"],
  ["lib/aws/cost.ts", "../../lambdas/clients/dynamo-ledger.ts"],
  ["lib/aws/runs-of-dataset.ts", "../../lambdas/start-run/core.ts"],
  ["lib/cloud/fleet.ts", "../contracts/rung.ts"],
  ["lib/local/asl/scope.ts", "../folder-store.ts"],
] as const;

describe("import fences", () => {
  let tree: string;
  let refused: Set<string>;

  beforeAll(() => {
    tree = mkdtempSync(path.join(tmpdir(), "voxelburst-fences-"));
    const config = JSON.parse(readFileSync(path.join(root, "biome.json"), "utf8"));
    writeFileSync(path.join(tree, "biome.json"), JSON.stringify({ ...config, $schema: undefined, vcs: undefined }));
    for (const [file, from] of [...forbidden, ...allowed]) {
      mkdirSync(path.join(tree, path.dirname(file)), { recursive: true });
      writeFileSync(path.join(tree, file), `import { x } from ${JSON.stringify(from)};\n\nexport const y = x;\n`);
    }
    const biome = path.join(root, "node_modules/.bin/biome");
    const { stdout } = spawnSync(biome, ["lint", "--only=style/noRestrictedImports", "--reporter=github", "."], {
      cwd: tree,
      encoding: "utf8",
    });
    refused = new Set(
      [...stdout.matchAll(/file=([^,]+),/g)].map((match) => path.relative(tree, path.resolve(tree, match[1]!))),
    );
  });
  afterAll(() => rmSync(tree, { recursive: true }));

  it.each(forbidden)("refuses %s importing %s", (file) => {
    expect(refused).toContain(file);
  });

  it.each(allowed)("lets %s import %s", (file) => {
    expect(refused).not.toContain(file);
  });
});
