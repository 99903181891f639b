import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test, vi } from "vitest";
import { benchTable, compareRows, keyOf, mergeRounds, nameOf, ratiosOf } from "../../lib/cli/bench-rows.ts";
import { main } from "../../lib/cli/main.ts";
import type { BenchRow } from "../../lib/contracts/index.ts";
import { checkout } from "../../lib/local/home.ts";
import { temporaryFolder } from "../local/fixture.ts";

const training = (
  strategy: BenchRow["strategy"],
  patchesPerSecond: number,
  more: Partial<BenchRow> = {},
): BenchRow => ({
  kind: "training",
  strategy,
  augmentation: "mlperf",
  precision: strategy === "fp32" ? "fp32" : "bf16",
  batch: 8,
  patch: [128, 128, 128],
  patchesPerSecond,
  ...more,
});

describe("rounds", () => {
  test("become one row of medians, with their spread", () => {
    const rounds = [10, 14, 11].map((speed) => [training("amp", speed, { p50Ms: 1000 / speed }), training("fp32", 2)]);
    const [amp, fp32] = mergeRounds(rounds);
    expect(amp).toMatchObject({ patchesPerSecond: 11, repeats: 3, p50Ms: 1000 / 11 });
    expect(amp!.spread).toBeCloseTo(4 / 11);
    expect(fp32).toMatchObject({ patchesPerSecond: 2, spread: 0 });
  });
  test("keep a row as it is when there is one", () => {
    const rows = [training("fused", 70)];
    expect(mergeRounds([rows])).toEqual(rows);
  });
  test("never mix rows of another patch, batch, precision, ablation or augmentation", () => {
    const rows = [
      training("fused", 1),
      training("fused", 1, { batch: 2 }),
      training("fused", 1, { patch: [64, 64, 64] }),
      training("fused", 1, { precision: "fp16" }),
      training("fused", 1, { without: "graph" }),
      training("fused", 1, { augmentation: "recipe" }),
      training("ddp", 1, { gpus: 2 }),
      training("ddp", 1, { gpus: 8 }),
    ];
    expect(new Set(rows.map(keyOf)).size).toBe(rows.length);
  });
});

test("a row of several GPUs says how many, how it scales and what its gradients' sum costs", () => {
  const rows = [
    training("fused", 75),
    training("ddp", 592, {
      gpus: 8,
      patchesPerSecondPerGpu: 74,
      scalingEfficiency: 0.9867,
      allReduceMs: 3,
      overlapShare: 0.5,
    }),
  ];
  expect(nameOf(rows[1]!)).toBe("ddp x 8, bf16, mlperf augmentation");
  const { columns, rows: cells } = benchTable({ rows });
  expect(columns.map(({ title }) => title)).toEqual([
    "row",
    "batch",
    "patches/s",
    "a GPU",
    "scaling",
    "all-reduce ms",
    "hidden",
  ]);
  expect(cells[1]!.slice(2)).toEqual(["592", "74.0", "98.7 %", "3.00", "50.0 %"]);
});

describe("a comparison", () => {
  const before = [training("amp", 100, { dice: 0.88 }), training("fused", 200, { dice: 0.89 })];
  test("finds what became slower than the tolerance allows, and what lost Dice", () => {
    const now = [training("amp", 94, { dice: 0.88 }), training("fused", 199, { dice: 0.87 })];
    const { compared, regressions, missing } = compareRows(before, now, 0.05, 0.01);
    expect({ compared, missing }).toEqual({ compared: 2, missing: [] });
    expect(regressions.map(({ figure, was, is }) => ({ figure, was, is }))).toEqual([
      { figure: "speed", was: 100, is: 94 },
      { figure: "Dice", was: 0.89, is: 0.87 },
    ]);
  });
  test("lets what is within the tolerance pass, and names what was not measured", () => {
    const { regressions, missing } = compareRows(before, [training("amp", 95.1, { dice: 0.871 })], 0.05, 0.01);
    expect(regressions).toEqual([]);
    expect(missing).toEqual(["fused, bf16, mlperf augmentation"]);
  });
});

test("ratios are to the first strategy, and of the fastest to each peer", () => {
  const rows: BenchRow[] = [
    training("fp32", 5),
    training("fused", 60),
    training("fused", 90, { without: "graph" }),
    { kind: "peer", peer: "monai", does: "training", patchesPerSecond: 30 },
  ];
  expect(ratiosOf(rows).map(({ times }) => times)).toEqual([12, 2]);
});

test("a whole command of ours is compared with the peer's that does the same, and with no other", () => {
  const rows: BenchRow[] = [
    { kind: "command", does: "preprocess, whole command", volumesPerSecond: 60 },
    { kind: "command", does: "predict, file to mask, whole command, mirroring", volumesPerSecond: 12 },
    { kind: "peer", peer: "nnunet", does: "preprocess, whole command", volumesPerSecond: 6 },
    { kind: "peer", peer: "nnunet", does: "fingerprint, plan and preprocess", volumesPerSecond: 3 },
    { kind: "peer", peer: "nnunet", does: "predict, file to mask, whole command, mirroring", volumesPerSecond: 1 },
  ];
  expect(ratiosOf(rows)).toEqual([
    {
      ours: "preprocess, whole command",
      theirs: "nnunet: preprocess, whole command",
      unit: "volumes/s",
      times: 10,
    },
    {
      ours: "predict, file to mask, whole command, mirroring",
      theirs: "nnunet: predict, file to mask, whole command, mirroring",
      unit: "volumes/s",
      times: 12,
    },
  ]);
});

test("an inferer that reads and writes no file is compared with our steady state from file to mask", () => {
  const rows: BenchRow[] = [
    { kind: "command", does: "predict, file to mask, whole command, no mirroring", volumesPerSecond: 1 },
    { kind: "command", does: "predict, file to mask, steady state, no mirroring", volumesPerSecond: 1.5 },
    { kind: "command", does: "predict, file to mask, steady state, mirroring", volumesPerSecond: 0.2 },
    {
      kind: "peer",
      peer: "monai",
      does: "sliding_window_inference of 200x512x512, overlap 0.5, TF32",
      volumesPerSecond: 0.5,
    },
  ];
  expect(ratiosOf(rows).map(({ ours, times }) => [ours, times])).toEqual([
    ["predict, file to mask, steady state, no mirroring", 3],
  ]);
});

test("the table leaves columns out that no row has, and never fills a gap", () => {
  const table = benchTable({ rows: [training("fp32", 5, { gpuBusyPercent: 97 }), training("amp", 30)] });
  expect(table.columns.map(({ title }) => title)).toEqual(["row", "batch", "patches/s", "GPU busy"]);
  expect(table.rows[1]).toEqual(["amp, bf16, mlperf augmentation", "8", "30.0", "not measured"]);
});

describe("the command", { timeout: 300_000 }, () => {
  const tiny = "--strategies fp32 --augmentations mlperf --size 24 --patch 16 --width 4 --batch 2 --cases 2".split(" ");
  const short = "--warm-up 2 --steps 2 --seconds 0 --json".split(" ");

  async function bench(...args: string[]) {
    let out = "";
    const spies = [
      vi.spyOn(process.stdout, "write").mockImplementation((text) => {
        out += String(text);
        return true;
      }),
      vi.spyOn(process.stderr, "write").mockImplementation(() => true),
    ];
    try {
      return { code: await main(["bench", ...args]), json: () => JSON.parse(out) };
    } finally {
      for (const spy of spies) spy.mockRestore();
    }
  }

  test("writes rows with hardware and commit, compares with them, and ends with 6 when speed fell", async () => {
    const folder = temporaryFolder();
    vi.stubEnv("VOXELBURST_HOME", path.join(folder, "home"));
    const file = path.join(folder, "rows.json");
    const first = await bench(...tiny, ...short, "--out", file);
    expect(first.code).toBe(0);
    const written = JSON.parse(readFileSync(file, "utf8"));
    expect(written).toMatchObject({ schema: 1, commit: expect.stringMatching(/^([0-9a-f]{40}(-dirty)?|unknown)$/) });
    expect(written.hardware).not.toBe("");
    expect(written.rows).toMatchObject([{ kind: "training", strategy: "fp32", patchesPerSecond: expect.any(Number) }]);
    expect(first.json().bench).toEqual(written);

    const faster = { ...written, rows: [{ ...written.rows[0], patchesPerSecond: 1e6 }] };
    writeFileSync(file, JSON.stringify(faster));
    const second = await bench(...tiny, ...short, "--repeats", "1", "--against", file, "--tolerance", "5%");
    expect(second.code).toBe(6);
    expect(second.json()).toMatchObject({ status: "regression", comparison: { compared: 1 } });

    writeFileSync(file, JSON.stringify({ ...written, hardware: "an abacus" }));
    expect((await bench(...tiny, ...short, "--against", file)).code).toBe(1);
    vi.unstubAllEnvs();
  });

  test("keeps the rows that it had finished when it is cancelled", async () => {
    const folder = temporaryFolder();
    const file = path.join(folder, "rows.json");
    const many = [...tiny.with(1, "fp32,amp,fp32,amp,fp32,amp,fp32,amp"), ...short, "--out", file];
    const command = spawn(process.execPath, [path.join(checkout, "bin", "voxelburst.ts"), "bench", ...many], {
      env: { ...process.env, VOXELBURST_HOME: path.join(folder, "home") },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let said = "";
    let stopped = false;
    command.stderr.on("data", (text) => {
      said += String(text);
      if (stopped || !/[1-7]\/8 rows/.test(said)) return;
      stopped = true;
      command.kill("SIGINT");
    });
    const [code] = await once(command, "close");
    expect(code, said).toBe(130);
    const written = JSON.parse(readFileSync(file, "utf8"));
    expect(written.rows.length).toBeGreaterThan(0);
    expect(written.failed).toMatchObject([{ row: "the rest", code: "Cancelled" }]);
  });

  test.each([
    ["a tolerance that is no share", ["--tolerance", "fast"]],
    ["an unknown peer", ["--compare", "matlab"]],
    ["a file that is not there", ["--against", "nowhere.json"]],
  ])("refuses %s", async (_, args) => {
    const { code } = await bench(...args, "--json");
    expect(code).toBe(1);
  });
});
