// reserve on Lambda: ports and logging; ledger/core.ts decides.
import { Logger } from "@aws-lambda-powertools/logger";
import { injectLambdaContext } from "@aws-lambda-powertools/logger/middleware";
import middy from "@middy/core";
import { type ReserveInput, reserveInput } from "../../lib/contracts/ledger.ts";
import { parseOrThrow } from "../../lib/contracts/validate.ts";
import { JobRecords } from "../clients/job-records.ts";
import { ledgerFromEnvironment } from "../clients/ledger-ports.ts";
import { logErrors } from "../clients/log-errors.ts";
import { S3ObjectStore } from "../clients/s3-object-store.ts";
import { reserve } from "../ledger/core.ts";

const logger = new Logger();
const ports = { ...ledgerFromEnvironment(), store: new S3ObjectStore(), jobs: new JobRecords() };

export const handler = middy<ReserveInput>()
  .use(injectLambdaContext(logger))
  .use(logErrors(logger))
  .handler(async (event: ReserveInput) => {
    const input = parseOrThrow(reserveInput, event, "the input of reserve", "ReserveInputInvalid");
    logger.appendKeys({ runId: input.request.runId, taskId: input.taskId, rung: input.rung });
    const answer = await reserve(input, ports);
    logger.info("reserve", { answer });
    return answer;
  });
