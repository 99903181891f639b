// A dataset of classes through the command line, on tiny phantoms: scores, predictions, a model that classifies.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { caseScores, type Report, report as reportSchema } from "../../lib/contracts/index.ts";

const checkout = fileURLToPath(new URL("../..", import.meta.url));
const root = mkdtempSync(path.join(tmpdir(), "voxelburst-classes-"));
const dataset = path.join(root, "classes");
const CLASSES = ["without-lesion", "with-lesion"];
// Of the smallest size that still trains every step: what it learns in this time is not asked for.
const SETTINGS = ["train.steps=20", "model.width=4", "plan.batch=2", "engines=onnxruntime"];

function voxelburst(...args: string[]) {
  const program = path.join(checkout, "bin", "voxelburst.ts");
  const environment = { ...process.env, VOXELBURST_HOME: path.join(root, "home") };
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args, "--json"], {
    cwd: root,
    env: environment,
    encoding: "utf8",
  });
  return { code: status, json: stdout.trim() ? JSON.parse(stdout) : {}, err: stderr };
}
const linesOf = (folder: string) =>
  readdirSync(folder)
    .filter((name) => /^predictions\.\d+\.jsonl$/.test(name))
    .flatMap((name) => readFileSync(path.join(folder, name), "utf8").trim().split("\n"))
    .map((line) => JSON.parse(line));

beforeAll(() => {
  const python = path.join(checkout, ".venv", "bin", "python");
  const args = ["--out", dataset, "--seed", "5", "--cases", "12", "--test-cases", "2", "--size", "20", "--classes"];
  const made = spawnSync(python, ["-m", "voxelburst", "phantoms", ...args], { encoding: "utf8" });
  if (made.status !== 0) throw new Error(made.stderr + made.stdout);
}, 60_000);
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe("a dropped dataset of classes", { timeout: 180_000 }, () => {
  let run: ReturnType<typeof voxelburst>;
  let report: Report;

  test("becomes a report with AUC and accuracy of its validation cases", () => {
    run = voxelburst("run", dataset, ...SETTINGS.flatMap((one) => ["--set", one]));
    expect(run.err).not.toContain("    at ");
    expect(run).toMatchObject({ code: 0, json: { status: "succeeded", masks: null, meanDice: null } });
    report = reportSchema.parse(JSON.parse(readFileSync(run.json.report, "utf8")));
    expect(report.segmentations).toEqual([]);
    const [found] = report.classifications;
    expect(found!.classes.map((one) => one.class)).toEqual(CLASSES);
    const validated = found!.cases.filter((one) => one.part === "validation").map((one) => one.classification!);
    expect(validated.length).toBeGreaterThan(1);
    // The scores are those of the cases' own probabilities.
    const right = validated.filter((one) => one.predicted === one.reference).length;
    expect(found!.accuracy).toBeCloseTo(right / validated.length);
    const [lesion, none] = [CLASSES[1]!, CLASSES[0]!].map((name) =>
      validated.filter((one) => one.reference === name).map((one) => one.probabilities[CLASSES[1]!]!),
    );
    const won = lesion!.flatMap((a) => none!.map((b): number => (a > b ? 1 : a === b ? 0.5 : 0)));
    expect(found!.auc).toBeCloseTo(won.reduce((sum, one) => sum + one, 0) / won.length);
    expect(run.json).toMatchObject({ auc: found!.auc, accuracy: found!.accuracy });
    expect(readFileSync(run.json.html, "utf8")).toContain("with-lesion");
  });

  test("leaves a prediction for each validation and test case in the folder that it names", () => {
    const lines = linesOf(run.json.predictions);
    const scored = report.classifications[0]!.cases.map((one) => caseScores.parse(one).caseId);
    expect(lines.map((line) => line.caseId).sort()).toEqual(scored.sort());
    expect(scored.filter((id) => id.startsWith("phantom-test"))).toHaveLength(2);
  });

  test("gives a model folder that classifies new images", () => {
    const out = path.join(root, "predicted");
    const images = path.join(dataset, "imagesTs");
    const end = voxelburst("predict", run.json.models[0], images, "--out", out);
    expect(end).toMatchObject({ code: 0, json: { status: "succeeded", masks: {}, errors: [] } });
    const rows = readFileSync(path.join(out, "predictions.csv"), "utf8").trim().split(/\r?\n/);
    expect(rows).toHaveLength(1 + readdirSync(images).length);
    const predictions = Object.values(end.json.predictions) as {
      predicted: string;
      probabilities: Record<string, number>;
    }[];
    expect(predictions).toHaveLength(readdirSync(images).length);
    for (const { predicted, probabilities } of predictions) {
      expect(Object.keys(probabilities).sort()).toEqual([...CLASSES].sort());
      expect(Object.values(probabilities).reduce((sum, one) => sum + one, 0)).toBeCloseTo(1, 4);
      expect(probabilities[predicted]).toBe(Math.max(...Object.values(probabilities)));
    }
  });

  test("is refused with another model, before anything runs", () => {
    const end = voxelburst("run", dataset, "--set", "model.name=unet3d");
    expect(end).toMatchObject({ code: 2, json: { error: { code: "ModelUnfit" } } });
    expect(end.json.error.remedy).toContain("resnet3d");
  });
});
