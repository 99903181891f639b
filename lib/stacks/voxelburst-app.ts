// All stacks, wired. No account and no region is asked for: the templates fit any.

import { readFileSync } from "node:fs";
import { App, type AppProps, Tags } from "aws-cdk-lib";
import { readSettings } from "../cloud/settings.ts";
import { FleetStack } from "./fleet-stack.ts";
import { NetworkStack } from "./network-stack.ts";
import { StorageStack } from "./storage-stack.ts";
import { WorkflowStack } from "./workflow-stack.ts";

const readJsonFile = (name: string) => JSON.parse(readFileSync(new URL(`../../${name}`, import.meta.url), "utf8"));

/** @param props - of an app that the CDK CLI did not start: cdk.json's context is read in any case */
export function voxelburstApp(props: AppProps = {}): App {
  const app = new App({ ...props, context: { ...readJsonFile("cdk.json").context, ...props.context } });
  const settings = readSettings(app.node.tryGetContext("voxelburst"));
  const { version } = readJsonFile("package.json");
  const { storage } = new StorageStack(app, "VoxelburstStorage");
  const { network } = new NetworkStack(app, "VoxelburstNetwork", { buckets: storage.buckets });
  const { cpu, gpu } = new FleetStack(app, "VoxelburstFleet", { network, settings });
  new WorkflowStack(app, "VoxelburstWorkflow", { storage, network, cpu, gpu, settings, version });
  Tags.of(app).add("application", "voxelburst");
  return app;
}
