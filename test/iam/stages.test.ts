// The stages: a run in which each stage's process, plan and report work for real against moto, behind a door that knows
// the stage's synthesised policy alone.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll } from "vitest";
import { RoleAccount } from "./account.ts";
import { checkRoles } from "./checks.ts";
import { StageScenario } from "./stage-scenario.ts";

const folder = mkdtempSync(path.join(tmpdir(), "voxelburst-iam-stages-"));
let at: RoleAccount;
beforeAll(async () => {
  at = await RoleAccount.open(folder);
  const scenario = new StageScenario(at, folder);
  await scenario.startRun();
  await scenario.ingestAndPlan();
  await scenario.preprocess();
  await scenario.trainOnCluster();
  await scenario.forgetTraining();
  await scenario.train("TrainRole");
  await scenario.compileAndInfer();
  await scenario.report();
}, 1_500_000);
afterAll(() => {
  at?.close();
  rmSync(folder, { recursive: true, force: true });
});

checkRoles(() => at, /^(Ingest|Preprocess|Compile|Infer)JobRole|^Train(Cluster)?Role|^(Plan|Report)FunctionRole/);
