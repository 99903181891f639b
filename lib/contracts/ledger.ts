// The ledger's two calls: before a stage starts, what it can cost at most is reserved; when it has ended, what it did
// cost takes the reservation's place. The state machine passes on the very limits that it starts the job with.
import * as z from "zod";
import { positive } from "./primitives.ts";
import { runRequest } from "./run-request.ts";

/** A job and everything that bounds its cost. */
export const boundedJob = z.strictObject({
  service: z.enum(["batch", "training", "transform"]),
  name: z
    .string()
    .min(3)
    .max(129)
    .regex(/^[A-Za-z0-9][A-Za-z0-9_-]*\*?$/, "a job's name, or the start of one and a '*'")
    .describe("of every try of it: infer-fold0-ddp-torch-<run>-*; the ledger finds, stops and counts jobs by it"),
  queue: z.string().min(1).optional().describe("Batch: the queue's ARN"),
  instanceType: z.string().min(1).describe("EC2's name of it, the dearest one where the service may choose"),
  usdPerHour: positive.optional().describe("EC2's price of an instance, where the deployment gives the rung one"),
  children: z.int().min(1).describe("children of an array, nodes of a multi-node job, instances of a training; else 1"),
  childrenPerInstance: z.int().min(1).describe("as many share an instance; 1 for whole instances"),
  attemptSeconds: positive.describe("AttemptDurationSeconds of Batch, MaxRuntimeInSeconds of SageMaker"),
  attempts: z.int().min(1).describe("Batch's retry attempts; SageMaker's MaximumRetryAttempts plus 1"),
  waitSeconds: z.number().min(0).describe("an attempt may wait so long for its instances"),
  waitsTogether: z
    .boolean()
    .optional()
    .describe("of several nodes: the first of them wait for the last, and are paid for meanwhile; absent: false"),
  keepAliveSeconds: z
    .number()
    .min(0)
    .max(21_600)
    .optional()
    .describe("SageMaker keeps a training's instances so long after it, and bills them; absent: not at all"),
});

/** The name of a reservation: a task on a rung. */
const reservationName = {
  request: runRequest,
  taskId: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/),
  rung: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/),
};

export const ledgerStage = z.enum(["ingest", "preprocess", "train", "compile", "infer"]);

export const reserveInput = z.strictObject({ ...reservationName, stage: ledgerStage, job: boundedJob });

/** Before every try: what an earlier one of the same name did cost is settled first. A repeated call reserves once. */
export const reserveOutput = z.strictObject({
  granted: z.boolean(),
  reservedUsd: z
    .number()
    .min(0)
    .describe("the most that the job can cost; of a refusal, the estimate that was refused"),
  reason: z
    .strictObject({ code: z.enum(["OverBudget", "OverMonthlyBudget"]), message: z.string(), remedy: z.string() })
    .optional()
    .describe("of a refusal; the shape of a plan's"),
});

/** After the job has ended in whatever way. What still runs of it is stopped first: a state's timeout stops no job. */
export const settleInput = z.strictObject(reservationName);

export const settleOutput = z.strictObject({
  settled: z.boolean().describe("false: a job is still stopping, and the guard settles it"),
  usd: z.number().min(0).describe("what it cost so far"),
});

/** How often the guard looks: a job that passes its reservation is stopped before it has gone past it. */
export const GUARD_INTERVAL_MINUTES = 5;

export type BoundedJob = z.infer<typeof boundedJob>;
export type LedgerStage = z.infer<typeof ledgerStage>;
export type ReserveInput = z.infer<typeof reserveInput>;
export type ReserveOutput = z.infer<typeof reserveOutput>;
export type SettleInput = z.infer<typeof settleInput>;
export type SettleOutput = z.infer<typeof settleOutput>;
