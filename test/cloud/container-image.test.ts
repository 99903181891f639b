// The Dockerfile without a Docker engine: what it copies is there, in the asset that is sent to be built, and its pins
// are the lock's.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { App, Stack } from "aws-cdk-lib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { containerImage } from "../../lib/cloud/container-image.ts";

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
});
