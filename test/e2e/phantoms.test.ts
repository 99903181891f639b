// The whole pipeline on tiny phantoms through the command line: killed, resumed, dropped twice, a label corrected.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Report, report as reportSchema, result as resultSchema } from "../../lib/contracts/index.ts";
import type { HistoryEvent } from "../../lib/local/asl/index.ts";
import { processesOf } from "../../lib/local/processes.ts";

const checkout = fileURLToPath(new URL("../..", import.meta.url));
const root = mkdtempSync(path.join(tmpdir(), "voxelburst-e2e-"));
const home = path.join(root, "home");
const dataset = path.join(root, "phantoms");
const environment = { ...process.env, VOXELBURST_HOME: home };
/** Small enough for seconds, long enough to be killed in the middle: a checkpoint every half second. */
const SETTINGS = [
  "train.steps=80",
  "train.checkpointMinutes=0.01",
  "model.width=4",
  "plan.batch=2",
  "engines=onnxruntime",
];
const set = SETTINGS.flatMap((one) => ["--set", one]);

interface End {
  code: number | null;
  json: Record<string, unknown> & { runId: string; status: string; outcome: string };
  err: string;
  seconds: number;
}

function start(...args: string[]): ChildProcess & { end: Promise<End> } {
  const began = Date.now();
  const child = spawn(process.execPath, [path.join(checkout, "bin", "voxelburst.ts"), ...args, "--json"], {
    cwd: root,
    env: environment,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let out = "";
  let err = "";
  child.stdout!.setEncoding("utf8").on("data", (text: string) => {
    out += text;
  });
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    err += text;
  });
  const end = new Promise<End>((resolve) =>
    child.once("close", (code) =>
      resolve({ code, json: out.trim() ? JSON.parse(out) : {}, err, seconds: (Date.now() - began) / 1000 }),
    ),
  );
  return Object.assign(child, { end });
}
const voxelburst = (...args: string[]) => start(...args).end;

const runsFolder = path.join(home, "runs");
const runFolders = () => (existsSync(runsFolder) ? readdirSync(runsFolder) : []).map((id) => path.join(runsFolder, id));
const historyOf = (folder: string): HistoryEvent[] =>
  readFileSync(path.join(folder, "history.jsonl"), "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
const scheduled = (folder: string, stage: string) =>
  historyOf(folder).filter((event) =>
    // A job's own name; the ledger is told of it too.
    event.taskScheduledEventDetails?.parameters.includes(`JobName":"${stage}-`),
  ).length;
const reportOf = (end: End): Report => reportSchema.parse(JSON.parse(readFileSync(String(end.json.report), "utf8")));
const expected = () => JSON.parse(readFileSync(`${dataset}.expected.json`, "utf8"));

/** The process that trains, once it has written a checkpoint. */
async function untilTraining(...commands: { exitCode: number | null }[]): Promise<{ folder: string; pid: number }> {
  for (let tries = 0; tries < 1200; tries++) {
    // Of two that were started at once, one only names the other's run, and ends.
    if (commands.every((one) => one.exitCode !== null)) throw new Error("the run ended before it trained");
    for (const folder of runFolders()) {
      const jobs = existsSync(path.join(folder, "ml")) ? readdirSync(path.join(folder, "ml")) : [];
      for (const job of jobs.slice(-1)) {
        const checkpoints = path.join(folder, "ml", job, "checkpoints");
        const pid = processesOf(folder).find((one) => isTraining(one));
        if (
          pid !== undefined &&
          existsSync(checkpoints) &&
          readdirSync(checkpoints).some((name) => !name.startsWith("."))
        )
          return { folder, pid };
      }
    }
    await wait(100);
  }
  throw new Error("no checkpoint was written within two minutes");
}

function isTraining(pid: number): boolean {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    return (
      !words.some((word) => word.endsWith("launcher.py")) && words.includes("voxelburst") && words.includes("train")
    );
  } catch {
    return false;
  }
}

/** The result of the run's training, which tells the step that it went on from. */
function trainResult(folder: string) {
  const runId = path.basename(folder);
  const results = path.join(home, "store", "artefacts", "runs", runId, "results");
  const name = readdirSync(results).find((one) => one.startsWith("train-"))!;
  const parsed = resultSchema.parse(JSON.parse(readFileSync(path.join(results, name), "utf8")));
  if (parsed.stage !== "train") throw new Error("no result of a training");
  return parsed;
}

/** Another value of one voxel of a label, as somebody who corrects it would make. */
function correctLabel(file: string): void {
  const bytes = gunzipSync(readFileSync(file));
  const start = Math.floor(bytes.readFloatLE(108));
  const at = bytes.subarray(start).indexOf(1);
  bytes[start + at] = 0;
  writeFileSync(file, gzipSync(bytes));
}

beforeAll(() => {
  const python = path.join(checkout, ".venv", "bin", "python");
  const args = ["-m", "voxelburst", "phantoms", "--out", dataset, "--seed", "5", "--cases", "6", "--size", "20"];
  const made = spawnSync(python, args, { encoding: "utf8" });
  if (made.status !== 0) throw new Error(made.stderr + made.stdout);
}, 60_000);
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe("a dropped dataset", { timeout: 400_000 }, () => {
  let first: End;

  test("becomes a report, a model and masks, although the engine is killed while it trains", async () => {
    const killed = start("run", dataset, ...set);
    const { folder } = await untilTraining(killed);
    killed.kill("SIGKILL");
    await killed.end;
    for (let tries = 0; processesOf(folder).length > 0 && tries < 50; tries++) await wait(100);
    expect(processesOf(folder)).toEqual([]);
    const listed = await voxelburst("ps");
    expect(listed.json).toMatchObject({ runs: [{ runId: path.basename(folder), status: "interrupted" }] });

    first = await voxelburst("resume");
    expect(first.err).not.toContain("    at ");
    expect(first).toMatchObject({ code: 0, json: { status: "succeeded", runId: path.basename(folder) } });
    // Finished stages were not redone, and training went on from where it was.
    expect([scheduled(folder, "ingest"), scheduled(folder, "preprocess"), scheduled(folder, "train")]).toEqual([
      1, 1, 2,
    ]);
    expect(trainResult(folder).resumedFromStep).toBeGreaterThan(0);
    expect(trainResult(folder).steps).toBe(80);
  });

  test("puts exactly the planted bad cases into quarantine, each with its code", () => {
    const found = (first.json.quarantined as { caseId: string; code: string }[]).map(({ caseId, code }) => [
      caseId,
      code,
    ]);
    expect(Object.fromEntries(found)).toEqual(expected().quarantine);
  });

  test("leaves a mask for each validation and test case directly in the folder that it names", () => {
    const masks = readdirSync(String(first.json.masks)).filter((name) => name.endsWith(".nii.gz"));
    const scored = reportOf(first).segmentations[0]!.cases.map((one) => `${one.caseId}.nii.gz`);
    expect(masks.sort()).toEqual(scored.sort());
    expect(scored.length).toBeGreaterThan(1);
    for (const file of [first.json.html, first.json.report]) expect(existsSync(String(file))).toBe(true);
  });

  test("gives a model folder that predicts new images and needs nothing else", async () => {
    const [model] = first.json.models as string[];
    const out = path.join(root, "predicted");
    const images = path.join(dataset, "imagesTs");
    const end = await voxelburst("predict", model!, images, "--out", out);
    expect(end).toMatchObject({ code: 0, json: { status: "succeeded", out, errors: [] } });
    const masks = readdirSync(out).filter((name) => name.endsWith(".nii.gz"));
    expect(masks).toHaveLength(readdirSync(images).length);
    expect(Object.values(end.json.masks as object).sort()).toEqual(masks.map((name) => path.join(out, name)).sort());
  });

  test("is named and not repeated when it is dropped again, in a few seconds", async () => {
    const again = await voxelburst("run", dataset, ...set);
    expect(again).toMatchObject({ code: 0, json: { runId: first.json.runId, outcome: "succeeded" } });
    expect(again.err).toContain("every stage is skipped");
    expect(runFolders()).toHaveLength(1);
  });

  test("with one label corrected becomes one new run, also when dropped twice at once, and redoes what the label touches", async () => {
    const labels = path.join(dataset, "labelsTr");
    const { cases } = JSON.parse(readFileSync(String(first.json.report), "utf8")) as Report;
    correctLabel(path.join(labels, readdirSync(labels).filter((name) => name.startsWith("phantom"))[0]!));
    const [one, other] = [start("run", dataset, ...set), start("run", dataset, ...set)];
    const { folder, pid } = await untilTraining(one, other);
    expect(runFolders()).toHaveLength(2);
    // And its training process is killed.
    process.kill(pid, "SIGKILL");
    const ends = await Promise.all([one.end, other.end]);
    expect(ends.map((end) => end.json.outcome).sort()).toEqual(["open", "started"]);
    const failed = ends.find((end) => end.json.outcome === "started")!;
    expect(failed).toMatchObject({ code: 2, json: { status: "failed", error: { stage: "train" } } });
    expect(reportOf(failed).status).toBe("failed");

    const resumed = await voxelburst("resume", path.basename(folder));
    expect(resumed).toMatchObject({ code: 0, json: { status: "succeeded" } });
    const skipped = Object.fromEntries(reportOf(failed).stages.map((stage) => [stage.stage, stage.skipped]));
    expect(skipped.ingest).toBe(cases.training + cases.test - 1);
    const next = runFolders().find((one) => path.basename(one) === resumed.json.runId)!;
    expect(trainResult(next).resumedFromStep).toBeGreaterThan(0);
    expect(scheduled(next, "preprocess")).toBe(0);
  });
});
