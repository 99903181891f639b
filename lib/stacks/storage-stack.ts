import { Stack, type StackProps } from "aws-cdk-lib";
import type { Construct } from "constructs";
import { Storage } from "../cloud/storage.ts";
import type { Deployment } from "../contracts/deployment.ts";

export interface StorageStackProps extends StackProps {
  readonly deployment: Deployment;
}

/** Data, artefacts, quarantine: what outlives everything else. */
export class StorageStack extends Stack {
  readonly storage: Storage;

  constructor(scope: Construct, id: string, props: StorageStackProps) {
    super(scope, id, props);
    this.storage = new Storage(this, "Storage", props);
  }
}
