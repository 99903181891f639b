// The functions of trigger and ledger: each bundle works for real against moto, behind a door that knows the function's
// synthesised policy alone.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll } from "vitest";
import { RoleAccount } from "./account.ts";
import { checkRoles } from "./checks.ts";
import { FunctionScenario } from "./function-scenario.ts";

const folder = mkdtempSync(path.join(tmpdir(), "voxelburst-iam-functions-"));
let at: RoleAccount;
beforeAll(async () => {
  at = await RoleAccount.open(folder);
  const scenario = new FunctionScenario(at);
  await scenario.startRun();
  await scenario.ledger();
}, 600_000);
afterAll(() => {
  at?.close();
  rmSync(folder, { recursive: true, force: true });
});

checkRoles(() => at, /^(Trigger|Guard)FunctionRole|^Ledger(Reserve|Settle)Role/);
