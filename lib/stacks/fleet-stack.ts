import { Stack, type StackProps } from "aws-cdk-lib";
import type { Construct } from "constructs";
import { Fleet } from "../cloud/fleet.ts";
import { checkAddresses, fleetId, GpuFleet } from "../cloud/gpu-fleet.ts";
import type { Network } from "../cloud/network.ts";
import type { Deployment } from "../contracts/deployment.ts";
import { CPU_INSTANCE_TYPES } from "../contracts/prices.ts";
import { CAPACITY_WAIT_SECONDS } from "../stages/limits.ts";
import type { CpuRung } from "../stages/rung.ts";

export interface FleetStackProps extends StackProps {
  readonly network: Network;
  readonly deployment: Deployment;
}

/** Where Batch jobs run: CPUs for ingest, and GPUs for the rest, a fleet a rung and instance type. All scale to zero. */
export class FleetStack extends Stack {
  /** In the order in which ingest tries them. */
  readonly cpus: readonly CpuRung[];
  /** In the order in which a run tries them. */
  readonly gpus: readonly GpuFleet[];

  constructor(scope: Construct, id: string, props: FleetStackProps) {
    super(scope, id, props);
    const { network, deployment } = props;
    checkAddresses(deployment, network.addresses);
    this.cpus = (["spot", "on-demand"] as const).map((rung) => {
      const { queue } = new Fleet(this, rung === "spot" ? "Cpu" : "OnDemandCpu", {
        network,
        // With local NVMe; several, so that Spot has somewhere to go, and of one size, so that the ledger knows the dearest.
        instanceTypes: [...CPU_INSTANCE_TYPES],
        maxVcpus: deployment.ingest.maxVcpus,
        purchase: { kind: rung },
        waitSeconds: CAPACITY_WAIT_SECONDS,
      });
      return { rung, queue, waitSeconds: CAPACITY_WAIT_SECONDS };
    });
    this.gpus = deployment.fleets.map((config) => new GpuFleet(this, fleetId(config), { network, config }));
  }
}
