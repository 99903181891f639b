// What `--on aws` has in common: its modules are loaded when they are asked for, and AWS's refusals become sentences.
import { asAwsError } from "../aws/errors.ts";
import type { CommandResult } from "./command.ts";

/** @throws VoxelburstError for what AWS refuses */
export async function onAws(work: () => Promise<CommandResult>): Promise<CommandResult> {
  try {
    return await work();
  } catch (thrown) {
    throw asAwsError(thrown);
  }
}
