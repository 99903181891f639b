// All stacks, wired. No account is asked for: the templates fit any; a region only where the deployment names one.

import { readFileSync } from "node:fs";
import { App, type AppProps, Tags } from "aws-cdk-lib";
import { acknowledgeRolePolicies } from "../cloud/acknowledge.ts";
import { keepLogs } from "../cloud/log-groups.ts";
import { readDeployment } from "../cloud/settings.ts";
import { softwareVersionOf } from "../contracts/software-version.ts";
import { FleetStack } from "./fleet-stack.ts";
import { ImageStack } from "./image-stack.ts";
import { NetworkStack } from "./network-stack.ts";
import { StorageStack } from "./storage-stack.ts";
import { WorkflowStack } from "./workflow-stack.ts";

const root = new URL("../../", import.meta.url).pathname;
const { context } = JSON.parse(readFileSync(`${root}cdk.json`, "utf8"));

/** @param props - of an app that the CDK CLI did not start: cdk.json's context is read in any case */
export function voxelburstApp(props: AppProps = {}): App {
  const app = new App({ ...props, context: { ...context, ...props.context } });
  const deployment = readDeployment(app);
  // As on one machine: changed stages must not take outputs of the old ones for their own.
  const version = softwareVersionOf(root);
  const env = deployment.region ? { region: deployment.region } : {};
  const { storage } = new StorageStack(app, "VoxelburstStorage", { env, deployment });
  const { network } = new NetworkStack(app, "VoxelburstNetwork", { env, deployment, storage });
  const pipeline =
    deployment.image.source === "codebuild"
      ? new ImageStack(app, "VoxelburstImage", { env, storage }).pipeline
      : undefined;
  const { cpus, gpus } = new FleetStack(app, "VoxelburstFleet", { env, deployment, network });
  new WorkflowStack(app, "VoxelburstWorkflow", { env, deployment, storage, network, pipeline, cpus, gpus, version });
  acknowledgeRolePolicies(app);
  keepLogs(app, storage.logKey, deployment);
  for (const [name, value] of Object.entries({ application: "voxelburst", ...deployment.tags }))
    Tags.of(app).add(name, value);
  return app;
}
