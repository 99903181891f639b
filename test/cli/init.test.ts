import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { init } from "../../lib/cli/commands/init.ts";
import type { Message } from "../../lib/cli/messages.ts";
import { RECIPE_TEMPLATE } from "../../lib/cli/recipe-template.ts";
import { decathlonManifest, problemsOf, recipe } from "../../lib/contracts/index.ts";
import { niftiAt, pairCases, pairEntries } from "../../lib/local/pair-cases.ts";
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
const pairs = (names: readonly string[]) => {
  const folder = folderWith(Object.fromEntries(names.map((name) => [name, IMAGE])));
  return pairCases(folder);
};
const pairsOf = (names: readonly string[]) => {
  const { training, test: unlabelled, unpairedImages, unpairedLabels } = pairs(names);
  return {
    training: training.map((one) => [one.id, one.images, one.label]),
    test: unlabelled.map((one) => [one.id, one.images]),
    unpaired: [...unpairedImages, ...unpairedLabels],
  };
};

describe("images and labels are paired", () => {
  test("in imagesTr and labelsTr, with imagesTs to predict", () => {
    expect(pairsOf(["imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "imagesTs/b.nii.gz"])).toEqual({
      training: [["a", ["imagesTr/a.nii.gz"], "labelsTr/a.nii.gz"]],
      test: [["b", ["imagesTs/b.nii.gz"]]],
      unpaired: [],
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
  test("in a folder a case, which gets a neutral name", () => {
    expect(pairsOf(["p1/image.nii.gz", "p1/label.nii.gz", "p2/ct.nii", "p2/mask.nii"]).training).toEqual([
      ["case-0001", ["p1/image.nii.gz"], "p1/label.nii.gz"],
      ["case-0002", ["p2/ct.nii"], "p2/mask.nii"],
    ]);
  });
  test("where an image is a folder of DICOM, which gets a neutral name too", () => {
    expect(pairsOf(["images/ROE_JANE/1.dcm", "images/ROE_JANE/2.dcm", "masks/ROE_JANE.nii.gz"]).training).toEqual([
      ["case-0001", ["images/ROE_JANE"], "masks/ROE_JANE.nii.gz"],
    ]);
    expect(pairsOf(["p1/dicom/1.dcm", "p1/seg.nii.gz"]).training).toEqual([
      ["case-0001", ["p1/dicom"], "p1/seg.nii.gz"],
    ]);
  });
  test("by the whole folder: visits of the same name are cases of different patients", () => {
    const patients = [1, 2, 3, 4].map((number) => `patient${number}/visit1`);
    const { training, unpaired } = pairsOf(patients.flatMap((at) => [`${at}/image.nii.gz`, `${at}/label.nii.gz`]));
    expect(training).toEqual(
      patients.map((at, index) => [`case-000${index + 1}`, [`${at}/image.nii.gz`], `${at}/label.nii.gz`]),
    );
    expect(unpaired).toEqual([]);
  });
  test("never across patients, where one lacks its label and the other its image", () => {
    expect(pairsOf(["p1/images/a.nii.gz", "p2/labels/a.nii.gz", "p3/a.nii.gz", "p3/a_seg.nii.gz"])).toEqual({
      training: [["a", ["p3/a.nii.gz"], "p3/a_seg.nii.gz"]],
      test: [],
      unpaired: ["p1/images/a.nii.gz", "p2/labels/a.nii.gz"],
    });
  });
  test("never across folders of modalities", () => {
    expect(pairsOf(["ct/a.nii", "mr/a_seg.nii", "ct/b.nii", "ct/b_seg.nii", "mr/b.nii", "mr/b_seg.nii"])).toEqual({
      training: [
        ["case-0001", ["ct/b.nii"], "ct/b_seg.nii"],
        ["case-0002", ["mr/b.nii"], "mr/b_seg.nii"],
      ],
      test: [],
      unpaired: ["ct/a.nii", "mr/a_seg.nii"],
    });
    expect(pairsOf(["CT/a.nii", "Masks/a.nii"]).training).toEqual([["a", ["CT/a.nii"], "Masks/a.nii"]]);
  });
  test("with a neutral name where files of several folders have the same one", () => {
    const names = [
      "p1/a.nii.gz",
      "p1/a_seg.nii.gz",
      "p2/a.nii.gz",
      "p2/a_seg.nii.gz",
      "case-0001.nii",
      "case-0001_seg.nii",
    ];
    const ids = pairs(names).training.map((one) => one.id);
    expect(ids).toContain("case-0001");
    expect(new Set(ids).size).toBe(3);
    expect(ids).not.toContain("a");
  });
});

describe("images of a test split", () => {
  test("are to be predicted, also where they are named like images to train on", () => {
    const names = ["imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "imagesTs/a.nii.gz"];
    expect(pairsOf(names)).toEqual({
      training: [["a", ["imagesTr/a.nii.gz"], "labelsTr/a.nii.gz"]],
      test: [["case-0002", ["imagesTs/a.nii.gz"]]],
      unpaired: [],
    });
  });
  test.each(["test", "Test/images", "testing", "test_set", "images_test", "test-images", "testset/p1", "imgTs"])(
    "are those in %s",
    (folder) => {
      expect(pairsOf(["images/a.nii.gz", "labels/a.nii.gz", `${folder}/b.nii.gz`]).test).toEqual([
        ["b", [`${folder}/b.nii.gz`]],
      ]);
    },
  );
  test("never take a label; one beside them is told of", () => {
    expect(pairsOf(["a.nii", "a_seg.nii", "imagesTs/b.nii", "labelsTs/b.nii", "labelsTr/b.nii"])).toMatchObject({
      test: [["b", ["imagesTs/b.nii"]]],
      unpaired: ["labelsTr/b.nii", "labelsTs/b.nii"],
    });
  });
  test("have channels where those to train on have", () => {
    const two = (at: string) => [`${at}_0000.nii.gz`, `${at}_0001.nii.gz`];
    const labels = ["labelsTr/a.nii.gz"];
    expect(pairsOf([...two("imagesTr/a"), ...labels, ...two("imagesTs/b")]).test).toEqual([["b", two("imagesTs/b")]]);
  });
});

describe("a number at the end of a name", () => {
  const cases = ["brain_0000", "brain_0001", "brain_0002"];
  test("is the case's where the label has it", () => {
    const names = cases.flatMap((name) => [`imagesTr/${name}.nii.gz`, `labelsTr/${name}.nii.gz`]);
    expect(pairsOf([...names, "imagesTs/brain_0000.nii.gz", "imagesTs/brain_0003.nii.gz"])).toEqual({
      training: cases.map((name) => [name, [`imagesTr/${name}.nii.gz`], `labelsTr/${name}.nii.gz`]),
      test: [
        ["case-0004", ["imagesTs/brain_0000.nii.gz"]],
        ["brain_0003", ["imagesTs/brain_0003.nii.gz"]],
      ],
      unpaired: [],
    });
  });
  test("is a channel's where the label does not have it", () => {
    expect(pairsOf(["a_0000.nii", "a_seg.nii"]).training).toEqual([["a", ["a_0000.nii"], "a_seg.nii"]]);
  });
  test("is a channel's in a folder a case as well", () => {
    expect(pairsOf(["p/image_0000.nii", "p/image_0001.nii", "p/label.nii"]).training).toEqual([
      ["case-0001", ["p/image_0000.nii", "p/image_0001.nii"], "p/label.nii"],
    ]);
  });
});

describe("what is ambiguous is refused, with its files", () => {
  test.each([
    ["a channel twice", ["a_0000.nii", "a_0000.nii.gz", "a_seg.nii"]],
    ["a channel left out", ["a_0000.nii", "a_0002.nii", "a_seg.nii"]],
    ["channels that start at 1", ["a_0001.nii", "a_0002.nii", "a_seg.nii"]],
    ["channels in two folders", ["images/a_0000.nii", "scans/a_0001.nii", "labels/a.nii"]],
    ["two images of one label", ["p1/ct.nii", "p1/mr.nii", "p1/mask.nii"]],
    ["two labels of one image", ["a.nii", "a_seg.nii", "a_mask.nii"]],
    ["an image with and one without a channel's number", ["a.nii", "a_0001.nii", "a_seg.nii"]],
    ["a case to predict with a channel left out", ["a.nii", "a_seg.nii", "test/b_0000.nii", "test/b_0002.nii"]],
  ])("%s", (_, names) => {
    expect(() => pairs(names)).toThrow(
      expect.objectContaining({ code: "PairingAmbiguous", message: expect.stringMatching(/: .+, .+\.nii/) }),
    );
  });
  test("cases of different numbers of channels", () => {
    expect(() => pairs(["a_0000.nii", "a_0001.nii", "a_seg.nii", "b_0000.nii", "b_seg.nii"])).toThrow(
      expect.objectContaining({ code: "PairingAmbiguous", message: expect.stringContaining("b_0000.nii") }),
    );
  });
});

function orAmbiguous<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    expect(error).toMatchObject({ code: "PairingAmbiguous" });
    return undefined;
  }
}
test("every file of any dataset is in a case or told of, or the dataset is refused", () => {
  const folders = fc.constantFrom(
    "",
    "p1/",
    "p2/",
    "p1/v/",
    "imagesTr/",
    "labelsTr/",
    "imagesTs/",
    "test/",
    "images/p1/",
    "labels/p1/",
    "ct/",
    "mr/",
  );
  const stems = fc.constantFrom("a", "a_0000", "a_0001", "a_seg", "image", "label", "b_0001", "b_0001_mask");
  const file = fc.tuple(folders, stems).map(([folder, stem]) => `${folder}${stem}.nii`);
  fc.assert(
    fc.property(fc.uniqueArray(file, { minLength: 1, maxLength: 12 }), (names) => {
      const pairing = orAmbiguous(() => pairEntries(names.map(niftiAt)));
      if (!pairing) return;
      const { training, test: unlabelled, unpairedImages, unpairedLabels } = pairing;
      const cases = [...training, ...unlabelled];
      const used = cases.flatMap((one) => [...one.images, ...(one.label ? [one.label] : [])]);
      expect([...used, ...unpairedImages, ...unpairedLabels].sort()).toEqual(names.sort());
      expect(new Set(cases.map((one) => one.id)).size).toBe(cases.length);
      for (const { images, label } of training)
        expect(new Set([...images, label!].map((name) => /(?:^|\/)(p\d)\//.exec(name)?.[1])).size).toBe(1);
    }),
    { numRuns: 300 },
  );
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
  test("leaves out what has no counterpart, and lists it", async () => {
    const said: Message[] = [];
    const names = ["a.nii.gz", "a_seg.nii.gz", "b.nii.gz", "c_seg.nii.gz"];
    const folder = folderWith(Object.fromEntries(names.map((name) => [name, IMAGE])));
    const { json } = await init({ emit: (message) => said.push(message) }, folder, {});
    expect(json).toMatchObject({
      training: 1,
      test: 0,
      unpairedImages: ["b.nii.gz"],
      unpairedLabels: ["c_seg.nii.gz"],
    });
    const warnings = said.filter((one) => one.kind === "warning");
    expect(warnings.map((one) => one.code)).toEqual(["NamesKept", "ImageUnpaired", "LabelUnpaired"]);
    expect(JSON.stringify(warnings)).toMatch(/b\.nii\.gz.*c_seg\.nii\.gz/);
  });
  test("writes no name of a folder where cases are named, and then warns of no names", async () => {
    const said: Message[] = [];
    const folder = folderWith({ "ROE_JANE/image.nii.gz": IMAGE, "ROE_JANE/label.nii.gz": nifti([0, 1]) });
    await init({ emit: (message) => said.push(message) }, folder, {});
    const manifest = JSON.parse(readFileSync(path.join(folder, "dataset.json"), "utf8"));
    expect(manifest.training).toEqual([
      { id: "case-0001", image: "ROE_JANE/image.nii.gz", label: "ROE_JANE/label.nii.gz" },
    ]);
    expect(JSON.stringify(said)).not.toMatch(/ROE_JANE|NamesKept/);
  });
  test("of DICOM alone says that the modality was not recognised", async () => {
    const said: Message[] = [];
    const folder = folderWith({ "images/a/1.dcm": IMAGE, "labels/a.nii.gz": nifti([0, 1]) });
    expect((await init({ emit: (message) => said.push(message) }, folder, {})).json).toMatchObject({
      modality: { "0": "unknown" },
    });
    const manifest = JSON.parse(readFileSync(path.join(folder, "dataset.json"), "utf8"));
    expect(manifest).toMatchObject({ modality: { "0": "unknown" }, labels: { "1": "structure1" } });
    expect(said).toContainEqual(expect.objectContaining({ kind: "warning", code: "ModalityUnknown" }));
  });
  test("recognises the modality by the first NIfTI, and takes a label in DICOM for what it is", async () => {
    const folder = folderWith({
      "p1/dicom/1.dcm": IMAGE,
      "p1/seg/1.dcm": IMAGE,
      "p2/ct.nii.gz": IMAGE,
      "p2/seg.nii.gz": nifti([0, 2]),
    });
    await init(quiet, folder, {});
    const manifest = JSON.parse(readFileSync(path.join(folder, "dataset.json"), "utf8"));
    expect(manifest).toMatchObject({ modality: { "0": "CT" }, labels: { "2": "structure2" }, numTraining: 2 });
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
