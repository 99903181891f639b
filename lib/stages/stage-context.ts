// What every stage's construct is given: where data lives, what image runs, where it runs.
import type * as batch from "aws-cdk-lib/aws-batch";
import type * as ecs from "aws-cdk-lib/aws-ecs";
import type * as logs from "aws-cdk-lib/aws-logs";
import type * as s3 from "aws-cdk-lib/aws-s3";

export interface Buckets {
  /** What people upload: datasets/<name>/. */
  readonly data: s3.IBucket;
  /** Everything that the stages write. */
  readonly artefacts: s3.IBucket;
  /** Refused cases, each with its reason. */
  readonly quarantine: s3.IBucket;
}

export interface BatchStageProps {
  readonly buckets: Buckets;
  readonly image: ecs.ContainerImage;
  readonly queue: batch.IJobQueue;
  readonly logGroup: logs.ILogGroup;
}

/** What one child gets of an instance. */
export interface ChildSize {
  readonly vcpus: number;
  readonly memoryMiB: number;
  readonly gpus: number;
}
