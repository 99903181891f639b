// The CDK app: `npx cdk synth`, `npx cdk deploy --all`.
import { voxelburstApp } from "../lib/stacks/voxelburst-app.ts";

voxelburstApp().synth();
