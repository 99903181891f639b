// start-run on Lambda: an event of S3 through EventBridge or one of the nightly schedule, ports and logging; core.ts
// decides.
import { IdempotencyConfig, makeIdempotent } from "@aws-lambda-powertools/idempotency";
import { DynamoDBPersistenceLayer } from "@aws-lambda-powertools/idempotency/dynamodb";
import { Logger } from "@aws-lambda-powertools/logger";
import { injectLambdaContext } from "@aws-lambda-powertools/logger/middleware";
import { Metrics, MetricUnit } from "@aws-lambda-powertools/metrics";
import { logMetrics } from "@aws-lambda-powertools/metrics/middleware";
import { PublishCommand, SNSClient } from "@aws-sdk/client-sns";
import middy from "@middy/core";
import type { Context, S3ObjectCreatedNotificationEvent } from "aws-lambda";
import { VoxelburstError } from "../../lib/contracts/error.ts";
import { keys } from "../../lib/contracts/keys.ts";
import type { NightlyEvent } from "../../lib/contracts/night.ts";
import { under } from "../../lib/contracts/ports.ts";
import { datasetName } from "../../lib/contracts/primitives.ts";
import { environment } from "../clients/environment.ts";
import { StepFunctionsExecutions } from "../clients/executions.ts";
import { ingestHoldFromEnvironment } from "../clients/ingest-hold.ts";
import { ledgerFromEnvironment } from "../clients/ledger-ports.ts";
import { logErrors } from "../clients/log-errors.ts";
import { pseudonymKeyOf } from "../clients/pseudonym-key.ts";
import { S3ObjectStore } from "../clients/s3-object-store.ts";
import { holdMost } from "../ledger/core.ts";
import { beginRun, type Examination, examineDataset, type StartRunInput } from "./core.ts";
import { ingestSeconds } from "./ingest-limit.ts";
import { isNightlyEvent, nightlyInput } from "./nightly.ts";

type StartEvent = S3ObjectCreatedNotificationEvent | NightlyEvent;

const logger = new Logger();
const metrics = new Metrics({ namespace: "voxelburst", serviceName: "start-run" });
const sns = new SNSClient({});
const topicArn = environment("VOXELBURST_TOPIC_ARN");
const store = new S3ObjectStore();
const version = environment("VOXELBURST_VERSION");
const pseudonymKey = pseudonymKeyOf(environment("VOXELBURST_PSEUDONYM_KEY_ARN"));
const ledger = { ...ledgerFromEnvironment(), store };
const ingestHold = ingestHoldFromEnvironment();
const ports = {
  store,
  version,
  executions: new StepFunctionsExecutions(environment("VOXELBURST_STATE_MACHINE_ARN")),
  // Eight cases a child: reading them takes minutes, starting a host takes as long. Batch's arrays have at most 10,000.
  ingestShards: (cases: number) => Math.min(10_000, Math.ceil(cases / 8)),
  ingestSeconds,
  holdIngest: (request: Parameters<typeof ingestHold>[0]) => holdMost(ingestHold(request), ledger),
};
const roots = {
  dataUri: environment("VOXELBURST_DATA_URI"),
  artefactsUri: environment("VOXELBURST_ARTEFACTS_URI"),
  quarantineUri: environment("VOXELBURST_QUARANTINE_URI"),
};

/** Longer than the services deliver an event again; an upload of its own has a key of its own, however soon it comes. */
const REMEMBERED_SECONDS = 86_400;

const idempotency = new IdempotencyConfig({ expiresAfterSeconds: REMEMBERED_SECONDS });
/** One answer to all deliveries of one upload, as long as the dataset is what it was. */
const beginOnce = makeIdempotent(
  async (_delivery: { identity: string; of: string }, examined: Examination) => {
    const { request, outcome } = await beginRun(examined, { ...ports, pseudonymKey: await pseudonymKey() });
    return { runId: request.runId, outcome };
  },
  {
    persistenceStore: new DynamoDBPersistenceLayer({ tableName: environment("VOXELBURST_IDEMPOTENCY_TABLE") }),
    config: idempotency,
    keyPrefix: "start-run",
    dataIndexArgument: 0,
  },
);

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

/** What is started, and what all deliveries of one event have in common and no other event has. */
function read(event: StartEvent): { input: StartRunInput; of: string } {
  if (isNightlyEvent(event)) {
    const input = nightlyInput(event, roots);
    return { input, of: input.nonce ?? "" };
  }
  const upload = event as S3ObjectCreatedNotificationEvent;
  const dataset = datasetOf(upload);
  const { dataUri, artefactsUri, quarantineUri } = roots;
  return {
    input: { dataset, datasetUri: under(dataUri, keys.dataset(dataset)), artefactsUri, quarantineUri },
    of: upload.detail.object.sequencer,
  };
}

/** A dataset or a cap that says no will say no again: people are told, and nothing is tried again. */
async function refuse(error: VoxelburstError) {
  metrics.addMetric("RunsRefused", MetricUnit.Count, 1);
  logger.warn(error.message, { document: error.toDocument() });
  await sns.send(
    new PublishCommand({
      TopicArn: topicArn,
      Subject: `voxelburst started no run: ${error.code}`,
      Message: `${error.message} ${error.remedy}`,
    }),
  );
  return { outcome: "refused" as const, code: error.code };
}

export const handler = middy<StartEvent>()
  .use(injectLambdaContext(logger))
  .use(logMetrics(metrics))
  .use(logErrors(logger))
  .handler(async (event: StartEvent, context: Context) => {
    idempotency.registerLambdaContext(context);
    try {
      const { input, of } = read(event);
      logger.appendKeys({ dataset: input.dataset });
      const examined = await examineDataset(input, { store, version, pseudonymKey: await pseudonymKey() });
      const started = await beginOnce({ identity: examined.identity, of }, examined);
      metrics.addMetric(started.outcome === "started" ? "RunsStarted" : "RunsNamed", MetricUnit.Count, 1);
      logger.info(started.outcome, { runId: started.runId });
      return started;
    } catch (error) {
      if (error instanceof VoxelburstError) return refuse(error);
      // Lambda tries twice more; another delivery of the same upload may only be under way.
      metrics.addMetric("StartsFailed", MetricUnit.Count, 1);
      throw error;
    }
  });
