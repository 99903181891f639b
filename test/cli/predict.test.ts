// Several model folders at the command line are one ensemble for the process behind it.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { type PredictOptions, predictArguments } from "../../lib/cli/commands/predict.ts";

const root = mkdtempSync(path.join(tmpdir(), "voxelburst-predict-"));
afterAll(() => rmSync(root, { recursive: true }));
const [fold0, fold1, bare] = ["fold0", "fold1", "bare"].map((name) => {
  const folder = path.join(root, name);
  mkdirSync(folder);
  return folder;
}) as [string, string, string];
for (const folder of [fold0, fold1]) writeFileSync(path.join(folder, "model.json"), "{}");
const image = path.join(root, "image.nii.gz");
writeFileSync(image, "");

const argumentsOf = (paths: string[], options: Partial<PredictOptions> = {}) =>
  predictArguments(paths, { out: path.join(root, "out"), model: [], ...options });

describe("predict", () => {
  test("takes the first argument for the model where --model names none", () => {
    expect(argumentsOf([fold0, image])).toEqual([
      ...["predict", "--model", fold0, "--images", image, "--out", path.join(root, "out")],
    ]);
  });

  test("hands several models on together, and all arguments as images", () => {
    const found = argumentsOf([image, root], { model: [fold0, fold1], engine: "torch" });
    expect(found).toEqual([
      ...["predict", "--model", fold0, fold1, "--images", image, root],
      ...["--out", path.join(root, "out"), "--engine", "torch"],
    ]);
  });

  test.each([
    ["a folder without a model", [image], { model: [fold0, bare] }, "ModelMissing"],
    ["a model that counts twice", [image], { model: [fold0, `${fold0}/`] }, "UsageInvalid"],
    ["a model and no image", [fold0], {}, "UsageInvalid"],
    ["an image that is not there", [fold0, path.join(root, "nothing")], {}, "ImagesMissing"],
  ])("refuses %s", (_, paths, options, code) => {
    expect(() => argumentsOf(paths, options)).toThrow(expect.objectContaining({ code }));
  });
});
