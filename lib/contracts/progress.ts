// One JSON object a line on stdout. The CLI renders them; CloudWatch keeps them.
import * as z from "zod";
import { count, isoTime, stageName } from "./primitives.ts";

export const progressEvent = z.strictObject({
  type: z.literal("progress"),
  time: isoTime,
  stage: stageName,
  taskId: z.string(),
  index: count.optional(),
  done: z.number().min(0),
  total: z.number().min(0),
  unit: z.string().min(1).describe("cases, steps, windows"),
  rate: z.number().min(0).describe("units a second"),
  message: z.string().optional(),
});

export type ProgressEvent = z.infer<typeof progressEvent>;
