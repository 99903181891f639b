// What a function is told by its stack.
import { VoxelburstError } from "../../lib/contracts/error.ts";

/** @throws VoxelburstError EnvironmentIncomplete that names the variable */
export function environment(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === "")
    throw new VoxelburstError(
      "EnvironmentIncomplete",
      `The function's environment has no ${name}.`,
      "Deploy the stack that belongs to this code.",
      { field: name },
    );
  return value;
}
