// Turns zod's issues into sentences that name the field, what was got and what is allowed.
import * as z from "zod";
import { VoxelburstError } from "./error.ts";

export interface FieldProblem {
  field: string;
  got: string;
  allowed: string;
}

type Issue = z.core.$ZodIssue;

const pathOf = (path: readonly PropertyKey[]) =>
  path.reduce<string>(
    (text, part) => (typeof part === "number" ? `${text}[${part}]` : text ? `${text}.${String(part)}` : String(part)),
    "",
  );

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let at: unknown = value;
  for (const part of path)
    at = at !== null && typeof at === "object" ? (at as Record<PropertyKey, unknown>)[part] : undefined;
  return at;
}

/** A value as a person would recognise it, short enough for one line. */
function shown(value: unknown): string {
  if (value === undefined) return "nothing";
  // JSON would say null of infinity.
  if (typeof value === "number" && !Number.isFinite(value)) return `${value}, which is no finite number`;
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** As JSON Schema calls it: a reader of either language's message knows one word. */
const typeName = (expected: string) => ({ tuple: "array", record: "object", int: "integer" })[expected] ?? expected;

function allowedBy(issue: Issue, at?: JsonSchema): string {
  // A tuple has one length, whichever way it was missed.
  if ((issue.code === "too_small" || issue.code === "too_big") && issue.origin === "array" && at?.prefixItems)
    return `${at.prefixItems.length} items`;
  switch (issue.code) {
    case "invalid_type":
      return typeName(issue.expected) === "integer" || (issue.expected === "number" && at?.type === "integer")
        ? "a whole number"
        : `a value of type ${typeName(issue.expected)}`;
    case "invalid_value":
      return issue.values.length === 1 ? shown(issue.values[0]) : `one of ${issue.values.map(shown).join(", ")}`;
    case "too_small":
      return `${issue.inclusive ? "at least" : "more than"} ${issue.minimum}${unitOf(issue.origin)}`;
    case "too_big":
      return `${issue.inclusive ? "at most" : "less than"} ${issue.maximum}${unitOf(issue.origin)}`;
    case "invalid_format":
      return issue.format === "regex" && issue.message.startsWith("Invalid string")
        ? `text that matches ${String(issue.pattern).slice(1, -1)}`
        : issue.message;
    case "invalid_key":
      return issue.issues[0] ? allowedBy(issue.issues[0] as Issue) : issue.message;
    case "invalid_union":
      return "options" in issue && Array.isArray(issue.options)
        ? `one of ${issue.options.map(shown).join(", ")}`
        : issue.message;
    default:
      return issue.message;
  }
}

const unitOf = (origin: string) => (origin === "array" ? " items" : origin === "string" ? " characters" : "");

const kindOf = (value: unknown) => (Array.isArray(value) ? "array" : value === null ? "null" : typeof value);

/** Whether a union's branch is for another kind of value altogether, as an enum's is for an object. */
function isOfAnotherKind(branch: readonly Problem[], at: readonly PropertyKey[], value: unknown): boolean {
  const first = branch[0]?.issue;
  if (branch.length !== 1 || !first || first.path.length !== at.length) return false;
  if (branch[0]!.allowed !== undefined) return true; // a union inside the union, none of whose branches fits
  if (first.code === "invalid_type") return true;
  return first.code === "invalid_value" && first.values.every((allowed) => kindOf(allowed) !== kindOf(value));
}

interface Problem {
  issue: Issue;
  /** What the branches of a union allow, where none of them is for such a value. */
  allowed?: string;
}

/** In a union, the branch that came furthest is the one the writer meant. */
function flatten(issues: readonly Issue[], root: unknown, prefix: readonly PropertyKey[] = []): Problem[] {
  return issues.flatMap((issue): Problem[] => {
    const path = [...prefix, ...issue.path];
    const here = { ...issue, path } as Issue;
    if (issue.code !== "invalid_union" || issue.errors.length === 0) return [{ issue: here }];
    const branches = issue.errors.map((branch) => flatten(branch as Issue[], root, path));
    const value = valueAt(root, path);
    const meant = branches.filter((branch) => !isOfAnotherKind(branch, path, value));
    if (meant.length === 0) {
      const allowed = branches.map(([only]) => only!.allowed ?? allowedBy(only!.issue));
      return [{ issue: here, allowed: [...new Set(allowed)].join(" or ") }];
    }
    const depth = (branch: readonly Problem[]) => Math.max(...branch.map((inner) => inner.issue.path.length));
    return meant.toSorted((a, b) => depth(b) - depth(a) || a.length - b.length)[0]!;
  });
}

/** The problems of a value against a schema, each with its field; empty when there is none. */
export function problemsOf(schema: z.ZodType, value: unknown): FieldProblem[] {
  const parsed = schema.safeParse(value);
  if (parsed.success) return [];
  const json = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as JsonSchema;
  return flatten(parsed.error.issues, value).flatMap(({ issue, allowed }): FieldProblem[] => {
    const field = pathOf(issue.path);
    if (issue.code === "unrecognized_keys") {
      const known = [...new Set(schemasAt(json, issue.path, value).flatMap((at) => Object.keys(at.properties ?? {})))];
      return issue.keys.map((key) => ({
        field: field ? `${field}.${key}` : key,
        got: "a field that is not known",
        allowed: known.length ? `the fields ${known.join(", ")}` : "only the documented fields",
      }));
    }
    if (issue.code === "invalid_key")
      return [
        {
          field: pathOf(issue.path.slice(0, -1)) || DOCUMENT,
          got: shown(issue.path.at(-1)),
          allowed: allowedBy(issue),
        },
      ];
    return [
      {
        field: field || DOCUMENT,
        got: shown(valueAt(value, issue.path)),
        allowed: allowed ?? allowedBy(issue, schemasAt(json, issue.path, value)[0]),
      },
    ];
  });
}

const DOCUMENT = "(the document)";

interface JsonSchema {
  type?: string;
  const?: unknown;
  properties?: Record<string, JsonSchema>;
  items?: JsonSchema | false;
  prefixItems?: JsonSchema[];
  anyOf?: JsonSchema[];
  oneOf?: JsonSchema[];
  additionalProperties?: JsonSchema | boolean;
}

/** The schemas that hold at a path of a value: of a union, the branches whose constants the value has. */
function schemasAt(json: JsonSchema | undefined | false, path: readonly PropertyKey[], value: unknown): JsonSchema[] {
  if (!json) return [];
  const branches = json.anyOf ?? json.oneOf;
  if (branches) {
    const fits = (branch: JsonSchema) =>
      Object.entries(branch.properties ?? {}).every(
        ([name, property]) =>
          property.const === undefined || [property.const, undefined].includes(valueAt(value, [name])),
      );
    const meant = branches.filter(fits);
    return (meant.length > 0 ? meant : branches).flatMap((branch) => schemasAt(branch, path, value));
  }
  const [head, ...rest] = path;
  if (head === undefined) return [json];
  const inner = valueAt(value, [head]);
  if (typeof head === "number") return schemasAt(json.prefixItems?.[head] ?? json.items, rest, inner);
  const extra = typeof json.additionalProperties === "object" ? json.additionalProperties : undefined;
  return schemasAt(json.properties?.[String(head)] ?? extra, rest, inner);
}

/**
 * The parsed value, with defaults filled in.
 *
 * @param what - how the document is called in the error, for example "recipe.yaml"
 * @throws VoxelburstError with the given code, naming the first field at fault and counting the others
 */
export function parseOrThrow<T extends z.ZodType>(schema: T, value: unknown, what: string, code: string): z.infer<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data as z.infer<T>;
  const problems = problemsOf(schema, value);
  const first = problems[0]!;
  const others =
    problems.length > 1
      ? ` (and ${problems.length - 1} more: ${problems
          .slice(1, 4)
          .map((p) => p.field)
          .join(", ")})`
      : "";
  throw new VoxelburstError(
    code,
    `${what}: ${first.field} is ${first.got}; allowed: ${first.allowed}${others}.`,
    `Correct ${first.field} in ${what} and start again.`,
    { field: first.field, got: first.got, allowed: first.allowed },
  );
}
