import { Stack, type StackProps } from "aws-cdk-lib";
import type { Construct } from "constructs";
import { ImagePipeline } from "../cloud/image-pipeline.ts";
import type { Storage } from "../cloud/storage.ts";

export interface ImageStackProps extends StackProps {
  readonly storage: Storage;
}

/** The image's repository and what builds it, when the deployment's image comes from CodeBuild. */
export class ImageStack extends Stack {
  readonly pipeline: ImagePipeline;

  constructor(scope: Construct, id: string, props: ImageStackProps) {
    super(scope, id, props);
    this.pipeline = new ImagePipeline(this, "Image", { encryptionKey: props.storage.key });
  }
}
