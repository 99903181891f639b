// recipe.yaml and what --set puts over it -> a checked recipe.
import { parse as parseYaml, YAMLParseError } from "yaml";
import {
  type FieldProblem,
  parseOrThrow,
  problemsOf,
  type Recipe,
  recipe as recipeSchema,
  VoxelburstError,
} from "../../lib/contracts/index.ts";

type Fields = Record<string, unknown>;
const isObject = (value: unknown): value is Fields =>
  value !== null && typeof value === "object" && !Array.isArray(value);

/**
 * @param text - recipe.yaml, or undefined when there is none: an empty recipe is a recipe
 * @param name - how it is called in errors
 * @param set - assignments such as "train.minutes=10", which win over the file
 * @param model - where neither names one
 * @throws VoxelburstError RecipeInvalid for the file, SetInvalid for an assignment
 */
export function readRecipe(
  text: string | undefined,
  name: string,
  set: readonly string[] = [],
  model: Recipe["model"]["name"] = "unet3d",
): Recipe {
  const written = text === undefined ? {} : parseRecipeText(text, name);
  parseOrThrow(recipeSchema, written, name, "RecipeInvalid");
  const merged = set.reduce(applySet, written);
  const problems = problemsOf(recipeSchema, merged);
  if (problems.length > 0) throw setInvalid(set.at(-1) ?? "", problems[0]!);
  const named = typeof merged.model === "string" || (isObject(merged.model) && merged.model.name !== undefined);
  return recipeSchema.parse(named ? merged : place(merged, ["model", "name"], model));
}

function parseRecipeText(text: string, name: string): Fields {
  let value: unknown;
  try {
    value = parseYaml(text, { prettyErrors: true }) ?? {};
  } catch (cause) {
    const where = cause instanceof YAMLParseError && cause.linePos ? ` in line ${cause.linePos[0].line}` : "";
    const what = (cause as Error).message.split("\n")[0]!.replace(/ at line \d+, column \d+:?$/, "");
    throw new VoxelburstError(
      "RecipeInvalid",
      `${name} is not YAML${where}: ${what}.`,
      `Correct ${name}${where}; \`voxelburst init\` writes one with every field and its meaning.`,
      { field: name, cause },
    );
  }
  if (!isObject(value))
    throw new VoxelburstError(
      "RecipeInvalid",
      `${name} is ${Array.isArray(value) ? "a list" : `a ${typeof value}`}; allowed: fields with values.`,
      `Write fields such as \`train: {minutes: 10}\` into ${name}.`,
      { field: name },
    );
  return value;
}

/** One assignment put over a recipe, checked for itself so that the error is about it and not about the file. */
function applySet(written: Fields, assignment: string): Fields {
  const separator = assignment.indexOf("=");
  const path = assignment.slice(0, Math.max(separator, 0)).split(".");
  if (separator < 1 || path.some((part) => !/^[A-Za-z][A-Za-z0-9]*$/.test(part)))
    throw new VoxelburstError(
      "SetInvalid",
      `--set ${assignment} is no assignment; allowed: field=value, for example train.minutes=10.`,
      "Write the field, an equals sign and the value, without spaces around it.",
      { got: assignment, allowed: "field=value" },
    );
  const value = parseValue(assignment.slice(separator + 1), assignment);
  const alone = place({}, path, value);
  const problems = problemsOf(recipeSchema, alone);
  if (problems.length > 0) throw setInvalid(assignment, problems[0]!);
  return place(written, path, value);
}

function parseValue(text: string, assignment: string): unknown {
  try {
    // A list needs no brackets: no field of a recipe has a comma in its value.
    return parseYaml(/^[^[{"'].*,/.test(text) ? `[${text}]` : text);
  } catch (cause) {
    throw new VoxelburstError(
      "SetInvalid",
      `--set ${assignment} has a value that is not YAML.`,
      "Write a number, a word, true, false, or a list such as dali,amp.",
      { got: assignment, cause },
    );
  }
}

const setInvalid = (assignment: string, problem: FieldProblem) =>
  new VoxelburstError(
    "SetInvalid",
    `--set ${assignment}: ${problem.field} is ${problem.got}; allowed: ${problem.allowed}.`,
    "Correct the field or the value of --set; the fields are those of recipe.yaml.",
    { field: problem.field, got: problem.got, allowed: problem.allowed },
  );

/** A copy with the value at the path. `model: unet3d` becomes an object when a field inside it is set. */
function place(at: Fields, [head, ...tail]: string[], value: unknown): Fields {
  if (tail.length === 0) return { ...at, [head!]: value };
  const inner = at[head!];
  const object = isObject(inner) ? inner : typeof inner === "string" && head === "model" ? { name: inner } : {};
  return { ...at, [head!]: place(object, tail, value) };
}

/** @throws VoxelburstError when the recipe asks for a fold that will not exist */
export function checkFolds(recipe: Recipe, splitNames: readonly string[] | undefined, set: readonly string[]): void {
  if (!recipe.folds || recipe.folds === "all") return;
  const known = splitNames ?? Array.from({ length: recipe.foldCount }, (_, index) => `fold${index}`);
  const unknown = recipe.folds.find((name) => !known.includes(name));
  if (unknown === undefined) return;
  const fromSet = set.some((assignment) => /^folds(=|\.)/.test(assignment));
  throw new VoxelburstError(
    fromSet ? "SetInvalid" : "RecipeInvalid",
    `${fromSet ? "--set folds" : "recipe.yaml: folds"} names ${unknown}; allowed: all, ${known.join(", ")}.`,
    splitNames ? "Name a fold of splits.json." : "Name one of these folds, raise foldCount, or write a splits.json.",
    { field: "folds", got: unknown, allowed: known.join(", ") },
  );
}
