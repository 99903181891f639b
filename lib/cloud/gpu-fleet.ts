// A rung of the capacity ladder on one GPU instance type, as the deployment's `fleets` name it.
import type { Construct } from "constructs";
import type { Deployment, FleetConfig, Rung } from "../contracts/deployment.ts";
import { VoxelburstError } from "../contracts/error.ts";
import { GPU_INSTANCE_TYPES, type GpuInstanceType, type GpuInstanceTypeName } from "../contracts/instance-types.ts";
import { Fleet, type Purchase } from "./fleet.ts";
import type { Network } from "./network.ts";

export interface GpuFleetProps {
  readonly network: Network;
  readonly config: FleetConfig;
}

export class GpuFleet extends Fleet {
  readonly rung: Rung;
  readonly instanceType: GpuInstanceTypeName;
  readonly gpu: GpuInstanceType;
  readonly config: FleetConfig;

  constructor(scope: Construct, id: string, { network, config }: GpuFleetProps) {
    const gpu = GPU_INSTANCE_TYPES[config.instanceType];
    super(scope, id, {
      network,
      instanceTypes: [config.instanceType],
      maxVcpus: config.maxNodes * gpu.vcpus,
      purchase: purchaseOf(config),
      waitSeconds: config.waitSeconds,
      gpu,
    });
    this.rung = config.rung;
    this.instanceType = config.instanceType;
    this.gpu = gpu;
    this.config = config;
  }

  /** Whether a job of several nodes can run here: not on Spot, and over EFA alone. */
  get isForSeveralNodes(): boolean {
    return this.rung !== "spot" && this.gpu.efaCards > 0;
  }
}

function purchaseOf(config: FleetConfig): Purchase {
  if (config.rung === "spot") return { kind: "spot" };
  if (config.rung !== "reservation") return { kind: "on-demand" };
  const { reservationId: id, capacityBlock: isCapacityBlock, placementGroup } = config;
  return { kind: "reservation", id, isCapacityBlock, placementGroup };
}

/** The construct id of a fleet: OnDemandP548xlarge. */
export const fleetId = ({ rung, instanceType }: Pick<FleetConfig, "rung" | "instanceType">): string =>
  `${rung}-${instanceType}`
    .split(/[-.]/)
    .map((word) => `${word[0]!.toUpperCase()}${word.slice(1)}`)
    .join("");

/** `efa` costs an address a card, and a job of several nodes, which Spot has none of, one more on its first card. */
function addressesOf({ rung, instanceType, maxNodes }: FleetConfig): number {
  const { efaCards } = GPU_INSTANCE_TYPES[instanceType];
  return maxNodes * (efaCards === 0 ? 1 : efaCards + (rung === "spot" ? 0 : 1));
}

/**
 * Fleets with EFA and reservations share the first subnet; Spot and what has no EFA may take any.
 *
 * @param subnets - addresses that are free in each, the first one first
 * @throws VoxelburstError DeploymentInvalid, which names the first fleet that does not fit behind those before it
 */
export function checkAddresses({ fleets }: Deployment, subnets: readonly number[]): void {
  const all = { has: subnets.reduce((sum, addresses) => sum + addresses, 0), needed: 0, of: "all subnets" };
  const first = { has: subnets[0]!, needed: 0, of: "the first subnet" };
  for (const [index, fleet] of fleets.entries()) {
    const { rung, instanceType, maxNodes } = fleet;
    const isInFirst = rung === "reservation" || (rung !== "spot" && GPU_INSTANCE_TYPES[instanceType].efaCards > 0);
    for (const place of isInFirst ? [first, all] : [all]) {
      place.needed += addressesOf(fleet);
      if (place.needed <= place.has) continue;
      throw new VoxelburstError(
        "DeploymentInvalid",
        `fleets[${index}] (${rung}, ${instanceType}, maxNodes ${maxNodes}) does not fit: with it fleets need ${place.needed} addresses in ${place.of}, one a node or a network card with EFA and one more a node of a cluster; ${place.has} are free for them.`,
        `Lower fleets[${index}].maxNodes or that of a fleet before it, or give larger subnets: vpc.subnets of an existing VPC, one more of zones for Spot in a new one.`,
        { field: `fleets[${index}].maxNodes`, got: `${place.needed} addresses`, allowed: `at most ${place.has}` },
      );
    }
  }
}
