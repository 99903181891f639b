// voxelburst demo: generates a phantom dataset with planted bad cases, runs the whole workflow on it and shows the table.
import path from "node:path";
import type { CommandContext, CommandResult } from "../command.ts";
import { runWithProgress } from "../command-progress.ts";
import { note } from "../messages.ts";
import { type RunOptions, run } from "./run.ts";

/**
 * What two cores learn in minutes: a narrow net on patches that hold most of a phantom. Without it nnU-Net's rules plan
 * for 8 GiB of a GPU, and a step takes seconds. A budget in steps, so that a slow machine takes longer and learns as much.
 */
const DEMO_RECIPE = `
model: { width: 8 }
plan: { patch: [40, 40, 40], batch: 2 }
train: { steps: 400 }
`;

export interface DemoOptions extends Pick<RunOptions, "recipe" | "set" | "again"> {
  seed: string;
  out?: string;
}

export async function demo(context: CommandContext, options: DemoOptions): Promise<CommandResult> {
  const { workbench, emit } = context;
  const folder = path.resolve(options.out ?? path.join(workbench.home.folder, "demo", `phantoms-${options.seed}`));
  const made = await runWithProgress(context, "ingest", ["phantoms", "--out", folder, "--seed", options.seed]);
  emit(
    note(
      "PhantomsReady",
      `${made.skipped ? "phantoms exist already" : "phantoms generated"}: ${made.training} to train on, ${made.test} to predict, ${made.planted} bad cases planted that must end in quarantine`,
    ),
  );
  return run(context, folder, { ...options, ownRecipe: { name: "the demo's recipe", text: DEMO_RECIPE } });
}
