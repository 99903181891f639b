// What an hour of a job costs on AWS, as far as the price table goes.
import type { Machine } from "../../lib/contracts/ports.ts";
import { PRICES } from "../../lib/contracts/prices.ts";
import type { ReportPrices } from "../report/core.ts";

/**
 * A child of a GPU stage on Batch holds one GPU, and pays for its share of the instance. What has no price here is left
 * to the report, which says so: ingest's CPU instances are not in the table, and SageMaker charges more than EC2.
 *
 * @param machine - what GPU stages run on
 */
export function batchPrices(machine: Machine): ReportPrices {
  const price = PRICES.find(({ instanceType }) => instanceType === machine.instanceType);
  return {
    usdPerHour: ({ stage }) =>
      price && (stage === "preprocess" || stage === "compile" || stage === "infer")
        ? price.usdPerHour / price.gpus
        : undefined,
  };
}
