// The one image of the Python stages: built by `cdk deploy`, built in the account by CodeBuild, or taken from ECR.
import { IgnoreMode, Stack } from "aws-cdk-lib";
import * as ecr from "aws-cdk-lib/aws-ecr";
import * as ecrAssets from "aws-cdk-lib/aws-ecr-assets";
import type * as iam from "aws-cdk-lib/aws-iam";
import type { Construct } from "constructs";
import type { Deployment } from "../contracts/deployment.ts";
import { acknowledgeWildcards } from "./acknowledge.ts";
import type { ImagePipeline } from "./image-pipeline.ts";

export interface StageImage {
  readonly imageUri: string;
  /** Who runs the image has to be able to pull from it. */
  readonly repository: ecr.IRepository;
}

/** Lets a role pull the image, as ECS and SageMaker do with theirs. */
export function allowPull({ repository }: StageImage, role: iam.Role): void {
  repository.grantPull(role);
  acknowledgeWildcards(role, [["*", "ecr:GetAuthorizationToken has no resources"]]);
}

export const DOCKERFILE = "containers/images/gpu.Dockerfile";
/** What the Dockerfile copies; nothing else of the repository makes a new image. */
const COPIED = ["containers/images", "containers/src", "containers/requirements.lock", "lib/contracts/schema"];

/** The build context: the repository, less what is not copied. */
export const buildContext = () => ({
  path: new URL("../../", import.meta.url).pathname,
  ignoreMode: IgnoreMode.DOCKER,
  exclude: ["*", ...COPIED.map((path) => `!${path}`), "**/__pycache__"],
});

/** @param pipeline - where CodeBuild builds the image; needed when `image.source` is codebuild */
export function stageImage(
  scope: Construct,
  id: string,
  image: Deployment["image"],
  pipeline?: ImagePipeline,
): StageImage {
  if (image.source === "ecr") return existingImage(scope, id, image.uri);
  if (image.source === "codebuild") return pipeline!.image;
  return containerImage(scope, id);
}

export function containerImage(scope: Construct, id: string): StageImage & { readonly assetHash: string } {
  const { path: directory, ...ignored } = buildContext();
  const asset = new ecrAssets.DockerImageAsset(scope, id, {
    directory,
    file: DOCKERFILE,
    platform: ecrAssets.Platform.LINUX_AMD64,
    ...ignored,
  });
  const { imageUri, repository, assetHash } = asset;
  return { imageUri, repository, assetHash };
}

/** Of another account too: its repository's policy has to let this one pull. */
function existingImage(scope: Construct, id: string, uri: string): StageImage {
  const [, account, region, name] = /^(\d+)\.dkr\.ecr\.([a-z0-9-]+)\.[^/]+\/([^:@]+)[:@](.+)$/.exec(uri)!;
  const repository = ecr.Repository.fromRepositoryAttributes(scope, id, {
    repositoryName: name!,
    repositoryArn: Stack.of(scope).formatArn({
      service: "ecr",
      account: account!,
      region: region!,
      resource: "repository",
      resourceName: name!,
    }),
  });
  return { imageUri: uri, repository };
}
