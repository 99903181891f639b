import { expect, test } from "vitest";
import { readRecipe } from "../../../lambdas/start-run/core.ts";

test("an empty recipe has every default", () => {
  expect(readRecipe(undefined, "recipe.yaml")).toMatchObject({ model: { name: "unet3d" }, foldCount: 5 });
  expect(readRecipe("# nothing but a comment\n", "recipe.yaml")).toEqual(readRecipe(undefined, "recipe.yaml"));
});

test("an assignment wins over the file and leaves its neighbours alone", () => {
  const recipe = readRecipe("train: {minutes: 30, seed: 7}", "recipe.yaml", ["train.minutes=10", "folds=fold1"]);
  expect(recipe.train).toMatchObject({ minutes: 10, seed: 7 });
  expect(recipe.folds).toEqual(["fold1"]);
});

test("a list needs no brackets in an assignment", () => {
  const recipe = readRecipe(undefined, "recipe.yaml", ["strategies=dali,amp", "plan.patch=16,32,32"]);
  expect(recipe.strategies).toEqual(["dali", "amp"]);
  expect(recipe.plan.patch).toEqual([16, 32, 32]);
});

test("a field of a model that was written as a name alone can be set", () => {
  expect(readRecipe("model: unet3d", "recipe.yaml", ["model.width=16"]).model).toEqual({ name: "unet3d", width: 16 });
});

test("a recipe that was read once and written as JSON reads the same again", () => {
  const recipe = readRecipe("engines: torch\nmodel: {width: 8}\n", "recipe.yaml");
  expect(readRecipe(JSON.stringify(recipe), "recipe.json")).toEqual(recipe);
});

test("a recipe that is a list or a word is refused", () => {
  expect(() => readRecipe("- a\n- b", "my.yaml")).toThrow(/my\.yaml is a list/);
  expect(() => readRecipe("fast please", "my.yaml")).toThrow(/my\.yaml is a string/);
});
