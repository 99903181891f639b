// The CDK app: `npx cdk synth`, `npx cdk deploy --all`.
import { VoxelburstError } from "../lib/contracts/error.ts";
import { voxelburstApp } from "../lib/stacks/voxelburst-app.ts";

try {
  voxelburstApp().synth();
} catch (error) {
  if (!(error instanceof VoxelburstError)) throw error;
  // A wrong configuration is no crash: what is wrong and what to do, without a stack.
  console.error(`${error.code}: ${error.message} ${error.remedy}`);
  process.exitCode = 1;
}
