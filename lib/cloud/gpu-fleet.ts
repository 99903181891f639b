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

/**
 * `efa` costs an address a card, and a job of several nodes one more interface on its first card. Fleets with EFA share
 * the first subnet; those on Spot may take another.
 *
 * @throws VoxelburstError DeploymentInvalid, which names the addresses that are needed and that there are
 */
export function checkAddresses({ fleets }: Deployment, addresses: number): void {
  const taken = fleets
    .map(({ rung, instanceType, maxNodes }) => ({ rung, maxNodes, cards: GPU_INSTANCE_TYPES[instanceType].efaCards }))
    .filter(({ rung, cards }) => rung !== "spot" && cards > 0);
  const needed = taken.reduce((sum, { maxNodes, cards }) => sum + maxNodes * (cards + 1), 0);
  if (needed <= addresses) return;
  throw new VoxelburstError(
    "DeploymentInvalid",
    `fleets need ${needed} addresses in the first subnet, nodes x (EFA cards + 1); it has ${addresses}.`,
    "Lower maxNodes of fleets, or name a larger subnet in vpc.subnets.",
    { field: "fleets", got: `${needed} addresses`, allowed: `at most ${addresses}` },
  );
}
