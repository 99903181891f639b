#!/usr/bin/env node
// Sets the checkout up and runs a task: `node lib/setup/setup.mjs [demo|test]`.
// Plain JavaScript without dependencies: it runs on the machine's own Node (>= 20), before anything is installed.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const venv = path.join(root, ".venv");
const bin = path.join(root, "node_modules", ".bin");
const lockFile = path.join(root, "containers", "requirements.lock");
const nodeStamp = path.join(root, "node_modules", ".voxelburst-lock");
const pythonStamp = path.join(venv, ".voxelburst-lock");
const torchIndex = process.env.VOXELBURST_TORCH_INDEX ?? "";
const NODE_GIB = 1; // 0.7 GB of Node packages and npm's unpacking
const ALL_GIB = 9; // 6.5 GB of Python packages, the Node packages, room to unpack the largest wheel

/** Stops with one sentence, its code and a remedy. */
function refuse(code, sentence, remedy) {
  console.error(`${code}: ${sentence}\n  what to do: ${remedy}`);
  process.exit(1);
}

const sha256 = (...texts) => texts.reduce((h, t) => h.update(t), createHash("sha256")).digest("hex");

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: "inherit", ...options });
  if (result.error)
    refuse(
      "SetupCommandFailed",
      `${command} could not be started: ${result.error.message}.`,
      "Install it, or put it on the PATH, and run the same command again.",
    );
  if (result.status !== 0)
    refuse(
      "SetupCommandFailed",
      `${[command, ...args].join(" ")} ended with ${result.status ?? result.signal}.`,
      "Read the lines above; a network failure is safe to retry: what is installed stays.",
    );
}

function checkPlatform() {
  const [major] = process.versions.node.split(".").map(Number);
  if (major < 20)
    refuse(
      "NodeTooOld",
      `Node ${process.versions.node} is on the PATH, 20 or newer is needed.`,
      "Install a newer Node.",
    );
  const glibc = process.report.getReport().header.glibcVersionRuntime;
  const got = `${process.platform}-${process.arch}${process.platform === "linux" && !glibc ? " with musl" : ""}`;
  if (process.platform !== "linux" || process.arch !== "x64" || !glibc) {
    refuse(
      "UnsupportedPlatform",
      `This is ${got}; voxelburst runs on linux-x64 with glibc 2.28 or newer, where NVIDIA DALI and PyTorch have wheels.`,
      "Use a Linux machine, a virtual machine, or a container based on Debian or Ubuntu (on Windows: WSL 2).",
    );
  }
  const [gMajor, gMinor] = glibc.split(".").map(Number);
  if (gMajor < 2 || (gMajor === 2 && gMinor < 28)) {
    refuse(
      "UnsupportedPlatform",
      `This system has glibc ${glibc}; 2.28 or newer is needed.`,
      "Use Debian 10, Ubuntu 20.04, RHEL 8 or newer.",
    );
  }
}

function findPython() {
  const tried = [];
  const names = [process.env.VOXELBURST_PYTHON, "python3", "python3.13", "python3.12", "python3.11", "python"].filter(
    Boolean,
  );
  for (const name of names) {
    const probe = spawnSync(name, ["-c", "import sys; print('%d.%d' % sys.version_info[:2])"], { encoding: "utf8" });
    if (probe.status !== 0) continue;
    const version = probe.stdout.trim();
    tried.push(`${name} is ${version}`);
    const [major, minor] = version.split(".").map(Number);
    if (major === 3 && minor >= 11 && minor <= 13) return name;
  }
  return refuse(
    "PythonNotFound",
    `Python 3.11 to 3.13 is needed; ${tried.length ? `found: ${tried.join(", ")}` : "none was found"}.`,
    "Install one, or name it in VOXELBURST_PYTHON.",
  );
}

/** Whether what a stamp names was installed from these very locks. */
const installed = (stamp, wanted) => existsSync(stamp) && readFileSync(stamp, "utf8") === wanted;

function checkSpace(neededGib) {
  const { bavail, bsize } = statfsSync(root);
  const freeGib = (bavail * bsize) / 2 ** 30;
  if (freeGib < neededGib) {
    refuse(
      "DiskTooSmall",
      `${freeGib.toFixed(1)} GiB are free where the checkout is; this set-up needs ${neededGib}.`,
      "Free some space, or clone onto another disk.",
    );
  }
}

function saySize() {
  console.error(
    torchIndex
      ? "setup: will install the Python packages into .venv, with PyTorch from the index in VOXELBURST_TORCH_INDEX,\n" +
          "       and 0.7 GB of Node packages where they are missing."
      : "setup: will install PyTorch, DALI, MONAI and what they need into .venv: about 6.5 GB on disk with CUDA's libraries,\n" +
          "       which PyPI's PyTorch cannot be imported without; and 0.7 GB of Node packages where they are missing.\n" +
          "       For a CPU-only PyTorch set VOXELBURST_TORCH_INDEX to its index.",
  );
}

function setUpNode(wanted) {
  console.error("setup: installing Node 24 and the Node packages of package-lock.json (0.7 GB) ...");
  run("npm", ["ci", "--no-audit", "--no-fund"]);
  writeFileSync(nodeStamp, wanted);
}

function writeLauncher() {
  // A launcher, not a link to the .ts: the machine's own Node may be 20, which cannot read it.
  const launcher = path.join(bin, "voxelburst");
  rmSync(launcher, { force: true });
  // Stripping types and compiling are half of a command's start: Node keeps what it made of them.
  const lines = [
    "#!/bin/sh",
    'root="$(dirname "$0")/../.."',
    'export NODE_COMPILE_CACHE="$root/node_modules/.cache/node"',
    'exec "$root/node_modules/.bin/node" "$root/bin/voxelburst.ts" "$@"',
  ];
  writeFileSync(launcher, `${lines.join("\n")}\n`, { mode: 0o755 });
}

/** The lines of the lock that hold one package's pin and hashes. */
function pinOf(name, lock) {
  const match = new RegExp(`^${name}==[^\\n]*\\\\\\n(?:    --hash=[^\\n]*\\n?)+`, "m").exec(lock);
  if (!match) throw new Error(`no ${name} in ${lockFile}`);
  return match[0];
}

/** The lock without PyTorch and the CUDA libraries that only it needs, for a CPU-only PyTorch from another index. */
function withoutTorch(lock) {
  const blocks = lock.split(/\n(?=[a-z0-9])/);
  const cudaOfTorch =
    /^(torch|triton|cuda-bindings|cuda-pathfinder|cuda-toolkit|nvidia-(cublas|cuda-|cudnn|cufft|cufile|curand|cusolver|cusparse|nccl|nvjitlink|nvshmem|nvtx))/;
  return blocks.filter((block) => !cudaOfTorch.test(block)).join("\n");
}

/** Makes .venv, which downloads nothing: Debian's Python without its venv package is found out here. */
function makeVenv(python) {
  if (existsSync(path.join(venv, "bin", "pip"))) return;
  rmSync(venv, { recursive: true, force: true });
  const made = spawnSync(python, ["-m", "venv", venv], { cwd: root, encoding: "utf8" });
  if (made.status !== 0)
    refuse(
      "PythonVenvMissing",
      `${python} -m venv failed: ${(made.stderr || made.stdout).trim().split("\n").at(-1)}.`,
      "On Debian and Ubuntu: apt-get install python3-venv.",
    );
}

function setUpPython(lock, wanted) {
  console.error("setup: installing the Python packages of containers/requirements.lock into .venv ...");
  const scratch = path.join(venv, "setup");
  mkdirSync(scratch, { recursive: true });
  const uvPin = path.join(scratch, "uv.txt");
  writeFileSync(uvPin, pinOf("uv", lock));
  run(path.join(venv, "bin", "pip"), ["install", "-q", "--disable-pip-version-check", "--require-hashes", "-r", uvPin]);
  const uv = path.join(venv, "bin", "uv");
  const env = { ...process.env, VIRTUAL_ENV: venv };
  if (torchIndex) {
    const rest = path.join(scratch, "without-torch.txt");
    writeFileSync(rest, withoutTorch(lock));
    run(uv, ["pip", "sync", "--require-hashes", rest], { env });
    const version = /^torch==(\S+)/m.exec(lock)?.[1];
    run(uv, ["pip", "install", "--no-deps", "--index-url", torchIndex, `torch==${version}`], { env });
  } else {
    run(uv, ["pip", "sync", "--require-hashes", lockFile], { env });
  }
  const site = spawnSync(path.join(venv, "bin", "python"), ["-c", "import site; print(site.getsitepackages()[0])"], {
    encoding: "utf8",
  }).stdout.trim();
  writeFileSync(path.join(site, "voxelburst.pth"), `${path.join(root, "containers", "src")}\n`);
  rmSync(scratch, { recursive: true });
  writeFileSync(pythonStamp, wanted);
}

checkPlatform();
const lock = readFileSync(lockFile, "utf8");
const wantedNode = sha256(readFileSync(path.join(root, "package-lock.json")));
const wantedPython = sha256(lock, torchIndex);
const needsNode = !installed(nodeStamp, wantedNode);
const needsPython = !installed(pythonStamp, wantedPython);

// All that can be refused is refused, and the size is said, before the first byte is downloaded.
if (needsNode || needsPython) checkSpace(needsPython ? ALL_GIB : NODE_GIB);
if (needsPython) {
  const python = findPython();
  saySize();
  makeVenv(python);
}
if (needsNode) setUpNode(wantedNode);
writeLauncher();
if (needsPython) setUpPython(lock, wantedPython);

const task = process.argv[2];
const env = { ...process.env, PATH: `${bin}:${process.env.PATH}` };
const rest = process.argv.slice(3);
if (task === "demo") {
  process.exitCode =
    spawnSync(path.join(bin, "node"), ["bin/voxelburst.ts", "demo", ...rest], { cwd: root, stdio: "inherit", env })
      .status ?? 1;
} else if (task === "test") {
  process.exitCode =
    spawnSync(path.join(bin, "node"), ["lib/setup/test.ts", ...rest], { cwd: root, stdio: "inherit", env }).status ?? 1;
} else {
  console.error("setup: ready");
}
