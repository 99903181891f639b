// The state machine's input. It depends on the identity (and the attempt) alone, so that StartExecution is idempotent.
import * as z from "zod";
import { datasetName, isoTime, sha256Hex, uri } from "./primitives.ts";

export const runId = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,62}-[0-9a-f]{12}-[1-9][0-9]{0,3}$/, "<dataset>-<12 digits of the identity>-<attempt>");

/** What the names of all runs of a content begin with; the attempt follows. */
export const runIdStart = (dataset: string, identity: string): string => `${dataset}-${identity.slice(0, 12)}-`;

export const runRequest = z.strictObject({
  schema: z.literal(1),
  runId,
  identity: sha256Hex.describe("of every key and content tag under the dataset, the recipe, the version and the nonce"),
  attempt: z.int().min(1).max(9999),
  nonce: z.string().max(64).optional().describe("bench and the schedule: nothing timed is skipped"),
  night: isoTime.optional().describe("of the nightly benchmark: the time that the schedule was to start it at"),
  version: z.string().min(1).describe("software version that made the identity"),
  dataset: datasetName,
  datasetUri: uri,
  artefactsUri: uri,
  quarantineUri: uri,
  ingestShards: z
    .int()
    .min(2)
    .max(10_000)
    .describe("array children; Batch's least is 2, the second of a single shard finds nothing to do"),
  ingestSeconds: z
    .int()
    .min(60)
    .optional()
    .describe("of a child, what the service is told to stop an attempt at; from the manifest alone"),
});

export type RunRequest = z.infer<typeof runRequest>;
