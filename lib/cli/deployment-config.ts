// The deployment's configuration as `cdk` reads it: a file, or `voxelburst` in cdk.json's context.
import { readFileSync } from "node:fs";
import path from "node:path";
import { type Deployment, deployment, parseJson, parseOrThrow, VoxelburstError } from "../contracts/index.ts";
import { checkout } from "../local/home.ts";

/** @throws VoxelburstError DeploymentInvalid: the option's path, what was got and what is allowed */
export function readDeployment(file: string | undefined): Deployment {
  const at = file ?? path.join(checkout, "cdk.json");
  const name = path.basename(at);
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(at);
  } catch (cause) {
    throw new VoxelburstError(
      "DeploymentInvalid",
      `The configuration ${at} cannot be read: ${(cause as NodeJS.ErrnoException).code}.`,
      "Name a file that exists behind --config.",
      { field: "--config", got: at, cause },
    );
  }
  const document = parseJson(bytes, name, "DeploymentInvalid") as { context?: { voxelburst?: unknown } };
  const given = file ? document : (document.context?.voxelburst ?? {});
  return parseOrThrow(deployment, given, file ? name : "`voxelburst` in cdk.json", "DeploymentInvalid");
}
