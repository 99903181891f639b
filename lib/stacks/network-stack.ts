import { Stack, type StackProps } from "aws-cdk-lib";
import type { Construct } from "constructs";
import { Network } from "../cloud/network.ts";
import type { Buckets } from "../stages/stage-context.ts";

export interface NetworkStackProps extends StackProps {
  readonly buckets: Buckets;
}

/** Private subnets and endpoints. */
export class NetworkStack extends Stack {
  readonly network: Network;

  constructor(scope: Construct, id: string, props: NetworkStackProps) {
    super(scope, id, props);
    this.network = new Network(this, "Network", props);
  }
}
