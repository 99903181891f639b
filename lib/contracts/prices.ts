// What an hour of an instance type costs: a dated table that travels with the software. Dollars in a plan or a report
// always name the type, the date and the source beside them.
import { VoxelburstError } from "./error.ts";

export interface InstancePrice {
  instanceType: string;
  usdPerHour: number;
  gpus: number;
  gpuName: string;
}

/** Of every price below: when they were published. */
export const PRICES_DATE = "2026-07";
export const PRICES_SOURCE = "AWS On-Demand, us-east-1";

/** Refresh them from AWS's Price List API. */
export const PRICES: readonly InstancePrice[] = [
  { instanceType: "p4d.24xlarge", usdPerHour: 21.96, gpus: 8, gpuName: "A100 40 GB" },
  { instanceType: "p4de.24xlarge", usdPerHour: 27.45, gpus: 8, gpuName: "A100 80 GB" },
  { instanceType: "p5.4xlarge", usdPerHour: 6.88, gpus: 1, gpuName: "H100 80 GB" },
  { instanceType: "p5.48xlarge", usdPerHour: 55.04, gpus: 8, gpuName: "H100 80 GB" },
  { instanceType: "p5en.48xlarge", usdPerHour: 63.3, gpus: 8, gpuName: "H200 141 GB" },
  { instanceType: "p6-b200.48xlarge", usdPerHour: 113.93, gpus: 8, gpuName: "B200" },
  { instanceType: "g5.4xlarge", usdPerHour: 1.624, gpus: 1, gpuName: "A10G 24 GB" },
  { instanceType: "g5.48xlarge", usdPerHour: 16.288, gpus: 8, gpuName: "A10G 24 GB" },
  { instanceType: "g6e.xlarge", usdPerHour: 1.861, gpus: 1, gpuName: "L40S 48 GB" },
  { instanceType: "g6e.4xlarge", usdPerHour: 3.004, gpus: 1, gpuName: "L40S 48 GB" },
  { instanceType: "g6e.48xlarge", usdPerHour: 30.13, gpus: 8, gpuName: "L40S 48 GB" },
];

/**
 * @param field - of the recipe or the environment that named the type, for the error
 * @throws VoxelburstError PriceUnknown, with the types that the table has
 */
export function priceOf(instanceType: string, field = "capacity.pricedAs"): InstancePrice {
  const found = PRICES.find((price) => price.instanceType === instanceType);
  if (found) return found;
  const known = PRICES.map((price) => price.instanceType).join(", ");
  throw new VoxelburstError(
    "PriceUnknown",
    `${field} is ${instanceType}, which has no price here; allowed: ${known}.`,
    `Name one of these types in ${field}.`,
    { field, got: instanceType, allowed: known },
  );
}
