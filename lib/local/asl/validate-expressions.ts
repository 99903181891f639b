// Checks the JSONata of a definition before anything runs: syntax, $states, variables.
import type { Problem, ProblemCode } from "./definition-error.ts";
import { step } from "./definition-error.ts";
import { isObject } from "./json.ts";
import { compile, expressionOf } from "./jsonata-evaluate.ts";
import { ADDED_FUNCTIONS } from "./jsonata-functions.ts";

export type StatesPart = "input" | "context" | "result" | "errorOutput";

/** What an expression may refer to where it stands. */
export interface ExpressionPlace {
  parts: readonly StatesPart[];
  /** Variables assigned anywhere in this scope or one around it. */
  variables: ReadonlySet<string>;
}

const LIBRARY = (
  "abs append assert average base64decode base64encode boolean ceil clone contains count decodeUrl decodeUrlComponent " +
  "distinct each encodeUrl encodeUrlComponent error exists filter floor formatBase formatInteger formatNumber " +
  "fromMillis join keys length lookup lowercase map match max merge millis min not now number pad parseInteger power " +
  "random reduce replace reverse round shuffle sift single sort split spread sqrt string substring substringAfter " +
  "substringBefore sum toMillis trim type uppercase zip"
).split(" ");
const FUNCTIONS = new Set<string>([...LIBRARY, ...ADDED_FUNCTIONS]);

/** Every problem of the JSONata strings in a value. `warnings` are what AWS takes and no run can do anything with. */
export function checkTemplate(
  value: unknown,
  pointer: string,
  place: ExpressionPlace,
): { errors: Problem[]; warnings: Problem[] } {
  const expression = expressionOf(value);
  if (expression !== undefined) return checkExpression(expression, pointer, place);
  const found = { errors: [] as Problem[], warnings: [] as Problem[] };
  const inner: [string | number, unknown][] = Array.isArray(value)
    ? [...value.entries()]
    : isObject(value)
      ? Object.entries(value)
      : [];
  for (const [key, item] of inner) {
    const { errors, warnings } = checkTemplate(item, step(pointer, key), place);
    found.errors.push(...errors);
    found.warnings.push(...warnings);
  }
  return found;
}

interface Node {
  type?: string;
  value?: unknown;
  steps?: Node[];
  [key: string]: unknown;
}

function checkExpression(
  expression: string,
  pointer: string,
  place: ExpressionPlace,
): { errors: Problem[]; warnings: Problem[] } {
  const errors: Problem[] = [];
  const warnings: Problem[] = [];
  const problem = (code: ProblemCode, message: string, remedy: string, allowed?: string): Problem => ({
    code,
    pointer,
    message,
    got: expression,
    ...(allowed === undefined ? {} : { allowed }),
    remedy,
  });
  let ast: Node;
  try {
    ast = compile(expression).ast() as unknown as Node;
  } catch (thrown) {
    const { message } = thrown as { message: string };
    errors.push(
      problem("ExpressionInvalid", `The JSONata expression cannot be parsed: ${message}`, "Correct the expression."),
    );
    return { errors, warnings };
  }
  const bound = new Set<string>();
  visit(ast, (node) => {
    if (node.type === "bind") bound.add(String((node.lhs as Node).value));
    if (node.type === "lambda") for (const argument of node.arguments as Node[]) bound.add(String(argument.value));
    for (const key of ["index", "focus"]) if (typeof node[key] === "string") bound.add(node[key]);
  });
  visit(ast, (node) => {
    if (node.type === "path")
      checkStatesPath(node, place, (m, r, a) => errors.push(problem("ReferenceInvalid", m, r, a)));
    if (node.type !== "variable" || typeof node.value !== "string") return;
    const name = node.value;
    if (name === "$")
      errors.push(
        problem("ReferenceInvalid", "$$ refers to an input document, and there is none.", "Use $states.input."),
      );
    if (name === "" || name === "$" || name === "states" || bound.has(name) || place.variables.has(name)) return;
    if (name === "state") {
      const message = "$state is no variable of this state machine: the reserved one is $states.";
      errors.push(problem("ReferenceInvalid", message, "Write $states.", "$states"));
    } else if (!FUNCTIONS.has(name))
      warnings.push(
        problem(
          "VariableNeverAssigned",
          `No state that this expression can see assigns $${name}, so it will fail with States.QueryEvaluationError.`,
          `Assign ${name} in an earlier state, or correct the name.`,
        ),
      );
  });
  const loose = looseReference(ast);
  if (loose !== undefined)
    errors.push(
      problem(
        "ReferenceInvalid",
        `${loose} refers to an input document at the top level of the expression, and there is none.`,
        "Begin with $states.input, or with a variable.",
      ),
    );
  return { errors, warnings };
}

function checkStatesPath(
  node: Node,
  place: ExpressionPlace,
  report: (message: string, remedy: string, allowed: string) => void,
): void {
  const [first, second] = node.steps ?? [];
  if (first?.type !== "variable" || first.value !== "states" || second?.type !== "name") return;
  const part = String(second.value);
  if ((place.parts as readonly string[]).includes(part)) return;
  const known = part === "result" || part === "errorOutput";
  const message = known
    ? `$states.${part} is not available in this field.`
    : `$states has no '${part}', so this gives nothing.`;
  const remedy = known
    ? "result belongs to Assign and Output of Task, Map and Parallel, errorOutput to those of a Catch."
    : "Correct the name.";
  report(message, remedy, place.parts.map((each) => `$states.${each}`).join(", "));
}

/** A field name or `$` that would be looked up in the input document, or undefined. Those inside a path have a context. */
function looseReference(node: Node | undefined): string | undefined {
  if (!node) return undefined;
  const among = (nodes: unknown): string | undefined => {
    for (const each of (nodes as Node[] | undefined) ?? []) {
      const found = looseReference(each);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  switch (node.type) {
    case "name":
      return String(node.value);
    case "variable":
      return node.value === "" ? "$" : undefined;
    case "path":
      return looseReference(node.steps?.[0]);
    case "binary":
    case "apply":
      return among([node.lhs, node.rhs]);
    case "bind":
      return looseReference(node.rhs as Node);
    case "condition":
      return among([node.condition, node.then, node.else].filter(Boolean));
    case "block":
      return among(node.expressions);
    case "function":
    case "partial":
      return among(node.arguments);
    case "unary":
      if (node.value === "{") return among((node.lhs as Node[][]).flat());
      return node.value === "[" ? among(node.expressions) : looseReference(node.expression as Node);
    default:
      return undefined;
  }
}

function visit(value: unknown, see: (node: Node) => void): void {
  if (Array.isArray(value)) for (const item of value) visit(item, see);
  else if (isObject(value)) {
    see(value as Node);
    for (const item of Object.values(value)) visit(item, see);
  }
}
