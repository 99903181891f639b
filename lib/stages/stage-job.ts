// The Batch job definition of a stage, and the role that its containers have.
import { Duration, Size, Stack } from "aws-cdk-lib";
import * as batch from "aws-cdk-lib/aws-batch";
import * as ecs from "aws-cdk-lib/aws-ecs";
import * as iam from "aws-cdk-lib/aws-iam";
import { Construct } from "constructs";
import { JOB_ATTEMPTS } from "./limits.ts";
import type { BatchStageProps, ChildSize } from "./stage-context.ts";

export interface StageJobProps extends BatchStageProps {
  readonly size: ChildSize;
  readonly attemptSeconds: number;
}

/** Where lib/cloud/mount-scratch.sh mounts the instance's NVMe drives. */
export const SCRATCH = "/scratch";

export class StageJob extends Construct {
  readonly role: iam.Role;
  readonly definition: batch.EcsJobDefinition;

  constructor(scope: Construct, id: string, props: StageJobProps) {
    super(scope, id);
    this.role = new iam.Role(this, "Role", {
      assumedBy: new iam.ServicePrincipal("ecs-tasks.amazonaws.com"),
      description: `What the containers of ${scope.node.id} may do`,
    });
    this.definition = new batch.EcsJobDefinition(this, "Definition", {
      container: this.renderContainer(props),
      timeout: Duration.seconds(props.attemptSeconds),
      retryAttempts: JOB_ATTEMPTS,
      retryStrategies: [
        batch.RetryStrategy.of(batch.Action.RETRY, batch.Reason.SPOT_INSTANCE_RECLAIMED),
        // What matches no rule is retried, so the last one has to match everything.
        batch.RetryStrategy.of(batch.Action.EXIT, batch.Reason.custom({ onReason: "*" })),
      ],
    });
  }

  private renderContainer({ size, image, logGroup }: StageJobProps): batch.EcsEc2ContainerDefinition {
    return new batch.EcsEc2ContainerDefinition(this, "Container", {
      image,
      cpu: size.vcpus,
      memory: Size.mebibytes(size.memoryMiB),
      ...(size.gpus > 0 ? { gpu: size.gpus } : {}),
      jobRole: this.role,
      environment: {
        // ECS sets no region on EC2, and without one S3's global endpoint is asked, which the gateway does not reach.
        AWS_DEFAULT_REGION: Stack.of(this).region,
        TMPDIR: SCRATCH,
      },
      volumes: [batch.EcsVolume.host({ name: "scratch", hostPath: SCRATCH, containerPath: SCRATCH })],
      linuxParameters: new batch.LinuxParameters(this, "LinuxParameters", {
        // Loader processes hand batches over through /dev/shm, of which Docker gives 64 MiB: an eighth of the memory.
        sharedMemorySize: Size.mebibytes(Math.floor(size.memoryMiB / 8)),
        initProcessEnabled: true,
      }),
      // Pinned memory for copies to the GPU is locked memory.
      ulimits: [{ name: batch.UlimitName.MEMLOCK, softLimit: -1, hardLimit: -1 }],
      logging: ecs.LogDriver.awsLogs({ logGroup, streamPrefix: this.node.scope!.node.id.toLowerCase() }),
    });
  }
}
