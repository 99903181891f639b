// deploy, diff and destroy read the configuration before the CDK does: a typing error should not cost a synthesis.
import { readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { readDeployment } from "../../lib/cli/deployment-config.ts";
import { main } from "../../lib/cli/main.ts";
import { temporaryFolder } from "../local/fixture.ts";

const examples = path.resolve(import.meta.dirname, "../../examples");

afterEach(() => vi.restoreAllMocks());

describe.each(["deploy", "diff", "destroy"])("%s", (command) => {
  test.each([
    ["that is not there", undefined, /^DeploymentInvalid: .*deployment\.json cannot be read/],
    ["that is no JSON", "{", /^DeploymentInvalid: deployment\.json is not JSON/],
    [
      "with an unknown rung",
      JSON.stringify({ fleets: [{ rung: "cheap", instanceType: "p5.4xlarge" }] }),
      /^DeploymentInvalid: deployment\.json: fleets\[0\]\.rung is "cheap"; allowed: .*spot/,
    ],
  ])("ends with 1 on a configuration %s, naming the option", async (_, text, sentence) => {
    const config = path.join(temporaryFolder(), "deployment.json");
    if (text !== undefined) writeFileSync(config, text);
    let err = "";
    vi.spyOn(process.stderr, "write").mockImplementation((said) => {
      err += String(said);
      return true;
    });
    expect(await main([command, "--config", config])).toBe(1);
    expect(err).toMatch(sentence);
  });
});

test.each(readdirSync(examples).filter((name) => name.endsWith(".json")))("the example %s is read", (name) => {
  expect(readDeployment(path.join(examples, name)).fleets.length).toBeGreaterThan(0);
});

test("cdk.json's own configuration is read where no file is named", () => {
  expect(readDeployment(undefined).budgets.maxUsdPerRun).toBeGreaterThan(0);
});
