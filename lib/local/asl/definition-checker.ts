// Collects what is wrong with a definition while it is walked.
import { type Problem, type ProblemCode, quoted, step } from "./definition-error.ts";
import { isObject } from "./json.ts";
import { expressionOf } from "./jsonata-evaluate.ts";
import { JSONPATH_FIELDS, UNSUPPORTED_FIELDS } from "./state-fields.ts";
import { checkTemplate, type ExpressionPlace } from "./validate-expressions.ts";

export type Fields = { [key: string]: unknown };

export class DefinitionChecker {
  readonly errors: Problem[] = [];
  readonly warnings: Problem[] = [];

  report(
    code: ProblemCode,
    pointer: string,
    message: string,
    remedy: string,
    details: { got?: unknown; allowed?: string } = {},
  ): void {
    this.errors.push({
      code,
      pointer,
      message,
      ...("got" in details ? { got: quoted(details.got) } : {}),
      ...(details.allowed === undefined ? {} : { allowed: details.allowed }),
      remedy,
    });
  }

  /** Refuses fields that are not in the list: as unsupported where Step Functions knows them, as unknown elsewhere. */
  onlyFields(fields: Fields, allowed: readonly string[], pointer: string, what: string): void {
    for (const [field, value] of Object.entries(fields)) {
      if (allowed.includes(field)) continue;
      const at = step(pointer, field);
      const details = { got: value, allowed: allowed.join(", ") };
      const instead = JSONPATH_FIELDS[field];
      const unsupported = UNSUPPORTED_FIELDS[field];
      if (instead !== undefined)
        this.report(
          "FieldUnsupported",
          at,
          `${field} is a JSONPath field, and ${what} uses JSONata.`,
          instead,
          details,
        );
      else if (unsupported !== undefined)
        this.report(
          "FieldUnsupported",
          at,
          `${field} is not supported by the local interpreter.`,
          unsupported,
          details,
        );
      else this.report("FieldUnknown", at, `${what} has no field ${field}.`, "Remove it or correct its name.", details);
    }
  }

  invalid(pointer: string, got: unknown, allowed: string): void {
    const field = pointer.split("/").at(-1) ?? "";
    this.report("FieldInvalid", pointer, `${field} must be ${allowed}.`, "Correct the value.", { got, allowed });
  }

  missing(pointer: string, field: string, what: string, allowed: string): void {
    this.report("FieldMissing", pointer, `${what} needs the field ${field}.`, `Add ${field}: ${allowed}.`, { allowed });
  }

  string(fields: Fields, field: string, pointer: string, what: string): string | undefined {
    const value = fields[field];
    if (value === undefined) this.missing(pointer, field, what, "a non-empty string");
    else if (typeof value !== "string" || value === "") this.invalid(step(pointer, field), value, "a non-empty string");
    else return value;
    return undefined;
  }

  object(fields: Fields, field: string, pointer: string): Fields | undefined {
    const value = fields[field];
    if (value === undefined) return undefined;
    if (isObject(value)) return value;
    this.invalid(step(pointer, field), value, "an object");
    return undefined;
  }

  array(fields: Fields, field: string, pointer: string): unknown[] | undefined {
    const value = fields[field];
    if (value === undefined) return undefined;
    if (Array.isArray(value)) return value;
    this.invalid(step(pointer, field), value, "an array");
    return undefined;
  }

  oneOf(fields: Fields, field: string, allowed: readonly string[], pointer: string): void {
    const value = fields[field];
    if (value !== undefined && !allowed.includes(value as string))
      this.invalid(step(pointer, field), value, `one of ${allowed.join(", ")}`);
  }

  /** A number that is written down, not evaluated. */
  number(
    fields: Fields,
    field: string,
    pointer: string,
    range: { least: number; most: number; integer?: boolean },
  ): void {
    const value = fields[field];
    if (value === undefined) return;
    const fits =
      typeof value === "number" &&
      value >= range.least &&
      value <= range.most &&
      (range.integer === false || Number.isInteger(value));
    if (fits) return;
    const kind = range.integer === false ? "a number" : "an integer";
    this.invalid(step(pointer, field), value, `${kind} between ${range.least} and ${range.most}`);
  }

  /** A number, or a JSONata string that gives one. */
  numberOrExpression(
    fields: Fields,
    field: string,
    pointer: string,
    range: { least: number; most: number; integer?: boolean },
    place: ExpressionPlace,
  ): void {
    if (expressionOf(fields[field]) === undefined) this.number(fields, field, pointer, range);
    else this.template(fields, field, pointer, place);
  }

  /** Any JSON with JSONata strings in it. */
  template(fields: Fields, field: string, pointer: string, place: ExpressionPlace): void {
    if (fields[field] === undefined) return;
    const { errors, warnings } = checkTemplate(fields[field], step(pointer, field), place);
    this.errors.push(...errors);
    this.warnings.push(...warnings);
  }
}
