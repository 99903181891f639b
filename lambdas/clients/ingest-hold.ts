// What start-run holds for ingest, as the state machine will start it: the same name on the same rung.
import * as z from "zod";
import { boundedJob, type ReserveInput, reserveInput } from "../../lib/contracts/ledger.ts";
import type { RunRequest } from "../../lib/contracts/run-request.ts";
import { environment } from "./environment.ts";

/** VOXELBURST_INGEST as lib/cloud/ingest-trigger.ts writes it: the first rung of ingest. */
const settings = z.strictObject({
  rung: reserveInput.shape.rung,
  ...boundedJob.pick({
    queue: true,
    instanceType: true,
    childrenPerInstance: true,
    attempts: true,
    waitSeconds: true,
  }).shape,
  /** The most that an attempt may take, whatever the manifest makes of it. */
  attemptSeconds: boundedJob.shape.attemptSeconds,
});

/** @throws VoxelburstError EnvironmentIncomplete */
export function ingestHoldFromEnvironment(): (request: RunRequest) => ReserveInput {
  const { rung, attemptSeconds, ...limits } = settings.parse(JSON.parse(environment("VOXELBURST_INGEST")));
  return (request) => ({
    request,
    taskId: "ingest",
    stage: "ingest",
    rung,
    job: {
      ...limits,
      service: "batch",
      // lib/workflow/jsonata.ts' batchJobName, on the first rung; a test holds the two together.
      name: `ingest-${request.runId.slice(-57)}-k0-*`,
      children: request.ingestShards,
      attemptSeconds: Math.min(attemptSeconds, request.ingestSeconds ?? attemptSeconds),
    },
  });
}
