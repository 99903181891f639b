// plan on Lambda: ports and logging; core.ts decides.
import { Logger } from "@aws-lambda-powertools/logger";
import { injectLambdaContext } from "@aws-lambda-powertools/logger/middleware";
import middy from "@middy/core";
import { type PlanInput, planInput } from "../../lib/contracts/stage-io.ts";
import { parseOrThrow } from "../../lib/contracts/validate.ts";
import { logErrors } from "../clients/log-errors.ts";
import { machineFromEnvironment } from "../clients/machine.ts";
import { S3ObjectStore } from "../clients/s3-object-store.ts";
import { plan } from "./core.ts";

const logger = new Logger();
const store = new S3ObjectStore();
const machine = machineFromEnvironment();

export const handler = middy<PlanInput>()
  .use(injectLambdaContext(logger))
  .use(logErrors(logger))
  .handler(async (event: PlanInput) => {
    const input = parseOrThrow(planInput, event, "the input of plan", "PlanInputInvalid");
    logger.appendKeys({ runId: input.request.runId });
    return plan(input, { store, clock: { now: () => new Date() }, machine });
  });
