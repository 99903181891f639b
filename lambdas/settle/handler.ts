// settle on Lambda: ports and logging; ledger/core.ts decides.
import { Logger } from "@aws-lambda-powertools/logger";
import { injectLambdaContext } from "@aws-lambda-powertools/logger/middleware";
import middy from "@middy/core";
import { type SettleInput, settleInput } from "../../lib/contracts/ledger.ts";
import { parseOrThrow } from "../../lib/contracts/validate.ts";
import { JobRecords } from "../clients/job-records.ts";
import { ledgerFromEnvironment } from "../clients/ledger-ports.ts";
import { logErrors } from "../clients/log-errors.ts";
import { S3ObjectStore } from "../clients/s3-object-store.ts";
import { settle } from "../ledger/core.ts";

const logger = new Logger();
const ports = { ...ledgerFromEnvironment(), store: new S3ObjectStore(), jobs: new JobRecords() };

export const handler = middy<SettleInput>()
  .use(injectLambdaContext(logger))
  .use(logErrors(logger))
  .handler(async (event: SettleInput) => {
    const input = parseOrThrow(settleInput, event, "the input of settle", "SettleInputInvalid");
    logger.appendKeys({ runId: input.request.runId, taskId: input.taskId, rung: input.rung });
    const answer = await settle(input, ports);
    logger.info("settle", { answer });
    return answer;
  });
