// Task04 from the files themselves: statistics read here by a reader of its own, then planned.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { beforeAll, describe, expect, it } from "vitest";
import { designOf } from "../../../lambdas/plan/design.ts";
import { chooseFolds, shuffledFolds } from "../../../lambdas/plan/folds.ts";
import { type CaseRecord, recipe, splits as splitsSchema } from "../../../lib/contracts/index.ts";
import { h100, laptop, record } from "./fixture.ts";

const folder = fileURLToPath(new URL("../../../../shared/data/hippocampus/", import.meta.url));
const present = existsSync(path.join(folder, "dataset.json"));

interface Nifti {
  shapeZyx: [number, number, number];
  spacingMmZyx: [number, number, number];
  voxels: ArrayLike<number>;
}

/** Little-endian NIfTI-1 of the types that Task04 has. */
function readNifti(file: string): Nifti {
  const bytes = gunzipSync(readFileSync(file));
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const dim = (i: number) => view.getInt16(40 + 2 * i, true);
  const pixdim = (i: number) => view.getFloat32(76 + 4 * i, true);
  const offset = view.getFloat32(108, true);
  const types: Record<number, { new (b: ArrayBuffer): ArrayLike<number> }> = {
    2: Uint8Array,
    4: Int16Array,
    8: Int32Array,
    16: Float32Array,
    64: Float64Array,
    256: Int8Array,
    512: Uint16Array,
  };
  const Voxels = types[view.getInt16(70, true)]!;
  return {
    shapeZyx: [dim(3), dim(2), dim(1)],
    spacingMmZyx: [pixdim(3), pixdim(2), pixdim(1)],
    voxels: new Voxels(new Uint8Array(bytes.subarray(offset)).buffer),
  };
}

/** The parts of a record that Task04's plan depends on; the extent of what is not 0 is its box. */
function recordOf(caseId: string): CaseRecord {
  const image = readNifti(path.join(folder, "imagesTr", `${caseId}.nii.gz`));
  const [depth, height, width] = image.shapeZyx;
  const low = [depth, height, width];
  const high = [0, 0, 0];
  for (let z = 0, i = 0; z < depth; z++)
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++, i++)
        if (image.voxels[i] !== 0)
          for (const [axis, at] of [z, y, x].entries()) {
            low[axis] = Math.min(low[axis]!, at);
            high[axis] = Math.max(high[axis]!, at + 1);
          }
  const box = low.map((start, axis) => [start, high[axis]!]) as CaseRecord["nonzeroBoxZyx"];
  return record(caseId, { shapeZyx: image.shapeZyx, spacingMmZyx: image.spacingMmZyx, box });
}

const dataset = {
  name: "Hippocampus",
  channels: ["MRI"],
  labels: ["background", "Anterior", "Posterior"].map((name, value) => ({ value, name })),
};

describe.skipIf(!present)("the 208 cases of Task04 in ../shared/data", () => {
  let records: CaseRecord[];
  beforeAll(() => {
    const manifest = JSON.parse(readFileSync(path.join(folder, "dataset.json"), "utf8"));
    records = manifest.training.map((item: { image: string }) =>
      recordOf(path.basename(item.image).replace(/\.nii\.gz$/, "")),
    );
  });

  it("need more memory for the residual encoder, whose patch is planned for what it takes", () => {
    const choices = { strategies: ["dali" as const], precision: "bf16" as const };
    const [plain, residual] = [{}, { model: "resenc-unet" as const }].map((given) =>
      designOf(records, dataset, recipe.parse(given), h100, choices),
    );
    expect(residual!.network.model).toBe("resenc-unet");
    expect(residual!.elements).toBeGreaterThan(1.2 * plain!.elements);
  });

  it("get the same patch, half the width and two patches a batch without a GPU, and are told so", () => {
    const design = designOf(records, dataset, recipe.parse({}), laptop, { strategies: ["dali"], precision: "bf16" });
    expect(design).toMatchObject({ patch: [40, 56, 40], batch: 2, overrides: [] });
    expect(design.network.features).toEqual([16, 32, 64, 128]);
    expect(design.notes).toEqual([
      "There is no GPU, so training is planned small: model.width 16, plan.memoryGiB 1, a batch of at most 2.",
    ]);
  });

  it("get nnU-Net 2.8.1's plan on a GPU", () => {
    const design = designOf(records, dataset, recipe.parse({}), h100, { strategies: ["dali"], precision: "bf16" });
    expect(design).toMatchObject({
      spacingMmZyx: [1, 1, 1],
      transpose: [0, 1, 2],
      medianShapeZyx: [36, 50, 35],
      patch: [40, 56, 40],
      batch: 7,
      elements: 19_174_400,
      batchDice: false,
      dummy2d: false,
      normalisation: [{ scheme: "zscore", masked: false }],
      overrides: [],
    });
    expect(design.network).toMatchObject({
      features: [32, 64, 128, 256],
      strides: [
        [1, 1, 1],
        [2, 2, 2],
        [2, 2, 2],
        [2, 2, 2],
      ],
      inputChannels: 1,
      outputClasses: 3,
    });
  });

  it("fall into nnU-Net's published folds 1 to 4, around the 52 cases of fold 0 that are not here", () => {
    const published = splitsSchema.parse(JSON.parse(readFileSync(path.join(folder, "splits.json"), "utf8")));
    const folds = shuffledFolds(260, 5);
    const absent = new Set(folds[0]);
    const known = records.map((item) => item.caseId).sort();
    const atPosition = new Map(
      Array.from({ length: 260 }, (_, i) => i)
        .filter((i) => !absent.has(i))
        .map((position, i) => [position, known[i]!]),
    );
    for (const fold of [1, 2, 3, 4]) {
      const named = (published as Record<string, { val: string[] }>)[`fold${fold}`]!;
      expect(folds[fold]!.map((position) => atPosition.get(position))).toEqual(named.val.toSorted());
    }
  });

  it("train fold1 on 156 and validate it on 52 cases", () => {
    const published = splitsSchema.parse(JSON.parse(readFileSync(path.join(folder, "splits.json"), "utf8")));
    const { folds } = chooseFolds(records, new Set(), published, recipe.parse({}));
    expect(folds.map((fold) => [fold.name, fold.train.length, fold.validation.length])).toEqual([["fold1", 156, 52]]);
  });
});
