// What an hour of an instance type costs: a dated table that travels with the software. Dollars in a plan or a report
// always name the type, the date and the source beside them. `voxelburst cost --refresh-prices` renews price-table.ts.
import { VoxelburstError } from "./error.ts";
import { PRICE_TABLE } from "./price-table.ts";

export interface InstancePrice {
  instanceType: string;
  usdPerHour: number;
  gpus: number;
  gpuName: string;
}

export const PRICES_REGION = PRICE_TABLE.region;
/** Of every price below: when they were published. */
export const PRICES_DATE = PRICE_TABLE.date;
export const PRICES_SOURCE = `AWS On-Demand, ${PRICES_REGION}`;

/** GPU types that may have a price: which of them do, and what, is the table's matter. */
const GPUS: readonly Omit<InstancePrice, "usdPerHour">[] = [
  { instanceType: "p4d.24xlarge", gpus: 8, gpuName: "A100 40 GB" },
  { instanceType: "p4de.24xlarge", gpus: 8, gpuName: "A100 80 GB" },
  { instanceType: "p5.4xlarge", gpus: 1, gpuName: "H100 80 GB" },
  { instanceType: "p5.48xlarge", gpus: 8, gpuName: "H100 80 GB" },
  { instanceType: "p5e.48xlarge", gpus: 8, gpuName: "H200 141 GB" },
  { instanceType: "p5en.48xlarge", gpus: 8, gpuName: "H200 141 GB" },
  { instanceType: "p6-b200.48xlarge", gpus: 8, gpuName: "B200" },
  { instanceType: "g5.4xlarge", gpus: 1, gpuName: "A10G 24 GB" },
  { instanceType: "g5.48xlarge", gpus: 8, gpuName: "A10G 24 GB" },
  { instanceType: "g6e.xlarge", gpus: 1, gpuName: "L40S 48 GB" },
  { instanceType: "g6e.4xlarge", gpus: 1, gpuName: "L40S 48 GB" },
  { instanceType: "g6e.48xlarge", gpus: 8, gpuName: "L40S 48 GB" },
];

/** What ingest runs on: local NVMe, and the same number of vCPUs whichever of them Spot has. */
export const CPU_INSTANCE_TYPES = ["m5d.4xlarge", "m6id.4xlarge", "r5d.4xlarge", "r6id.4xlarge"] as const;
/** The dearest of them: what ingest is reserved at. */
export const DEAREST_CPU_INSTANCE_TYPE = CPU_INSTANCE_TYPES.reduce((dearest, type) =>
  PRICE_TABLE.ec2[type]! > PRICE_TABLE.ec2[dearest]! ? type : dearest,
);

/** What refresh-prices.ts asks for. */
export const PRICED_INSTANCE_TYPES = [...GPUS.map(({ instanceType }) => instanceType), ...CPU_INSTANCE_TYPES];

export const PRICES: readonly InstancePrice[] = GPUS.flatMap((type) => {
  const usdPerHour = PRICE_TABLE.ec2[type.instanceType];
  return usdPerHour === undefined ? [] : [{ ...type, usdPerHour }];
});

/**
 * @param field - of the recipe or the environment that named the type, for the error
 * @throws VoxelburstError PriceUnknown, with the types that the table has
 */
export function priceOf(instanceType: string, field = "capacity.pricedAs"): InstancePrice {
  const found = PRICES.find((price) => price.instanceType === instanceType);
  if (found) return found;
  throw priceUnknown(instanceType, field, PRICES.map((price) => price.instanceType).join(", "));
}

/**
 * SageMaker charges more than EC2 for the same type. Of the types that it trains on here, the dearest ratio in its
 * published prices is ml.g6e.xlarge's, 2.61 to 1.861 USD; larger g types are at 1.25 and p types at 1.15. It stands in
 * for the types that the table has no price of, so that a reservation is too high rather than too low.
 */
export const SAGEMAKER_MOST_PER_EC2 = 1.41;

/** SageMaker's own price of a type, which the table need not have. */
export const sageMakerUsdPerHour = (instanceType: string): number | undefined =>
  PRICE_TABLE.sageMakerTraining[instanceType];

/**
 * The most that an hour of one instance costs on demand: Spot never costs more.
 *
 * @param ofRung - EC2's price as the deployment gives it for the very rung: what was paid for a reservation in advance is
 *   no price of the same type on demand, and what EC2 asks of one customer none of SageMaker's
 * @throws VoxelburstError PriceUnknown
 */
export function mostUsdPerHour(service: "ec2" | "sagemaker", instanceType: string, ofRung?: number): number {
  const listed = PRICE_TABLE.ec2[instanceType];
  const ec2 = ofRung ?? listed;
  if (ec2 === undefined) throw priceUnknown(instanceType, "instanceType", Object.keys(PRICE_TABLE.ec2).join(", "));
  if (service === "ec2") return ec2;
  return sageMakerUsdPerHour(instanceType) ?? Math.max(ec2, listed ?? 0) * SAGEMAKER_MOST_PER_EC2;
}

const priceUnknown = (instanceType: string, field: string, known: string) =>
  new VoxelburstError(
    "PriceUnknown",
    `${field} is ${instanceType}, which has no price here; allowed: ${known}.`,
    `Name one of these types in ${field}.`,
    { field, got: instanceType, allowed: known },
  );
