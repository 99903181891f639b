// Turns zod's issues into sentences that name the field, what was got and what is allowed.
import { z } from "zod";
import { VoxelburstError } from "./error.ts";

export interface FieldProblem {
  field: string;
  got: string;
  allowed: string;
}

type Issue = z.core.$ZodIssue;

const pathOf = (path: PropertyKey[]) =>
  path.reduce<string>(
    (text, part) => (typeof part === "number" ? `${text}[${part}]` : text ? `${text}.${String(part)}` : String(part)),
    "",
  );

function valueAt(value: unknown, path: PropertyKey[]): unknown {
  let at: unknown = value;
  for (const part of path)
    at = at !== null && typeof at === "object" ? (at as Record<PropertyKey, unknown>)[part] : undefined;
  return at;
}

/** A value as a person would recognise it, short enough for one line. */
function shown(value: unknown): string {
  if (value === undefined) return "nothing";
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function allowedBy(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type":
      return issue.expected === "int" ? "a whole number" : `a value of type ${issue.expected}`;
    case "invalid_value":
      return issue.values.length === 1 ? shown(issue.values[0]) : `one of ${issue.values.map(shown).join(", ")}`;
    case "too_small":
      return issue.origin === "array" || issue.origin === "string"
        ? `at least ${issue.minimum} ${issue.origin === "array" ? "items" : "characters"}`
        : `${issue.inclusive ? "at least" : "more than"} ${issue.minimum}`;
    case "too_big":
      return issue.origin === "array" || issue.origin === "string"
        ? `at most ${issue.maximum} ${issue.origin === "array" ? "items" : "characters"}`
        : `${issue.inclusive ? "at most" : "less than"} ${issue.maximum}`;
    case "invalid_format":
      return issue.message.replace(/^Invalid string: /, "");
    default:
      return issue.message;
  }
}

/** In a union, the branch that came furthest is the one the writer meant. */
function flatten(issues: Issue[], prefix: PropertyKey[] = []): Issue[] {
  return issues.flatMap((issue) => {
    const path = [...prefix, ...issue.path];
    if (issue.code === "invalid_union" && issue.errors.length > 0) {
      const branches = issue.errors.map((branch) => flatten(branch as Issue[], path));
      const typeOnly = (branch: Issue[]) =>
        branch.length === 1 && branch[0]!.code === "invalid_type" && branch[0]!.path.length === path.length;
      const deep = branches.filter((branch) => !typeOnly(branch));
      const depth = (branch: Issue[]) => Math.max(...branch.map((inner) => inner.path.length));
      const candidates = deep.length > 0 ? deep : branches;
      return candidates.toSorted((a, b) => depth(b) - depth(a) || a.length - b.length)[0] ?? [{ ...issue, path }];
    }
    return [{ ...issue, path }];
  });
}

/** The problems of a value against a schema, each with its field; empty when there is none. */
export function problemsOf(schema: z.ZodType, value: unknown): FieldProblem[] {
  const parsed = schema.safeParse(value);
  if (parsed.success) return [];
  return flatten(parsed.error.issues).flatMap((issue): FieldProblem[] => {
    const field = pathOf(issue.path);
    if (issue.code === "unrecognized_keys") {
      const known = knownFields(schema, issue.path);
      return issue.keys.map((key) => ({
        field: field ? `${field}.${key}` : key,
        got: "a field that is not known",
        allowed: known.length ? `the fields ${known.join(", ")}` : "only the documented fields",
      }));
    }
    return [{ field: field || "(the document)", got: shown(valueAt(value, issue.path)), allowed: allowedBy(issue) }];
  });
}

/** Names of the fields that an object schema has at a path, for the sentence about an unknown one. */
function knownFields(schema: z.ZodType, path: PropertyKey[]): string[] {
  type Json = {
    properties?: Record<string, Json>;
    items?: Json | false;
    anyOf?: Json[];
    oneOf?: Json[];
    additionalProperties?: Json | boolean;
  };
  const walk = (json: Json | undefined | false, rest: PropertyKey[]): string[] => {
    if (!json) return [];
    const branches = json.anyOf ?? json.oneOf;
    if (branches) return [...new Set(branches.flatMap((branch) => walk(branch, rest)))];
    if (rest.length === 0) return Object.keys(json.properties ?? {});
    const [head, ...tail] = rest;
    if (typeof head === "number") return walk(json.items, tail);
    const extra = typeof json.additionalProperties === "object" ? json.additionalProperties : undefined;
    return walk(json.properties?.[String(head)] ?? extra, tail);
  };
  return walk(z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as Json, path);
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
