import { describe, expect, test } from "vitest";
import { CLASS_MODEL, checkClasses, checkModel } from "../../../lambdas/start-run/check-classes.ts";
import { readManifest } from "../../../lambdas/start-run/manifest-cases.ts";
import { readRecipe } from "../../../lambdas/start-run/read-recipe.ts";

const CLASSES = ["benign", "malign"];
const entry = (id: number, name?: string) => ({ image: `imagesTr/c${id}.nii.gz`, ...(name && { class: name }) });
const cases = (names: readonly (string | undefined)[]) =>
  readManifest(
    { modality: { 0: "CT" }, classes: CLASSES, training: names.map((name, id) => entry(id, name)) },
    [],
    "lungs",
  );
const check = (names: readonly (string | undefined)[], folds = 2) => checkClasses(cases(names).cases, CLASSES, folds);
const codeOf = (act: () => unknown): string => {
  try {
    act();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return "accepted";
};

describe("a dataset with classes", () => {
  test("is read without labels, and a label that a case names is not used", () => {
    const manifest = {
      modality: { 0: "CT" },
      classes: CLASSES,
      training: [{ ...entry(0, "benign"), label: "labelsTr/c0.nii.gz" }],
    };
    const { dataset, cases: read } = readManifest(manifest, [], "lungs");
    expect(dataset).toMatchObject({ classes: CLASSES, labels: [] });
    expect(read[0]).toMatchObject({ class: "benign", label: undefined });
  });

  test("needs a class of its own at each training case", () => {
    expect(codeOf(() => check(["benign", "malign", "benign", "malign"]))).toBe("accepted");
    expect(codeOf(() => check(["benign", undefined]))).toBe("ClassMissing");
    expect(codeOf(() => check(["benign", "maling"]))).toBe("ClassUnknown");
    expect(codeOf(() => check(["benign", "benign"]))).toBe("OneClassOnly");
    expect(codeOf(() => check(["benign", "malign", "benign", "malign"], 3))).toBe("TooFewCasesOfClass");
    expect(codeOf(() => checkClasses([], ["a", "a"], 2))).toBe("ClassesRepeated");
  });

  test("has resnet3d alone, which no dataset with labels has", () => {
    const model = (name: string) => readRecipe(`model: ${name}`, "recipe.yaml");
    expect(codeOf(() => checkModel(model("unet3d"), { classes: CLASSES }))).toBe("ModelUnfit");
    expect(codeOf(() => checkModel(model("resnet3d"), {}))).toBe("ModelUnfit");
    expect(codeOf(() => checkModel(model("resnet3d"), { classes: CLASSES }))).toBe("accepted");
    expect(codeOf(() => checkModel(model("unet3d"), {}))).toBe("accepted");
  });

  test("gets its model where the recipe names none, also beside a width", () => {
    expect(readRecipe(undefined, "recipe.yaml", [], CLASS_MODEL).model.name).toBe("resnet3d");
    expect(readRecipe(undefined, "recipe.yaml", ["model.width=8"], CLASS_MODEL).model).toEqual({
      name: "resnet3d",
      width: 8,
    });
    expect(readRecipe("model: unet3d", "recipe.yaml", [], CLASS_MODEL).model.name).toBe("unet3d");
  });
});
