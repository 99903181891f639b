// middy middlewares that every handler has: one line in at the start, one line out when it fails.
import type { Logger } from "@aws-lambda-powertools/logger";
import type { MiddlewareObj } from "@middy/core";
import { VoxelburstError } from "../../lib/contracts/error.ts";

/** Logs a failure with its code and remedy and lets it through: Step Functions matches it by its name. */
export const logErrors = (logger: Logger): MiddlewareObj => ({
  onError: ({ error }) => {
    if (error instanceof VoxelburstError) logger.error(error.message, { document: error.toDocument() });
    else logger.error("unexpected error", error as Error);
  },
});
