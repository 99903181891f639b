// The one image of the Python stages, built and pushed by `cdk deploy`.

import { IgnoreMode } from "aws-cdk-lib";
import * as ecrAssets from "aws-cdk-lib/aws-ecr-assets";
import type { Construct } from "constructs";

/** What containers/images/gpu.Dockerfile copies; nothing else of the repository makes a new image. */
const COPIED = ["containers/images", "containers/src", "containers/requirements.lock", "lib/contracts/schema"];

export function containerImage(scope: Construct, id: string): ecrAssets.DockerImageAsset {
  return new ecrAssets.DockerImageAsset(scope, id, {
    directory: new URL("../../", import.meta.url).pathname,
    file: "containers/images/gpu.Dockerfile",
    platform: ecrAssets.Platform.LINUX_AMD64,
    ignoreMode: IgnoreMode.DOCKER,
    exclude: ["*", ...COPIED.map((path) => `!${path}`), "**/__pycache__"],
  });
}
