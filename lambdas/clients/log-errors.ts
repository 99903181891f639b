// What every handler does about an error: log it, and tell Step Functions all that a report needs of it.
import type { Logger } from "@aws-lambda-powertools/logger";
import type { MiddlewareObj } from "@middy/core";
import { VoxelburstError } from "../../lib/contracts/error.ts";

/**
 * Logs a failure. One of ours leaves under its code, which Step Functions matches, with its error document as the
 * message: Lambda passes on a name and a message and nothing else, and the report wants the remedy too.
 */
export const logErrors = (logger: Logger): MiddlewareObj => ({
  onError: (request) => {
    const { error } = request;
    if (!(error instanceof VoxelburstError)) {
      logger.error("unexpected error", error as Error);
      return;
    }
    const document = error.toDocument();
    logger.error(error.message, { document });
    request.error = new Error(JSON.stringify(document), { cause: error });
    request.error.name = error.code;
  },
});
