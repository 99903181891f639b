// Set-up refuses what cannot work before it downloads anything.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");

/** A checkout whose Node packages are installed and whose Python packages are not. */
function checkoutWithoutVenv(tree: string) {
  for (const file of ["lib/setup/setup.mjs", "containers/requirements.lock", "package-lock.json"]) {
    mkdirSync(path.join(tree, path.dirname(file)), { recursive: true });
    copyFileSync(path.join(root, file), path.join(tree, file));
  }
  mkdirSync(path.join(tree, "node_modules/.bin"), { recursive: true });
  const lock = readFileSync(path.join(tree, "package-lock.json"));
  writeFileSync(path.join(tree, "node_modules/.voxelburst-lock"), createHash("sha256").update(lock).digest("hex"));
}

describe("set-up", () => {
  let tree: string;
  beforeEach(() => {
    tree = mkdtempSync(path.join(tmpdir(), "voxelburst-setup-"));
    checkoutWithoutVenv(tree);
  });
  afterEach(() => rmSync(tree, { recursive: true }));

  const setUp = (preload: string, env: Record<string, string> = {}) =>
    spawnSync(process.execPath, ["--import", `data:text/javascript,${preload}`, "lib/setup/setup.mjs"], {
      cwd: tree,
      encoding: "utf8",
      env: { ...process.env, ...env },
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

  it("refuses a machine without a Python that the lock is made for", () => {
    const old = path.join(tree, "old-python");
    writeFileSync(old, "#!/bin/sh\necho 3.9\n");
    chmodSync(old, 0o755);
    const { status, stderr } = setUp("0", { VOXELBURST_PYTHON: old, PATH: tree });
    expect(status).toBe(1);
    expect(stderr).toContain("PythonNotFound");
    expect(stderr).toContain("is 3.9");
  });

  it("refuses a disk that cannot hold the packages", () => {
    const preload =
      "import fs from 'node:fs';import m from 'node:module';fs.statfsSync=()=>({bavail:1,bsize:4096});m.syncBuiltinESMExports()";
    const { status, stderr } = setUp(preload);
    expect(status).toBe(1);
    expect(stderr).toContain("DiskTooSmall");
  });

  it("says how much it will download before it does", () => {
    const failing = path.join(tree, "python-without-venv");
    writeFileSync(failing, '#!/bin/sh\n[ "$1" = -c ] && echo 3.12 && exit 0\necho no ensurepip >&2; exit 1\n');
    chmodSync(failing, 0o755);
    const { status, stderr } = setUp("0", { VOXELBURST_PYTHON: failing });
    expect(status).toBe(1);
    expect(stderr.indexOf("6.5 GB")).toBeGreaterThanOrEqual(0);
    expect(stderr.indexOf("6.5 GB")).toBeLessThan(stderr.indexOf("PythonVenvMissing"));
    expect(stderr).toContain("python3-venv");
  });
});

describe("locks", () => {
  it.each(["package-lock.json", "containers/requirements.lock"])("%s names no host", (file) => {
    const hosts = readFileSync(path.join(root, file), "utf8").match(/https?:\/\/[^\s"]+/g) ?? [];
    // Funding links are metadata that npm copies; nothing is fetched from them.
    expect(hosts.filter((url) => /\.tgz|\.whl|registry|\/simple|index/.test(url))).toEqual([]);
  });

  it("pins every Python package with a hash", () => {
    const lock = readFileSync(path.join(root, "containers/requirements.lock"), "utf8");
    const pins = lock.split(/\n(?=[a-z0-9])/).filter((block) => /^[a-z0-9]/.test(block));
    expect(pins.length).toBeGreaterThan(50);
    for (const pin of pins) expect(pin).toMatch(/^[a-z0-9._-]+==\S+[\s\S]*--hash=sha256:[0-9a-f]{64}/);
  });
});
