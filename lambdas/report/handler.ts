// report on Lambda: ports and logging; core.ts decides.
import { Logger } from "@aws-lambda-powertools/logger";
import { injectLambdaContext } from "@aws-lambda-powertools/logger/middleware";
import { Metrics } from "@aws-lambda-powertools/metrics";
import middy from "@middy/core";
import { NIGHTLY_METRICS } from "../../lib/contracts/night.ts";
import { type ReportInput, reportInput } from "../../lib/contracts/stage-io.ts";
import { parseOrThrow } from "../../lib/contracts/validate.ts";
import { ledgerFromEnvironment } from "../clients/ledger-ports.ts";
import { logErrors } from "../clients/log-errors.ts";
import { machineFromEnvironment } from "../clients/machine.ts";
import { emitNight } from "../clients/nightly-metrics.ts";
import { S3ObjectStore } from "../clients/s3-object-store.ts";
import { report } from "./core.ts";

const logger = new Logger();
const metrics = new Metrics({ namespace: NIGHTLY_METRICS.namespace, serviceName: NIGHTLY_METRICS.service });
const store = new S3ObjectStore();
const machine = machineFromEnvironment();
const { ledger } = ledgerFromEnvironment();

export const handler = middy<ReportInput>()
  .use(injectLambdaContext(logger))
  .use(logErrors(logger))
  .handler(async (event: ReportInput) => {
    const input = parseOrThrow(reportInput, event, "the input of report", "ReportInputInvalid");
    logger.appendKeys({ runId: input.request.runId });
    return report(input, {
      store,
      clock: { now: () => new Date() },
      machine,
      costs: (runId) =>
        ledger.costs(runId).catch((error: Error) => {
          logger.warn("the ledger could not be read", { error });
          throw error;
        }),
      onNight: (comparison) => emitNight(metrics, input.request.dataset, comparison),
    });
  });
