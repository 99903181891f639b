// The capacity ladder: the ways to get a machine, in the order in which a run tries them, and why one was left.
import * as z from "zod";
import { stageName } from "./primitives.ts";

export const rungKind = z.enum(["reservation", "spot", "on-demand", "smaller-gpu"]);

/** A rung that a task had to leave. */
export const fall = z.strictObject({
  stage: stageName,
  taskId: z.string(),
  rung: z.string().describe("<kind>-<instance type>, such as spot-p5.4xlarge"),
  reason: z.string().max(300).describe("the service's own words, cut"),
  next: z.string().optional().describe("the rung that was tried then; absent when it was the last"),
});

export type RungKind = z.infer<typeof rungKind>;
export type Fall = z.infer<typeof fall>;
