import { describe, expect, it } from "vitest";
import { batchPrices } from "../../../lambdas/clients/batch-prices.ts";
import { PRICES } from "../../../lib/contracts/index.ts";

const priceOf = (type: string) => PRICES.find(({ instanceType }) => instanceType === type)!.usdPerHour;
const prices = (instanceType: string) =>
  batchPrices({ where: "aws", instanceType, gpus: 8, cpus: 96, memoryGiB: 1152, engines: [] });
const host = {} as never;

describe("the price of a job's hour", () => {
  it("is one GPU's share of the instance", () => {
    for (const stage of ["preprocess", "compile", "infer"] as const)
      expect(prices("p4d.24xlarge").usdPerHour({ stage, host })).toBe(priceOf("p4d.24xlarge") / 8);
  });

  it("is not known of what runs elsewhere, or on a type without a price", () => {
    for (const stage of ["ingest", "train"] as const)
      expect(prices("p4d.24xlarge").usdPerHour({ stage, host })).toBeUndefined();
    expect(prices("p9.48xlarge").usdPerHour({ stage: "infer", host })).toBeUndefined();
  });
});
