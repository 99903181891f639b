// Every log group of the app, encrypted and kept as long as the deployment says, whichever construct made it.
import { Aspects, CfnResource, RemovalPolicy } from "aws-cdk-lib";
import type * as kms from "aws-cdk-lib/aws-kms";
import * as logs from "aws-cdk-lib/aws-logs";
import type { IConstruct } from "constructs";
import type { Deployment } from "../contracts/deployment.ts";

/** @param key - whose policy admits CloudWatch Logs */
export function keepLogs(scope: IConstruct, key: kms.IKey, { retention, removalPolicy }: Deployment): void {
  Aspects.of(scope).add({
    visit(node: IConstruct) {
      if (!(CfnResource.isCfnResource(node) && node.cfnResourceType === logs.CfnLogGroup.CFN_RESOURCE_TYPE_NAME))
        return;
      const group = node as logs.CfnLogGroup;
      group.kmsKeyId ??= key.keyArn;
      group.retentionInDays = retention.logDays;
      group.applyRemovalPolicy(removalPolicy === "retain" ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY);
    },
  });
}
