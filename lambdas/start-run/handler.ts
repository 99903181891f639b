// start-run on Lambda: an event of S3 through EventBridge or one of the nightly schedule, ports and logging; core.ts decides.
import { Logger } from "@aws-lambda-powertools/logger";
import { injectLambdaContext } from "@aws-lambda-powertools/logger/middleware";
import middy from "@middy/core";
import type { S3ObjectCreatedNotificationEvent } from "aws-lambda";
import { VoxelburstError } from "../../lib/contracts/error.ts";
import { keys } from "../../lib/contracts/keys.ts";
import type { NightlyEvent } from "../../lib/contracts/night.ts";
import { under } from "../../lib/contracts/ports.ts";
import { datasetName } from "../../lib/contracts/primitives.ts";
import { environment } from "../clients/environment.ts";
import { StepFunctionsExecutions } from "../clients/executions.ts";
import { logErrors } from "../clients/log-errors.ts";
import { S3ObjectStore } from "../clients/s3-object-store.ts";
import { type StartRunInput, startRun } from "./core.ts";
import { isNightlyEvent, nightlyInput } from "./nightly.ts";

const logger = new Logger();
const ports = {
  store: new S3ObjectStore(),
  executions: new StepFunctionsExecutions(environment("VOXELBURST_STATE_MACHINE_ARN")),
  version: environment("VOXELBURST_VERSION"),
  pseudonymKey: new TextEncoder().encode(environment("VOXELBURST_PSEUDONYM_KEY")),
  // Eight cases a child: reading them takes minutes, starting a host takes as long. Batch's arrays have at most 10,000.
  ingestShards: (cases: number) => Math.min(10_000, Math.ceil(cases / 8)),
};
const roots = {
  dataUri: environment("VOXELBURST_DATA_URI"),
  artefactsUri: environment("VOXELBURST_ARTEFACTS_URI"),
  quarantineUri: environment("VOXELBURST_QUARANTINE_URI"),
};

/** @throws VoxelburstError DatasetNameInvalid */
function datasetOf(event: S3ObjectCreatedNotificationEvent): string {
  // The rule's wildcard crosses slashes, so that datasets/a/b/dataset.json arrives here too.
  const name = /^datasets\/(.+)\/dataset\.json$/.exec(event.detail.object.key)?.[1];
  const parsed = datasetName.safeParse(name);
  if (parsed.success) return parsed.data;
  throw new VoxelburstError(
    "DatasetNameInvalid",
    "A dataset.json was uploaded where no dataset can be; allowed: datasets/<name>/dataset.json with 1 to 63 lower-case letters, digits or '-'.",
    "Upload the dataset again under such a name.",
    { field: "name", allowed: "1 to 63 lower-case letters, digits or '-', the first a letter or digit" },
  );
}

function inputOf(event: S3ObjectCreatedNotificationEvent | NightlyEvent): StartRunInput {
  if (isNightlyEvent(event)) return nightlyInput(event, roots);
  const dataset = datasetOf(event as S3ObjectCreatedNotificationEvent);
  const { dataUri, artefactsUri, quarantineUri } = roots;
  return { dataset, datasetUri: under(dataUri, keys.dataset(dataset)), artefactsUri, quarantineUri };
}

export const handler = middy<S3ObjectCreatedNotificationEvent | NightlyEvent>()
  .use(injectLambdaContext(logger))
  .use(logErrors(logger))
  .handler(async (event: S3ObjectCreatedNotificationEvent | NightlyEvent) => {
    const input = inputOf(event);
    logger.appendKeys({ dataset: input.dataset });
    const started = await startRun(input, ports);
    logger.info(started.outcome, { runId: started.request.runId });
    return { runId: started.request.runId, outcome: started.outcome };
  });
