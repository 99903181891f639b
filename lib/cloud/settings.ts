// What a deployment may choose: the object `voxelburst` in cdk.json's context, or `-c voxelburst='{...}'`.
import { PRICES } from "../contracts/prices.ts";
import { GPU_INSTANCE_TYPES } from "./instance-types.ts";

export interface Settings {
  /** What preprocess, train, compile and infer run on.
   * @default "p5.4xlarge" */
  readonly gpuInstanceType: string;
  /** Instances of that type at once, for Batch; SageMaker has its own quota.
   * @default 4 */
  readonly maxGpuInstances: number;
  /** vCPUs of ingest at once.
   * @default 128 */
  readonly maxIngestVcpus: number;
}

const defaults: Settings = { gpuInstanceType: "p5.4xlarge", maxGpuInstances: 4, maxIngestVcpus: 128 };

function refuse(field: string, got: unknown, allowed: string): never {
  throw new Error(`voxelburst.${field} is ${JSON.stringify(got)}; allowed: ${allowed}. Correct it in cdk.json.`);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Error(`voxelburst is not JSON: ${(cause as Error).message}. Correct the text behind -c voxelburst=.`, {
      cause,
    });
  }
}

/** @throws Error that names the field, what was got and what is allowed */
export function readSettings(given: unknown): Settings {
  const object = typeof given === "string" ? parse(given) : (given ?? {});
  if (object === null || typeof object !== "object" || Array.isArray(object))
    throw new Error(`voxelburst is ${JSON.stringify(object)}; allowed: an object. Correct it in cdk.json.`);
  for (const name of Object.keys(object))
    if (!(name in defaults)) refuse(name, (object as Record<string, unknown>)[name], Object.keys(defaults).join(", "));
  const settings = { ...defaults, ...object };
  // plan estimates dollars, so that a type without a price would fail every run.
  const priced = Object.keys(GPU_INSTANCE_TYPES).filter((type) => PRICES.some((price) => price.instanceType === type));
  if (!priced.includes(settings.gpuInstanceType))
    refuse("gpuInstanceType", settings.gpuInstanceType, priced.join(", "));
  for (const name of ["maxGpuInstances", "maxIngestVcpus"] as const)
    if (!Number.isInteger(settings[name]) || settings[name] < 1)
      refuse(name, settings[name], "a whole number of at least 1");
  return settings;
}
