import { Stack, type StackProps } from "aws-cdk-lib";
import type { Construct } from "constructs";
import { Network } from "../cloud/network.ts";
import type { Storage } from "../cloud/storage.ts";
import type { Deployment } from "../contracts/deployment.ts";

export interface NetworkStackProps extends StackProps {
  readonly storage: Storage;
  readonly deployment: Deployment;
}

/** Private subnets and endpoints. */
export class NetworkStack extends Stack {
  readonly network: Network;

  constructor(scope: Construct, id: string, props: NetworkStackProps) {
    super(scope, id, props);
    const { storage, deployment } = props;
    this.network = new Network(this, "Network", {
      buckets: storage.buckets,
      accessLogs: storage.accessLogs,
      deployment,
    });
  }
}
