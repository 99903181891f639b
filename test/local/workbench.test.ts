import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { checkDefinition, StatesError } from "../../lib/local/asl/index.ts";
import { findHome, homeAt } from "../../lib/local/home.ts";
import { readWorkflow } from "../../lib/local/local-engine.ts";
import { findPython, machineOf, probe } from "../../lib/local/machine.ts";
import { pseudonymKeyAt } from "../../lib/local/pseudonym-key.ts";
import { findRun, RunFolder } from "../../lib/local/run-folder.ts";
import { softwareVersion } from "../../lib/local/software-version.ts";
import { checkResources } from "../../lib/local/task-bindings.ts";
import { nameOf, workflowUntil } from "../../lib/local/workbench.ts";
import { execute } from "./asl/harness.ts";
import { python, temporaryFolder } from "./fixture.ts";

describe("the workflow", () => {
  test("has a counterpart here for each of its tasks", () => {
    const core = async () => null;
    const functions = { plan: core, report: core, reserve: core, settle: core };
    expect(() => checkResources(JSON.parse(readWorkflow()), functions)).not.toThrow();
  });

  test.each(["Ingest", "Plan"])("can be cut after %s and is a state machine still", (last) => {
    const cut = JSON.parse(workflowUntil(last));
    expect(checkDefinition(cut).errors).toEqual([]);
    expect(cut.States).toHaveProperty(last);
    const ends = Object.entries<{ Type: string }>(cut.States).filter(([, { Type }]) => /^(Succeed|Fail)$/.test(Type));
    expect(ends.map(([, { Type }]) => Type).sort()).toEqual(["Fail", "Succeed"]);
    expect(Object.keys(cut.States).filter((name) => /^(Preprocess|Trainings|Notify)/.test(name))).toEqual([]);
  });

  test("that is cut ends as the job did that failed, or well", async () => {
    const answers = (fails: boolean) => (task: { stateName: string }) => {
      if (task.stateName === "IngestReserve") return { Payload: { granted: true, reservedUsd: 0 } };
      if (task.stateName === "IngestSettle") return { Payload: { settled: true, usd: 0 } };
      if (task.stateName === "Ingest" && fails) throw new StatesError("States.TaskFailed", "It is not there.");
      return { JobSummaryList: [] };
    };
    const cut = JSON.parse(workflowUntil("Ingest"));
    const input = { runId: "x-0123456789ab-1", artefactsUri: "file:///a/", ingestShards: 2 };
    const failed = await execute(cut, { input, tasks: answers(true) });
    expect(failed.result).toEqual({ status: "FAILED", error: "States.TaskFailed", cause: "It is not there." });
    expect((await execute(cut, { input, tasks: answers(false) })).result.status).toBe("SUCCEEDED");
  });
});

describe("the folder .voxelburst", () => {
  test("is the nearest one above, else one here, else what the environment names", () => {
    const folder = temporaryFolder();
    const deep = path.join(folder, "a", "b");
    mkdirSync(deep, { recursive: true });
    expect(findHome(deep, {}).folder).toBe(path.join(deep, ".voxelburst"));
    mkdirSync(path.join(folder, ".voxelburst"));
    expect(findHome(deep, {}).folder).toBe(path.join(folder, ".voxelburst"));
    expect(findHome(deep, { VOXELBURST_HOME: "/elsewhere" }).folder).toBe("/elsewhere");
  });

  test("keeps one key for patients, which only its owner may read", () => {
    const file = path.join(temporaryFolder(), "new", "pseudonym.key");
    const key = pseudonymKeyAt(file);
    expect(key).toMatch(/^[0-9a-f]{64}$/);
    expect(pseudonymKeyAt(file)).toBe(key);
    expect(statSync(file).mode & 0o077).toBe(0);
    writeFileSync(file, "damaged");
    expect(() => pseudonymKeyAt(file)).toThrow(/damaged/);
  });

  test("finds a run by a part of its name, and the latest without one", () => {
    const home = homeAt(temporaryFolder());
    expect(() => findRun(home, undefined)).toThrow(/no run yet/);
    for (const [id, second] of [
      ["a-111111111111-1", 5],
      ["b-222222222222-1", 9],
      ["b-222222222222-2", 7],
    ] as const) {
      const run = new RunFolder(home, id);
      run.appendHistory({
        type: "ExecutionStarted",
        id: 1,
        previousEventId: 0,
        timestamp: `2026-01-01T00:00:0${second}.000Z`,
      });
      run.close();
    }
    expect(findRun(home, undefined).runId).toBe("b-222222222222-1");
    expect(findRun(home, "111").runId).toBe("a-111111111111-1");
    expect(() => findRun(home, "222")).toThrow(/part of 2 runs/);
    expect(() => findRun(home, "x")).toThrow(/no run x/);
  });
});

test("a dataset is named after its folder in the letters that keys may have", () => {
  expect(nameOf("/data/Task04_Hippocampus")).toBe("task04-hippocampus");
  expect(nameOf("/data/--Ünïcode--")).toBe("n-code");
  expect(nameOf("/data/日本")).toBe("dataset");
  expect(nameOf(`/data/${"x".repeat(62)}_y`)).toBe("x".repeat(62));
});

test("the software's version changes with a line of a stage, and with nothing beside the stages", () => {
  const root = temporaryFolder();
  const write = (name: string, text: string) => {
    mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
    writeFileSync(path.join(root, name), text);
  };
  write("package.json", '{"version": "1.2.3"}');
  write("containers/src/voxelburst/a.py", "a");
  write("lambdas/plan/core.ts", "b");
  write("lib/contracts/keys.ts", "c");
  const version = softwareVersion(root);
  expect(version).toMatch(/^1\.2\.3\+[0-9a-f]{10}$/);
  write("containers/src/voxelburst/__pycache__/a.pyc", "x");
  write("containers/src/voxelburst/notes.txt", "x");
  write("lib/cli/main.ts", "x");
  expect(softwareVersion(root)).toBe(version);
  write("containers/src/voxelburst/a.py", "A");
  expect(softwareVersion(root)).not.toBe(version);
});

describe("the Python environment", { timeout: 120_000 }, () => {
  test("is asked once what it can do", async () => {
    const home = homeAt(temporaryFolder());
    const answer = await probe(home, python);
    expect(answer.engines).toContain("torch");
    expect(machineOf(answer)).toMatchObject({
      where: "local",
      gpus: answer.gpus,
      convGflops: answer.convGflops,
    });
    const file = path.join(home.cache, "machine.json");
    const kept = JSON.parse(readFileSync(file, "utf8"));
    writeFileSync(file, JSON.stringify({ ...kept, answer: { ...kept.answer, gpuName: "remembered" } }));
    expect((await probe(home, python)).gpuName).toBe("remembered");
  });

  test("that lacks a package is refused, naming it and what to do", async () => {
    const folder = temporaryFolder();
    // An import hook in place of an uninstalled package: the environment of the tests must stay whole.
    writeFileSync(
      path.join(folder, "sitecustomize.py"),
      "import sys\nclass Hide:\n    def find_spec(self, name, path=None, target=None):\n        if name == 'nibabel': raise ModuleNotFoundError(name)\nsys.meta_path.insert(0, Hide())\n",
    );
    const wrapper = path.join(folder, "python");
    writeFileSync(wrapper, `#!/bin/sh\nPYTHONPATH=${folder} exec ${python} "$@"\n`);
    chmodSync(wrapper, 0o755);
    await expect(probe(homeAt(folder), wrapper)).rejects.toMatchObject({
      code: "PythonPackageMissing",
      message: expect.stringContaining("nibabel"),
      remedy: expect.stringContaining("npm run setup"),
    });
  });

  test("that is not there is refused before anything starts", () => {
    expect(() => findPython(temporaryFolder())).toThrow(expect.objectContaining({ code: "PythonEnvironmentMissing" }));
  });
});
