import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test, vi } from "vitest";
import { main } from "../../lib/cli/main.ts";
import { temporaryFolder } from "../local/fixture.ts";

/** One command in this process; what it wrote is kept. */
async function voxelburst(...args: string[]) {
  const said = { out: "", err: "" };
  vi.stubEnv("VOXELBURST_HOME", path.join(temporaryFolder(), "home"));
  const keep = (part: keyof typeof said) => (text: string | Uint8Array) => {
    said[part] += String(text);
    return true;
  };
  const spies = [
    vi.spyOn(process.stdout, "write").mockImplementation(keep("out")),
    vi.spyOn(process.stderr, "write").mockImplementation(keep("err")),
  ];
  try {
    return { code: await main(args), ...said };
  } finally {
    for (const spy of spies) spy.mockRestore();
    vi.unstubAllEnvs();
  }
}

test("the entry point runs as a process, with its exit code", () => {
  const entry = fileURLToPath(new URL("../../bin/voxelburst.ts", import.meta.url));
  const end = spawnSync(process.execPath, [entry, "run", "nowhere"], { encoding: "utf8", cwd: temporaryFolder() });
  expect(end.status).toBe(3);
  expect(end.stdout).toBe("");
  expect(end.stderr).toMatch(/^DatasetMissing: /);
});

describe("usage", () => {
  test("help ends with 0 and names every command", async () => {
    const { code, out } = await voxelburst("--help");
    expect(code).toBe(0);
    for (const name of "init validate plan run predict watch resume ps logs report cost cancel doctor deploy diff destroy demo".split(
      " ",
    ))
      expect(out).toContain(`  ${name} `);
  });
  test.each([
    ["an unknown command", ["fly"]],
    ["an unknown option", ["ps", "--fast"]],
    ["a missing argument", ["run"]],
    ["an unknown run", ["resume", "nothing"]],
    ["an unknown stage", ["logs", "nothing", "cooking"]],
  ])("%s ends with 1", async (_, args) => {
    const { code, err } = await voxelburst(...args);
    expect(code).toBe(1);
    expect(err).not.toContain("    at ");
  });
});

describe("errors", () => {
  test("of a dataset end with 3, in a sentence with what to do, without a stack", async () => {
    const { code, err } = await voxelburst("run", "nowhere");
    expect(code).toBe(3);
    expect(err).toMatch(/^DatasetMissing: nowhere is no folder\.\n {2}what to do: .+\n$/);
  });
  test("show their stack with --debug", async () => {
    expect((await voxelburst("run", "nowhere", "--debug")).err).toContain("    at ");
  });
  test("with --json are one object on stdout", async () => {
    const { code, out } = await voxelburst("run", "nowhere", "--json");
    expect(code).toBe(3);
    expect(out.trimEnd().split("\n")).toHaveLength(1);
    expect(JSON.parse(out)).toMatchObject({
      status: "failed",
      error: { code: "DatasetMissing", remedy: expect.any(String) },
    });
  });
  test.each([
    ["a recipe that is not there", ["--recipe", "nothing.yaml"], 3, "RecipeMissing"],
    ["a wrong assignment", ["--set", "train.steps=-1"], 1, "SetInvalid"],
  ])("of %s have its exit code", async (_, args, expected, name) => {
    const folder = temporaryFolder();
    mkdirSync(path.join(folder, "dataset"));
    writeFileSync(path.join(folder, "dataset", "dataset.json"), "{}");
    const { code, err } = await voxelburst("run", path.join(folder, "dataset"), ...args);
    expect(err).toContain(`${name}: `);
    expect(code).toBe(expected);
  });
});

test("ps of a folder without runs says so, and gives an empty list as JSON", async () => {
  expect((await voxelburst("ps")).out).toContain("no run yet");
  expect(JSON.parse((await voxelburst("ps", "--json")).out)).toEqual({ runs: [] });
});
