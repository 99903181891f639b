// cancel and cost of runs on this machine.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { main } from "../../lib/cli/main.ts";
import { keys } from "../../lib/contracts/index.ts";
import { homeAt } from "../../lib/local/home.ts";
import { RunFolder } from "../../lib/local/run-folder.ts";
import { produce } from "../lambdas/report/produce.ts";
import { RunFixture } from "../lambdas/report/run-fixture.ts";
import { temporaryFolder } from "../local/fixture.ts";

const RUN = "phantoms-0123456789ab-1";
let home: ReturnType<typeof homeAt>;
let out: string;
beforeEach(() => {
  home = homeAt(path.join(temporaryFolder(), ".voxelburst"));
  vi.stubEnv("VOXELBURST_HOME", home.folder);
  out = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    out += String(text);
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

describe("cancel", () => {
  test("ends a run that another process conducts, as Ctrl-C would, and says how it goes on", async () => {
    const folder = temporaryFolder();
    const flag = path.join(folder, "flag");
    const definition = path.join(folder, "definition.json");
    const Only = {
      Type: "Task",
      Resource: "arn:aws:states:::batch:submitJob.sync",
      Arguments: {
        JobName: "only",
        JobDefinition: "definition",
        JobQueue: "queue",
        ContainerOverrides: { Command: ["hang-once", flag] },
      },
      End: true,
    };
    writeFileSync(definition, JSON.stringify({ QueryLanguage: "JSONata", StartAt: "Only", States: { Only } }));
    const driver = fileURLToPath(new URL("../local/engine-driver.ts", import.meta.url));
    const child = spawn(process.execPath, [driver, home.folder, definition], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    onTestFinished(() => {
      child.kill("SIGKILL");
    });
    for (let tries = 0; !existsSync(flag); tries++) {
      expect(tries).toBeLessThan(1_000);
      await wait(20);
    }
    expect(await main(["cancel", RUN])).toBe(0);
    expect(new RunFolder(home, RUN).status()).toBe("cancelled");
    expect(out).toContain(`voxelburst resume ${RUN}`);
    expect(await main(["watch", RUN])).toBe(130);
    // Once more there is nothing to end.
    expect(await main(["cancel", RUN])).toBe(0);
    expect(out).toContain("there is nothing to cancel");
  }, 60_000);
});

describe("cost", () => {
  test("of a run on this machine is nothing, beside its equivalent at a named and dated price", async () => {
    const { json } = await produce(new RunFixture({ validationCases: 2, previewSize: 8 }));
    mkdirSync(path.join(home.runs, RUN), { recursive: true });
    const file = path.join(home.artefacts, keys.report(RUN, "report.json"));
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, JSON.stringify({ ...json, runId: RUN }));
    expect(await main(["cost", RUN, "--json"])).toBe(0);
    expect(JSON.parse(out)).toMatchObject({
      runId: RUN,
      usd: 0,
      equivalentUsd: json.equivalentUsd,
      pricedAs: { date: expect.any(String) },
    });
    expect(json.equivalentUsd).toBeGreaterThan(0);
  });

  test("of a run without a report ends with a sentence", async () => {
    mkdirSync(path.join(home.runs, RUN), { recursive: true });
    const spy = vi.spyOn(process.stderr, "write").mockImplementation(() => true);
    expect(await main(["cost", RUN])).toBe(2);
    expect(String(spy.mock.calls[0]![0])).toMatch(/^ReportMissing: /);
  });
});
