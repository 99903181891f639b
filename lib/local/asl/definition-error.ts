// Why a state machine is refused.
import { VoxelburstError } from "../../contracts/error.ts";

export type ProblemCode =
  | "DefinitionNotObject"
  | "ExpressionInvalid"
  | "FieldInvalid"
  | "FieldMissing"
  | "FieldUnknown"
  | "FieldUnsupported"
  | "QueryLanguageUnsupported"
  | "ReferenceInvalid"
  | "ResourceInvalid"
  | "ResourceUnsupported"
  | "StateNameInvalid"
  | "StateTypeUnknown"
  | "StateUnreachable"
  | "TargetMissing"
  | "VariableInvalid"
  | "VariableNeverAssigned";

export interface Problem {
  code: ProblemCode;
  /** JSON pointer into the definition. */
  pointer: string;
  /** One sentence: what is wrong. */
  message: string;
  got?: string;
  allowed?: string;
  /** What to do. */
  remedy: string;
}

/** Refuses a definition as a whole: `problems` has everything that was found, the error itself speaks of the first. */
export class AslDefinitionError extends VoxelburstError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    const [first] = problems;
    if (!first) throw new Error("A definition without a problem is not refused.");
    const more = problems.length > 1 ? ` ${problems.length - 1} more below it.` : "";
    super(first.code, `${first.message.replace(/\.$/, "")} (at ${first.pointer || "/"}).${more}`, first.remedy, {
      field: first.pointer || "/",
      ...(first.got === undefined ? {} : { got: first.got }),
      ...(first.allowed === undefined ? {} : { allowed: first.allowed }),
    });
    this.problems = problems;
  }
}

/** A part of a definition as an error quotes it. */
export function quoted(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** A JSON pointer's next step. */
export const step = (pointer: string, key: string | number): string =>
  `${pointer}/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`;
