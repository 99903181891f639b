// Reads the deployment's configuration: the object `voxelburst` of cdk.json's context or the text behind
// `-c voxelburst=`, or the file that `-c config=` names.
import { readFileSync } from "node:fs";
import path from "node:path";
import type { App } from "aws-cdk-lib";
import { type Deployment, deployment } from "../contracts/deployment.ts";
import { VoxelburstError } from "../contracts/error.ts";
import { parseOrThrow } from "../contracts/validate.ts";

/** @throws VoxelburstError DeploymentInvalid: the option's path, what was got and what is allowed */
export function readDeployment(app: App): Deployment {
  const file: unknown = app.node.tryGetContext("config");
  const given: unknown = app.node.tryGetContext("voxelburst");
  if (file !== undefined && given !== undefined)
    throw new VoxelburstError(
      "DeploymentInvalid",
      "The configuration is given twice: by -c config= and by `voxelburst` in cdk.json's context.",
      "Leave one of them out.",
    );
  if (file !== undefined) return parseDeployment(readText(String(file)), path.basename(String(file)));
  return parseDeployment(given ?? {}, "`voxelburst` in cdk.json");
}

/**
 * @param given - an object, or its JSON
 * @param what - how the configuration is called in an error
 * @throws VoxelburstError DeploymentInvalid
 */
export function parseDeployment(given: unknown, what: string): Deployment {
  return parseOrThrow(deployment, typeof given === "string" ? parse(given, what) : given, what, "DeploymentInvalid");
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new VoxelburstError(
      "DeploymentInvalid",
      `The configuration ${file} cannot be read: ${(cause as Error).message}.`,
      "Name a file that exists behind -c config=.",
      { got: file, cause },
    );
  }
}

function parse(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new VoxelburstError(
      "DeploymentInvalid",
      `${what} is not JSON: ${(cause as Error).message}.`,
      `Correct ${what} and start again.`,
      { cause },
    );
  }
}
