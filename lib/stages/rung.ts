// A rung of the capacity ladder: where a stage's job runs, as data that the state machine walks through.
import type * as batch from "aws-cdk-lib/aws-batch";
import type { GpuInstanceType, GpuInstanceTypeName } from "../contracts/instance-types.ts";
import type { RungKind } from "../contracts/rung.ts";

/** A fleet of one GPU type, as lib/cloud makes it. */
export interface GpuRung {
  readonly rung: RungKind;
  readonly instanceType: GpuInstanceTypeName;
  readonly gpu: GpuInstanceType;
  readonly queue: batch.IJobQueue;
  readonly config: {
    readonly waitSeconds: number;
    readonly maxNodes: number;
    readonly usdPerHour?: number | undefined;
  };
  /** Whether a job of several nodes can run here: not on Spot, and over EFA alone. */
  readonly isForSeveralNodes: boolean;
}

/** A fleet of CPUs. */
export interface CpuRung {
  readonly rung: RungKind;
  readonly queue: batch.IJobQueue;
  readonly waitSeconds: number;
}

/**
 * One rung, as it stands in the state machine's variable `ladders`. What the states read of it are these names; the
 * fields whose names begin with a capital are handed to the service as they are.
 */
export interface RungData {
  /** <kind>-<instance type>, unique in its ladder; with -cluster or -plan behind it where that is another service's. */
  readonly name: string;
  readonly kind: RungKind;
  /** As the ledger names it. */
  readonly service: "batch" | "training" | "transform";
  /** EC2's name of the type. */
  readonly instanceType: string;
  /** Array children that share an instance; 1 where a job has whole instances. */
  readonly childrenPerInstance: number;
  /** How long an attempt may wait for its instances. */
  readonly waitSeconds: number;
  /** EC2's price of an instance, where the deployment gives the fleet one. */
  readonly usdPerHour?: number;
  /** Batch alone. */
  readonly queue?: string;
  readonly definition?: string;
  /** train: GPUs of an instance. */
  readonly gpus?: number;
  /** train: over EFA, and not on Spot. */
  readonly isForSeveralNodes?: boolean;
  /** train: the recipe's name of the service, and whether it is used when the recipe names none. */
  readonly backend?: "sagemaker" | "batch";
  readonly isPreferred?: boolean;
  /** train on SageMaker: what CreateTrainingJob's ResourceConfig has beside the count, and what it bills afterwards. */
  readonly ResourceConfig?: Readonly<Record<string, unknown>>;
  readonly Environment?: Readonly<Record<string, string>>;
  readonly keepAliveSeconds?: number;
  /** infer on SageMaker. */
  readonly TransformResources?: Readonly<Record<string, unknown>>;
}

/** The construct id of an instance type: P548xlarge. */
export const idOfType = (instanceType: string): string =>
  instanceType
    .split(/[-.]/)
    .map((word) => `${word[0]!.toUpperCase()}${word.slice(1)}`)
    .join("");

export const pricedAs = ({ usdPerHour }: { usdPerHour?: number | undefined }): Pick<RungData, "usdPerHour"> =>
  usdPerHour === undefined ? {} : { usdPerHour };

/**
 * The rungs of a stage whose jobs take one GPU each.
 *
 * @param define - makes the job definition of a type; called once for each
 */
export function gpuRungs(fleets: readonly GpuRung[], define: (fleet: GpuRung) => string): RungData[] {
  const definitions = new Map<string, string>();
  return fleets.map((fleet) => {
    const { rung: kind, instanceType, gpu, queue, config } = fleet;
    const definition = definitions.get(instanceType) ?? define(fleet);
    definitions.set(instanceType, definition);
    return {
      name: `${kind}-${instanceType}`,
      kind,
      service: "batch",
      instanceType,
      childrenPerInstance: gpu.gpus,
      waitSeconds: config.waitSeconds,
      ...pricedAs(config),
      queue: queue.jobQueueArn,
      definition,
    };
  });
}
