// The error document, and the class that everything in TypeScript throws for a person to read.
import * as z from "zod";
import { caseId, stageName } from "./primitives.ts";

export const errorDocument = z.strictObject({
  schema: z.literal(1),
  code: z
    .string()
    .regex(/^[A-Z][A-Za-z0-9]+$/)
    .describe("stable, PascalCase"),
  message: z.string().min(1).describe("one sentence: what is wrong"),
  field: z.string().optional().describe("path of the field, where one is at fault"),
  got: z.string().optional(),
  allowed: z.string().optional(),
  remedy: z.string().min(1).describe("what to do"),
  stage: stageName.optional(),
  taskId: z.string().optional(),
  index: z.int().min(0).optional(),
  caseId: caseId.optional(),
});

export type ErrorDocument = z.infer<typeof errorDocument>;
type Details = Omit<ErrorDocument, "schema" | "code" | "message" | "remedy">;

/** A failure with a stable code, one sentence and a remedy. Its name is its code: Step Functions matches by name. */
export class VoxelburstError extends Error {
  readonly code: string;
  readonly remedy: string;
  readonly details: Details;

  constructor(code: string, message: string, remedy: string, details: Details & { cause?: unknown } = {}) {
    const { cause, ...rest } = details;
    super(message, { cause });
    this.name = code;
    this.code = code;
    this.remedy = remedy;
    this.details = rest;
  }

  toDocument(): ErrorDocument {
    return { schema: 1, code: this.code, message: this.message, remedy: this.remedy, ...this.details };
  }
}
