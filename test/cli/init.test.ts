import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { init } from "../../lib/cli/commands/init.ts";
import { RECIPE_TEMPLATE } from "../../lib/cli/recipe-template.ts";
import { decathlonManifest, problemsOf, recipe } from "../../lib/contracts/index.ts";
import { pairCases } from "../../lib/local/pair-cases.ts";
import { temporaryFolder } from "../local/fixture.ts";

/** The smallest NIfTI-1 file with int16 voxels. */
function nifti(values: readonly number[]): Buffer {
  const file = Buffer.alloc(352 + 2 * values.length);
  file.writeInt32LE(348, 0);
  file.writeInt16LE(4, 70);
  file.writeFloatLE(352, 108);
  values.forEach((value, index) => {
    file.writeInt16LE(value, 352 + 2 * index);
  });
  return gzipSync(file);
}
const IMAGE = nifti([-1000, 40, 60]);

function folderWith(files: Record<string, Buffer>): string {
  const folder = temporaryFolder();
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    writeFileSync(path.join(folder, name), content);
  }
  return folder;
}
const pairsOf = (names: readonly string[]) => {
  const folder = folderWith(Object.fromEntries(names.map((name) => [name, IMAGE])));
  const { training, test: unlabelled } = pairCases(folder);
  return { training: training.map((one) => [one.id, one.images, one.label]), test: unlabelled.map((one) => one.id) };
};

describe("images and labels are paired", () => {
  test("in imagesTr and labelsTr, with imagesTs to predict", () => {
    expect(pairsOf(["imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "imagesTs/b.nii.gz"])).toEqual({
      training: [["a", ["imagesTr/a.nii.gz"], "labelsTr/a.nii.gz"]],
      test: ["b"],
    });
  });
  test("with nnU-Net's channel numbers, in their order", () => {
    expect(pairsOf(["imagesTr/a_0001.nii.gz", "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"]).training).toEqual([
      ["a", ["imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz"], "labelsTr/a.nii.gz"],
    ]);
  });
  test.each(["_seg", "-mask", ".label", "_segmentation"])("side by side, the label with the suffix %s", (suffix) => {
    expect(pairsOf(["a.nii.gz", `a${suffix}.nii.gz`]).training).toEqual([["a", ["a.nii.gz"], `a${suffix}.nii.gz`]]);
  });
  test("in a folder a case", () => {
    expect(pairsOf(["p1/image.nii.gz", "p1/label.nii.gz", "p2/ct.nii", "p2/mask.nii"]).training).toEqual([
      ["p1", ["p1/image.nii.gz"], "p1/label.nii.gz"],
      ["p2", ["p2/ct.nii"], "p2/mask.nii"],
    ]);
  });
  test("where an image is a folder of DICOM", () => {
    expect(pairsOf(["images/a/1.dcm", "images/a/2.dcm", "masks/a.nii.gz"]).training).toEqual([
      ["a", ["images/a"], "masks/a.nii.gz"],
    ]);
  });
});

describe("init", () => {
  const quiet = { emit: () => undefined };
  test("writes a manifest that validates, with the labels that the files have, and a recipe", async () => {
    const folder = folderWith({
      "imagesTr/a.nii.gz": IMAGE,
      "imagesTr/b.nii.gz": IMAGE,
      "labelsTr/a.nii.gz": nifti([0, 1, 1]),
      "labelsTr/b.nii.gz": nifti([0, 2, 0]),
      "imagesTs/c.nii.gz": IMAGE,
    });
    const result = await init(quiet, folder, {});
    expect(result).toMatchObject({ exitCode: 0, json: { training: 2, test: 1 } });
    const manifest = JSON.parse(readFileSync(path.join(folder, "dataset.json"), "utf8"));
    expect(problemsOf(decathlonManifest, manifest)).toEqual([]);
    expect(manifest).toMatchObject({
      modality: { "0": "CT" },
      labels: { "0": "background", "1": "structure1", "2": "structure2" },
      training: [{ id: "a", image: "imagesTr/a.nii.gz", label: "labelsTr/a.nii.gz" }, { id: "b" }],
    });
    expect(existsSync(path.join(folder, "recipe.yaml"))).toBe(true);
  });
  test("does not write over a manifest unless it is told to", async () => {
    const folder = folderWith({ "a.nii.gz": IMAGE, "a_seg.nii.gz": nifti([0, 1]), "dataset.json": Buffer.from("{}") });
    await expect(init(quiet, folder, {})).rejects.toMatchObject({ code: "ManifestExists" });
    expect((await init(quiet, folder, { force: true })).exitCode).toBe(0);
  });
  test("says so when there is nothing to pair", async () => {
    const folder = folderWith({ "a.nii.gz": IMAGE });
    await expect(init(quiet, folder, {})).rejects.toMatchObject({ code: "NothingToPair" });
  });
});

describe("the recipe that init writes", () => {
  test("changes nothing as it is", () => {
    expect(parse(RECIPE_TEMPLATE)).toBeNull();
  });
  test("is a recipe when every comment is taken away, and has every field", () => {
    const whole = parse(RECIPE_TEMPLATE.replaceAll(/^# (?=( {2})*[a-zA-Z]+:)/gm, ""));
    expect(problemsOf(recipe, whole)).toEqual([]);
    const fields = (schema: unknown): string[] => Object.keys((schema as { shape: object }).shape);
    expect(Object.keys(whole).sort()).toEqual(fields(recipe).sort());
    for (const part of ["plan", "train", "infer", "ingest", "capacity"] as const)
      expect(Object.keys(whole[part]).sort()).toEqual(fields(recipe.shape[part].unwrap()).sort());
  });
});
