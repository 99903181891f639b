// Writes workflow.asl.json, which lib/local executes: `npm run build`. A test holds the deployed template to it.
import { writeFileSync } from "node:fs";
import type { Stack } from "aws-cdk-lib";
import { voxelburstApp } from "../stacks/voxelburst-app.ts";
import { flattenDefinition } from "./flatten.ts";

/** Synthesises the app and flattens the definition of its one state machine. */
export function buildDefinition(app: ReturnType<typeof voxelburstApp>): string {
  const assembly = app.synth();
  for (const { stackName, template } of assembly.stacks)
    for (const resource of Object.values<{ Type: string; Properties: { DefinitionString: string } }>(
      template.Resources,
    ))
      if (resource.Type === "AWS::StepFunctions::StateMachine") {
        const stack = app.node.findChild(stackName) as Stack;
        return `${JSON.stringify(flattenDefinition(stack, resource.Properties.DefinitionString), null, 2)}\n`;
      }
  throw new Error("no stack has a state machine");
}

if (import.meta.main) {
  // Functions are not bundled for it: the definition only names them.
  const app = voxelburstApp({ context: { "aws:cdk:bundling-stacks": [] } });
  writeFileSync(new URL("workflow.asl.json", import.meta.url), buildDefinition(app));
}
