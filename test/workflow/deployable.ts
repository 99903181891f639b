// The shipped templates as `cdk deploy` can put them on moto: the storage stack whole, and of the workflow stack what
// belongs to the Workflow construct, with the ARNs of everything else imported.
//
// moto's CloudFormation has no job definitions of several nodes and no schedules, so that the whole of the workflow stack
// cannot be deployed there.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { App, CfnOutput, LegacyStackSynthesizer, Stack } from "aws-cdk-lib";
import { CfnInclude } from "aws-cdk-lib/cloudformation-include";
import { parseDeployment } from "../../lib/cloud/settings.ts";
import { StorageStack } from "../../lib/stacks/storage-stack.ts";
import { voxelburstApp } from "../../lib/stacks/voxelburst-app.ts";
import { flattenDefinition } from "../../lib/workflow/flatten.ts";

export const STACKS = { storage: "VoxelburstStorage", workflow: "VoxelburstWorkflow" } as const;
const ACCOUNT = "123456789012";

type Json = string | number | boolean | null | Json[] | { [name: string]: Json };
interface Resource {
  Type: string;
  Properties: Record<string, Json>;
  DependsOn?: string[];
}

/** An ARN that stands for what is imported, and says its name. */
const arnOf = (name: string) => `arn:aws:imported:us-east-1:${ACCOUNT}:resource/${name}`;
/** Names in place of imported ARNs, as flattenDefinition has them. */
export const withNames = (definition: string): string =>
  definition.replaceAll(/arn:aws:imported:us-east-1:\d{12}:resource\/(\w+)/g, (_arn, name) => `\${${name}}`);

/** Synthesises both stacks into a folder, which `cdk deploy --app` takes. */
export function synthesise(outdir: string): void {
  const scratch = path.join(outdir, "shipped");
  mkdirSync(scratch, { recursive: true });
  const shipped = voxelburstApp({ outdir: scratch, context: { "aws:cdk:bundling-stacks": [] } });
  const { template } = shipped.synth().stacks.find(({ stackName }) => stackName === STACKS.workflow)!;
  const stack = shipped.node.findChild(STACKS.workflow) as Stack;
  const file = path.join(scratch, "workflow.json");
  writeFileSync(file, JSON.stringify(workflowAlone(template.Resources as Record<string, Resource>, stack)));

  const { context } = JSON.parse(readFileSync(new URL("../../cdk.json", import.meta.url), "utf8"));
  const app = new App({
    outdir: path.join(outdir, "cdk.out"),
    context,
    // moto has no roles to assume for a deployment.
    defaultStackSynthesizer: new LegacyStackSynthesizer(),
  });
  const env = { account: ACCOUNT, region: "us-east-1" };
  const shippedStorage = new StorageStack(app, STACKS.storage, { env, deployment: parseDeployment({}, "the test") });
  new CfnOutput(shippedStorage, "DataBucket", { value: shippedStorage.storage.buckets.data.bucketName });
  new CfnInclude(new Stack(app, STACKS.workflow, { env }), "Shipped", { templateFile: file });
  app.synth();
}

/** The resources whose construct is the Workflow, with what they refer to beside them imported. */
function workflowAlone(resources: Record<string, Resource>, stack: Stack): object {
  const isOwn = (id: string) => id.startsWith("Workflow") && id in resources;
  const nameOf = (reference: Json): string =>
    (flattenDefinition(stack, { "Fn::Join": ["", ['"', reference as never, '"']] }) as unknown as string).slice(2, -1);
  const imported = (value: Json): Json => {
    if (value === null || typeof value !== "object") return value;
    if (Array.isArray(value)) return value.map(imported);
    const [[key, argument] = ["", null]] = Object.entries(value);
    const target = Array.isArray(argument) ? argument[0] : argument;
    const isReference = key === "Ref" || key === "Fn::GetAtt";
    if (isReference && !isOwn(String(target)) && !String(target).startsWith("AWS::")) return arnOf(nameOf(value));
    if (key === "Fn::ImportValue") return arnOf(nameOf(value));
    if (key === "Fn::Sub" && /container-assets/.test(String(argument))) return arnOf(nameOf(value));
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, imported(each)]));
  };
  const own = Object.entries(resources).filter(([id]) => isOwn(id));
  // CloudFormation's own check knows the form of a key's ARN, which an imported one here has not.
  for (const [, { Type, Properties }] of own) if (Type === "AWS::Logs::LogGroup") delete Properties.KmsKeyId;
  return {
    Resources: Object.fromEntries(
      own.map(([id, { DependsOn, ...resource }]) => [
        id,
        {
          ...(imported(resource as unknown as Json) as object),
          ...(DependsOn ? { DependsOn: DependsOn.filter(isOwn) } : {}),
        },
      ]),
    ),
    Outputs: {
      StateMachine: { Value: { Ref: own.find(([, { Type }]) => Type === "AWS::StepFunctions::StateMachine")![0] } },
    },
  };
}
