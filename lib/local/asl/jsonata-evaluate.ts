// Evaluates the JSONata strings of a state, with AWS's rules and messages.
import jsonata from "jsonata";
import { ERROR, StatesError } from "./errors.ts";
import { isObject, type Json, type JsonObject, typeName } from "./json.ts";
import { awsFunctions, type EvaluationSource } from "./jsonata-functions.ts";

/** Runaway expressions end like any failed one. AWS states no number; these are far above what a workflow needs. */
const LIMITS = { timeout: 20_000, stack: 1000 };

/** What a failed evaluation tells before the state's name is put in front. */
export class EvaluationFailure extends Error {
  readonly location: string | undefined;

  constructor(message: string, location?: string) {
    super(message);
    this.location = location;
  }
}

export interface Bindings {
  states: JsonObject;
  variables: JsonObject;
  source: EvaluationSource;
}

/** @returns the expression between the delimiters, or undefined for a plain string. Spaces outside make it plain. */
export function expressionOf(value: unknown): string | undefined {
  if (typeof value !== "string" || value.length < 4 || !value.startsWith("{%") || !value.endsWith("%}"))
    return undefined;
  return value.slice(2, -2).trim();
}

const compiled = new Map<string, jsonata.Expression>();

/** @throws the library's {code, message, position} where the expression cannot be parsed */
export function compile(expression: string): jsonata.Expression {
  let found = compiled.get(expression);
  if (!found) {
    found = jsonata(expression, LIMITS as jsonata.JsonataOptions);
    compiled.set(expression, found);
  }
  return found;
}

/**
 * A value with every JSONata string in it evaluated. There is no input document: `$` is nothing.
 * @throws EvaluationFailure with the location in AWS's notation (`Output/key`, `Items[2]`)
 */
export async function evaluateTemplate(template: Json, location: string, bindings: Bindings): Promise<Json> {
  if (typeof template === "string") {
    const expression = expressionOf(template);
    return expression === undefined ? template : evaluateExpression(expression, location, bindings);
  }
  if (Array.isArray(template)) {
    const items: Json[] = [];
    for (const [i, item] of template.entries()) items.push(await evaluateTemplate(item, `${location}[${i}]`, bindings));
    return items;
  }
  if (!isObject(template)) return template;
  const object: JsonObject = {};
  for (const [key, value] of Object.entries(template))
    define(object, key, await evaluateTemplate(value, `${location}/${key}`, bindings));
  return object;
}

async function evaluateExpression(expression: string, location: string, bindings: Bindings): Promise<Json> {
  const what = `The JSONata expression '${expression}' specified for the field '${location}'`;
  let result: unknown;
  try {
    result = await compile(expression).evaluate(undefined, {
      ...awsFunctions(bindings.source),
      ...bindings.variables,
      states: bindings.states,
    });
  } catch (thrown) {
    throw new EvaluationFailure(`${what} threw an error during evaluation${reason(thrown)}`, location);
  }
  if (result === undefined) throw new EvaluationFailure(`${what} returned nothing (undefined).`, location);
  const value = plain(result);
  if (value === undefined) throw new EvaluationFailure(`${what} returned an unsupported result type.`, location);
  return value;
}

/** AWS ends the sentence with `. CODE: message` for JSONata's own errors and with `: message` for others. */
function reason(thrown: unknown): string {
  const { code, message } = thrown as { code?: unknown; message?: unknown };
  if (typeof code === "string") return `. ${code}: ${String(message)}`;
  return `: ${String(message ?? thrown)}`;
}

/** A copy that is only JSON (sequences carry hidden properties); undefined where it holds a function. */
function plain(value: unknown): Json | undefined {
  if (value === null || typeof value === "boolean" || typeof value === "number" || typeof value === "string")
    return value;
  if (typeof value === "function") return undefined;
  if (Array.isArray(value)) {
    const items: Json[] = [];
    for (const item of value) {
      const copy = item === undefined ? null : plain(item);
      if (copy === undefined) return undefined;
      items.push(copy);
    }
    return items;
  }
  if (!isObject(value) || value._jsonata_lambda === true || value._jsonata_function === true) return undefined;
  const object: JsonObject = {};
  for (const [key, item] of Object.entries(value)) {
    if (item === undefined) continue;
    const copy = plain(item);
    if (copy === undefined) return undefined;
    define(object, key, copy);
  }
  return object;
}

/** Assigns also keys like __proto__ as data. */
function define(object: JsonObject, key: string, value: Json): void {
  if (key === "__proto__")
    Object.defineProperty(object, key, { value, enumerable: true, writable: true, configurable: true });
  else object[key] = value;
}

type Expected = "array" | "boolean" | "string" | "number";

/**
 * The value of a field that must have one type.
 * @throws EvaluationFailure with AWS's sentence about the unexpected type
 */
export async function evaluateTyped(
  template: Json,
  location: string,
  expected: Expected,
  bindings: Bindings,
): Promise<Json> {
  const value = await evaluateTemplate(template, location, bindings);
  if (typeName(value) === expected) return value;
  const expression = expressionOf(template);
  const whose =
    expression === undefined
      ? `The value specified for the field '${location}' has`
      : `The JSONata expression '${expression}' specified for the field '${location}' returned`;
  throw new EvaluationFailure(
    `${whose} an unexpected result type. Expected '${expected}', but was '${typeName(value)}' for value: ${JSON.stringify(value)}`,
    location,
  );
}

/**
 * An integer within bounds. @throws EvaluationFailure; AWS's wording for numbers out of range is not recorded.
 */
export async function evaluateInteger(
  template: Json,
  location: string,
  range: { least: number; most: number },
  bindings: Bindings,
): Promise<number> {
  const value = (await evaluateTyped(template, location, "number", bindings)) as number;
  if (!Number.isInteger(value) || value < range.least || value > range.most)
    throw new EvaluationFailure(
      `The ${location} field must be an integer between ${range.least} and ${range.most}, but was: ${value}`,
      location,
    );
  return value;
}

export const queryEvaluationError = (cause: string): StatesError => new StatesError(ERROR.queryEvaluation, cause);
