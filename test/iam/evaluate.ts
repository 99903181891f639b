// IAM's evaluation of identity policies, as far as this project's statements go; what it does not know, it refuses.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html

export interface Statement {
  Effect: "Allow" | "Deny";
  Action: string | string[];
  Resource: string | string[];
  Condition?: Record<string, Record<string, string | string[]>>;
}

/** One call of an action on one resource, "*" where the service has none. */
export interface Call {
  action: string;
  resource: string;
  context?: Record<string, string>;
}

export const listOf = <T>(value: T | T[]): T[] => (Array.isArray(value) ? value : [value]);

/** A pattern's * stands for any characters and its ? for one; actions are compared in any case. */
function matches(pattern: string, text: string, flags = ""): boolean {
  const escaped = pattern
    .replaceAll(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${escaped}$`, `s${flags}`).test(text);
}

function holds(condition: Statement["Condition"], context: Record<string, string> = {}): boolean {
  return Object.entries(condition ?? {}).every(([operator, tests]) =>
    Object.entries(tests).every(([key, allowed]) => {
      const value = context[key];
      if (value === undefined) return false;
      if (operator === "StringEquals") return listOf(allowed).includes(value);
      // Of a call with one value, "for all" is that one.
      if (operator === "StringLike" || operator === "ArnLike" || operator === "ForAllValues:StringLike")
        return listOf(allowed).some((one) => matches(one, value));
      throw new Error(`the evaluator does not know ${operator}`);
    }),
  );
}

export function applies(statement: Statement, { action, resource, context }: Call): boolean {
  for (const field of ["NotAction", "NotResource", "Principal"])
    if (field in statement) throw new Error(`the evaluator does not know ${field}`);
  return (
    listOf(statement.Action).some((pattern) => matches(pattern, action, "i")) &&
    listOf(statement.Resource).some((pattern) => matches(pattern, resource)) &&
    holds(statement.Condition, context)
  );
}

/** An explicit deny wins, and what nothing allows is denied. */
export function isAllowed(statements: readonly Statement[], call: Call): boolean {
  const applying = statements.filter((statement) => applies(statement, call));
  return applying.some(({ Effect }) => Effect === "Allow") && !applying.some(({ Effect }) => Effect === "Deny");
}
