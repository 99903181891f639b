// Set-up refuses what cannot work before it downloads anything.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");

/** A fresh clone as far as set-up reads it: neither node_modules nor .venv. */
function bareCheckout(tree: string) {
  for (const file of ["lib/setup/setup.mjs", "containers/requirements.lock", "package-lock.json"]) {
    mkdirSync(path.join(tree, path.dirname(file)), { recursive: true });
    copyFileSync(path.join(root, file), path.join(tree, file));
  }
}

/** Marks the Node packages as installed from this very lock. */
function stampNode(tree: string) {
  mkdirSync(path.join(tree, "node_modules/.bin"), { recursive: true });
  const lock = readFileSync(path.join(tree, "package-lock.json"));
  writeFileSync(path.join(tree, "node_modules/.voxelburst-lock"), createHash("sha256").update(lock).digest("hex"));
}

const DISK_FULL =
  "import fs from 'node:fs';import m from 'node:module';fs.statfsSync=()=>({bavail:1,bsize:4096});m.syncBuiltinESMExports()";
/** Every name that set-up asks for a Python. */
const PYTHONS = ["python3", "python3.13", "python3.12", "python3.11", "python"];

describe("set-up", () => {
  let tree: string;
  let fakes: string;
  beforeEach(() => {
    tree = mkdtempSync(path.join(tmpdir(), "voxelburst-setup-"));
    fakes = path.join(tree, "fakes");
    bareCheckout(tree);
    mkdirSync(fakes);
  });
  afterEach(() => rmSync(tree, { recursive: true }));

  /** A program of the fake PATH: `npm` and the Pythons of a test are these alone. */
  const fake = (name: string, script: string) =>
    writeFileSync(path.join(fakes, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  const fakePythons = (version: string, venv = "exit 1") => {
    for (const name of PYTHONS) fake(name, `[ "$1" = -c ] && echo ${version} && exit 0\n${venv}`);
  };

  const setUp = (preload = "0") =>
    spawnSync(process.execPath, ["--import", `data:text/javascript,${preload}`, "lib/setup/setup.mjs"], {
      cwd: tree,
      encoding: "utf8",
      env: { PATH: fakes },
    });

  it.each([
    ["macOS", 'Object.defineProperty(process,"platform",{value:"darwin"})', "darwin-x64"],
    ["ARM", 'Object.defineProperty(process,"arch",{value:"arm64"})', "linux-arm64"],
    ["musl", "process.report.getReport=()=>({header:{}})", "linux-x64 with musl"],
    ["an old glibc", 'process.report.getReport=()=>({header:{glibcVersionRuntime:"2.17"}})', "glibc 2.17"],
  ])("refuses %s and says where it runs", (_name, preload, got) => {
    const { status, stderr } = setUp(preload);
    expect(status).toBe(1);
    expect(stderr).toContain("UnsupportedPlatform");
    expect(stderr).toContain(got);
    expect(stderr).toContain("what to do:");
    expect(existsSync(path.join(tree, ".venv"))).toBe(false);
  });

  describe("on a fresh clone, before npm downloads anything,", () => {
    beforeEach(() => fake("npm", `echo "fake npm $*" >&2; echo called > '${tree}/npm-was-called'; exit 1`));
    const npmWasCalled = () => existsSync(path.join(tree, "npm-was-called"));

    it("refuses a machine without a Python that the lock is made for", () => {
      fakePythons("3.9");
      const { status, stderr } = setUp();
      expect(status).toBe(1);
      expect(stderr).toContain("PythonNotFound");
      expect(stderr).toContain("python3 is 3.9");
      expect(npmWasCalled()).toBe(false);
    });

    it.each([
      ["is missing", false],
      ["is there", true],
    ])("refuses a disk that cannot hold the packages, where node_modules %s", (_name, stamped) => {
      if (stamped) stampNode(tree);
      fakePythons("3.12");
      const { status, stderr } = setUp(DISK_FULL);
      expect(status).toBe(1);
      expect(stderr).toContain("DiskTooSmall");
      expect(npmWasCalled()).toBe(false);
    });

    it("refuses a Python that cannot make an environment", () => {
      fakePythons("3.12", "echo no ensurepip >&2; exit 1");
      const { status, stderr } = setUp();
      expect(status).toBe(1);
      expect(stderr).toContain("PythonVenvMissing");
      expect(stderr).toContain("python3-venv");
      expect(npmWasCalled()).toBe(false);
    });

    it("says how much it will take on disk", () => {
      fakePythons("3.12", "exit 0");
      const { status, stderr } = setUp();
      expect(status).toBe(1);
      expect(stderr).toContain("SetupCommandFailed");
      expect(npmWasCalled()).toBe(true);
      expect(stderr.indexOf("6.5 GB")).toBeGreaterThanOrEqual(0);
      expect(stderr.indexOf("6.5 GB")).toBeLessThan(stderr.indexOf("fake npm ci"));
    });
  });

  it("says how much it will take on disk before pip downloads, where node_modules is there", () => {
    stampNode(tree);
    const pip = `echo '#!/bin/sh' > "$3/bin/pip"; echo 'echo fake pip >&2; exit 1' >> "$3/bin/pip"`;
    fakePythons("3.12", `/bin/mkdir -p "$3/bin"; ${pip}; /bin/chmod +x "$3/bin/pip"`);
    const { status, stderr } = setUp();
    expect(status).toBe(1);
    expect(stderr.indexOf("6.5 GB")).toBeGreaterThanOrEqual(0);
    expect(stderr.indexOf("6.5 GB")).toBeLessThan(stderr.indexOf("fake pip"));
  });
});

describe("locks", () => {
  it.each(["package-lock.json", "containers/requirements.lock"])("%s names no host", (file) => {
    const hosts = readFileSync(path.join(root, file), "utf8").match(/https?:\/\/[^\s"]+/g) ?? [];
    // Funding links are metadata that npm copies; nothing is fetched from them.
    expect(hosts.filter((url) => /\.tgz|\.whl|registry|\/simple|index/.test(url))).toEqual([]);
  });

  it("pins every npm package to one version, and CDK's command line to one that reads aws-cdk-lib 2", () => {
    const { dependencies, devDependencies } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));
    for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies }))
      expect(version, name).toMatch(/^\d+\.\d+\.\d+$/);
    // npm's `latest` of aws-cdk is 3.0.0, which cannot; `middy` without a scope is a library of 2020.
    expect(devDependencies["aws-cdk"]).toMatch(/^2\./);
    expect(dependencies["aws-cdk-lib"]).toMatch(/^2\./);
    expect(dependencies).not.toHaveProperty("middy");
    // Vitest, middy and commander need more than the machine's own Node 20.
    expect(devDependencies.node).toMatch(/^24\./);
  });

  it("pins every Python package with a hash", () => {
    const lock = readFileSync(path.join(root, "containers/requirements.lock"), "utf8");
    const pins = lock.split(/\n(?=[a-z0-9])/).filter((block) => /^[a-z0-9]/.test(block));
    expect(pins.length).toBeGreaterThan(50);
    for (const pin of pins) expect(pin).toMatch(/^[a-z0-9._-]+==\S+[\s\S]*--hash=sha256:[0-9a-f]{64}/);
  });
});
