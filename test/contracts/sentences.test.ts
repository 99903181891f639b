// What the sentences say where a document may have several forms.
import { describe, expect, it } from "vitest";
import { z } from "zod";
import {
  parseJson,
  parseOrThrow,
  priceOf,
  problemsOf,
  readJson,
  recipe,
  result,
  task,
  toJsonLines,
  VoxelburstError,
} from "../../lib/contracts/index.ts";
import { FolderStore } from "../../lib/local/folder-store.ts";

const said = (schema: z.ZodType, value: unknown) =>
  problemsOf(schema, value).map(({ field, got, allowed }) => `${field} is ${got}; allowed: ${allowed}`);

describe("a sentence about", () => {
  it("an unknown field inside one form of a union names that form's fields", () => {
    expect(said(recipe, { model: { nam: "unet3d" } })).toEqual([
      "model.nam is a field that is not known; allowed: the fields name, width",
    ]);
  });

  it("a value that no form takes names all of them", () => {
    expect(said(recipe, { folds: 3 })).toEqual([
      'folds is 3; allowed: "all" or a value of type string or a value of type array',
    ]);
  });

  it("a word where a list may stand too names the words", () => {
    expect(said(recipe, { engines: "tvm" })).toEqual([
      'engines is "tvm"; allowed: one of "torch", "inductor", "onnxruntime", "tensorrt", "triton"',
    ]);
  });

  it("an unknown field of a task names the fields of that stage alone", () => {
    const [first] = problemsOf(task, { stage: "train", epochs: 3 }).filter((problem) => problem.field === "epochs");
    expect(first!.allowed).toContain("checkpointMinutes");
    expect(first!.allowed).not.toContain("quarantineUri");
  });

  it("an unknown stage names the stages that have tasks or results", () => {
    expect(said(result, { stage: "deploy" })).toEqual([
      'stage is "deploy"; allowed: one of "ingest", "preprocess", "train", "compile", "infer"',
    ]);
  });

  it("a long value is cut to a line", () => {
    const [text] = said(z.strictObject({ a: z.int() }), { a: "x".repeat(500) });
    expect(text!.length).toBeLessThan(140);
    expect(text).toContain("...; allowed: a whole number");
  });

  it("several problems names the first and counts the others", () => {
    expect(() =>
      parseOrThrow(recipe, { train: { steps: 0, seed: -1 }, maxUsd: "x" }, "recipe.yaml", "RecipeInvalid"),
    ).toThrow("recipe.yaml: train.steps is 0; allowed: at least 1 (and 2 more: train.seed, maxUsd).");
  });
});

describe("documents in a store", () => {
  it("that are missing or no JSON are named, with what to do", async () => {
    const store = new FolderStore();
    await expect(readJson(store, "file:///nowhere/at/all/plan.json", recipe)).rejects.toMatchObject({
      code: "ObjectMissing",
      message: "plan.json does not exist where the run expects it.",
    });
    expect(() => parseJson(new TextEncoder().encode("{"), "recipe.json", "RecipeInvalid")).toThrow(VoxelburstError);
  });

  it("of JSON Lines have one value a line", () => {
    expect(toJsonLines([{ a: 1 }, { b: "x\ny" }])).toBe('{"a":1}\n{"b":"x\\ny"}\n');
  });
});

describe("a price", () => {
  it("is of a named type, and an unknown type names those that have one", () => {
    expect(priceOf("p5.4xlarge")).toMatchObject({ usdPerHour: 6.88, gpus: 1 });
    expect(() => priceOf("p9.huge")).toThrow(/^capacity.pricedAs is p9.huge, which has no price here; allowed: p4d/);
  });
});
