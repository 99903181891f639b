import { Stack, type StackProps } from "aws-cdk-lib";
import type { Construct } from "constructs";
import { Fleet } from "../cloud/fleet.ts";
import { GPU_INSTANCE_TYPES } from "../cloud/instance-types.ts";
import type { Network } from "../cloud/network.ts";
import type { Settings } from "../cloud/settings.ts";

export interface FleetStackProps extends StackProps {
  readonly network: Network;
  readonly settings: Settings;
}

/** Where Batch jobs run: CPUs for ingest, GPUs for the rest. Both scale to zero. */
export class FleetStack extends Stack {
  readonly cpu: Fleet;
  readonly gpu: Fleet;

  constructor(scope: Construct, id: string, props: FleetStackProps) {
    super(scope, id, props);
    const { network, settings } = props;
    const gpu = GPU_INSTANCE_TYPES[settings.gpuInstanceType]!;
    this.cpu = new Fleet(this, "Cpu", {
      network,
      // Families with local NVMe; several, so that Spot has somewhere to go.
      instanceTypes: ["m5d", "m6id", "r5d", "r6id"],
      maxVcpus: settings.maxIngestVcpus,
      spot: true,
    });
    this.gpu = new Fleet(this, "Gpu", {
      network,
      instanceTypes: [settings.gpuInstanceType],
      maxVcpus: settings.maxGpuInstances * gpu.vcpus,
      gpu,
    });
  }
}
