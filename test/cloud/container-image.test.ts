// The Dockerfile without a Docker engine: what it copies is there, in the asset that is sent to be built, and its pins
// are the lock's.
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { App, Stack } from "aws-cdk-lib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { containerImage } from "../../lib/cloud/container-image.ts";
import { CONTAINER_USER } from "../../lib/stages/stage-job.ts";

const root = path.resolve(import.meta.dirname, "../..");
const dockerfile = readFileSync(path.join(root, "containers/images/gpu.Dockerfile"), "utf8");
const lock = readFileSync(path.join(root, "containers/requirements.lock"), "utf8");

describe("the container image", () => {
  let outdir: string;
  let context: string;
  beforeAll(() => {
    outdir = mkdtempSync(path.join(tmpdir(), "voxelburst-image-"));
    const stack = new Stack(new App({ outdir }), "Images");
    context = path.join(outdir, `asset.${containerImage(stack, "Image").assetHash}`);
  });
  afterAll(() => rmSync(outdir, { recursive: true }));

  it("finds every source that it copies in its build context", () => {
    const sources = [...dockerfile.matchAll(/^COPY (.+) \S+$/gm)].flatMap(([, names]) => names!.split(" "));
    expect(sources.length).toBeGreaterThanOrEqual(4);
    for (const source of sources) expect(existsSync(path.join(context, source)), source).toBe(true);
  });

  it("is built of nothing else: no data, no tests, no caches", () => {
    for (const other of ["package.json", "node_modules", "test", "containers/tests", "lib/cloud"])
      expect(existsSync(path.join(context, other)), other).toBe(false);
  });

  it("stands on the PyTorch that the lock names", () => {
    const locked = /^torch==(\d+\.\d+)/m.exec(lock)?.[1];
    expect(dockerfile).toContain(`torch.__version__.startswith('${locked}.')`);
    expect(dockerfile).toMatch(/^FROM nvcr\.io\/nvidia\/pytorch:\d\d\.\d\d-py3$/m);
  });

  it("installs the lock's own pins and hashes, without PyTorch, its CUDA libraries and the tools of development", () => {
    const script = path.join(root, "containers/images/lock_around_torch.py");
    const { stdout } = spawnSync("python3", [script, path.join(root, "containers/requirements.lock")], {
      encoding: "utf8",
    });
    const names = [...stdout.matchAll(/^([a-z0-9._-]+)==/gm)].map(([, name]) => name);
    expect(names).toEqual(
      expect.arrayContaining(["monai", "nibabel", "pydicom", "onnxruntime", "s3fs", "nvidia-dali-cuda130", "numpy"]),
    );
    const brought = /^(torch|triton|nvidia-(cublas|cudnn|nccl|cuda|cufft|cusolver|cusparse).*|cuda-.*)$/;
    expect(names.filter((name) => brought.test(name!))).toEqual([]);
    expect(names.filter((name) => /^(pytest|ruff|mypy|hypothesis|uv)$/.test(name!))).toEqual([]);
    for (const line of stdout.split("\n").filter(Boolean)) expect(lock).toContain(line);
  });

  it("has SageMaker's `train` and `serve` as commands of its entry point", () => {
    expect(dockerfile).toMatch(/^ENTRYPOINT \[.*"python", "-m", "voxelburst"\]$/m);
    const entry = readFileSync(path.join(root, "containers/src/voxelburst/__main__.py"), "utf8");
    expect(entry).toMatch(/STAGES = \([^)]*"train"/);
    expect(entry).toMatch(/"serve": "voxelburst\.serve"/);
  });

  it("has the user that Batch's job definitions run as, and leaves root to SageMaker", () => {
    expect(dockerfile).toMatch(new RegExp(`^RUN useradd --uid ${CONTAINER_USER} `, "m"));
    expect(dockerfile).not.toMatch(/^USER /m);
  });

  it("pins EFA's installer, and fails to build where NCCL would not find its plugin", () => {
    expect(dockerfile).toMatch(/^ARG EFA_INSTALLER_VERSION=\d+\.\d+\.\d+$/m);
    expect(dockerfile).toMatch(/efa_installer\.sh -y --enable-ngc/);
    expect(dockerfile).toMatch(/^RUN ldconfig -p \| grep --quiet 'libnccl-net'/m);
  });

  it("asks for the version matrix when a container starts", () => {
    expect(dockerfile).toMatch(/^ {4}VOXELBURST_IMAGE=\S+ \\$/m);
  });

  // About a gigabyte from the package index: VOXELBURST_SLOW_TESTS=1 asks for it.
  it.skipIf(!process.env.VOXELBURST_SLOW_TESTS)(
    "installs and imports its packages in a fresh root with nothing but the package index",
    () => {
      const place = mkdtempSync(path.join(tmpdir(), "voxelburst-root-"));
      try {
        const opt = path.join(place, "opt/voxelburst");
        mkdirSync(opt, { recursive: true });
        for (const file of ["containers/requirements.lock", "containers/images/lock_around_torch.py"])
          copyFileSync(path.join(context, file), path.join(opt, path.basename(file)));
        const run = (script: string) =>
          spawnSync("bash", ["-euc", script], {
            encoding: "utf8",
            cwd: place,
            env: { PATH: `${place}/venv/bin:${process.env.PATH}`, HOME: place, TMPDIR: place },
            maxBuffer: 1 << 28,
          });
        expect(run("python3 -m venv venv").status).toBe(0);
        const steps = pythonSteps(dockerfile);
        expect(steps).toHaveLength(2);
        for (const step of steps) {
          const { status, stdout, stderr } = run(step.replaceAll("/opt/voxelburst", opt));
          expect(status, `${step}\n${stdout.slice(-2000)}\n${stderr.slice(-2000)}`).toBe(0);
        }
      } finally {
        rmSync(place, { recursive: true, force: true });
      }
    },
    3_600_000,
  );
});

/** The RUN steps that Python does, without what the base image brings: PyTorch and TensorRT. */
function pythonSteps(text: string): string[] {
  return [...text.matchAll(/^RUN (python (?:.*\\\n)*.*)$/gm)].map(([, step]) =>
    step!
      .replaceAll("\\\n", " ")
      .replace("import torch, ", "import ")
      // It imports PyTorch itself.
      .replace("monai, ", "")
      .replace(", tensorrt;", ";")
      .replace(/;\s*assert torch\..*"$/, '"'),
  );
}
