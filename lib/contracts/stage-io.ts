// What the state machine hands to the two lambdas inside it, and gets back. (plan's output is in plan.ts.)
import * as z from "zod";
import { planOutput } from "./plan.ts";
import { objectKey, stageName } from "./primitives.ts";
import { runRequest } from "./run-request.ts";
import { fall } from "./rung.ts";

export const planInput = z.strictObject({ request: runRequest });

/** A caught failure: the error's name and Cause as Step Functions gives them, Cause cut to 8,000 characters. */
export const failure = z.strictObject({
  stage: stageName,
  taskId: z.string(),
  error: z.string(),
  cause: z.string().default(""),
});

export const reportInput = z.strictObject({
  request: runRequest,
  plan: planOutput.optional().describe("absent when the run failed before it"),
  failures: z.array(failure),
  falls: z.array(fall).optional().describe("rungs of the capacity ladder that tasks had to leave; the first hundred"),
});

export const reportOutput = z.strictObject({
  status: z.enum(["succeeded", "failed", "refused"]),
  error: z.string().describe("code of the first error; empty when succeeded"),
  message: z.string().describe("one sentence for the notification"),
  reportKey: objectKey,
  htmlKey: objectKey,
  csvKey: objectKey,
});

export type PlanInput = z.infer<typeof planInput>;
export type Failure = z.infer<typeof failure>;
export type ReportInput = z.infer<typeof reportInput>;
export type ReportOutput = z.infer<typeof reportOutput>;
