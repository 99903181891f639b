// The Batch job definitions of a stage, one a size, and the role that its containers have.
//
// CDK's EcsJobDefinition knows no stop timeout: containers would get 30 seconds to write their checkpoint when their
// host is reclaimed or their job is stopped. EcsProperties, which has it, is the form for jobs of several containers;
// ours have one. Unverified on a real account: that an array and a multi-node job take it alike.
import { Stack } from "aws-cdk-lib";
import * as batch from "aws-cdk-lib/aws-batch";
import * as iam from "aws-cdk-lib/aws-iam";
import type * as secretsmanager from "aws-cdk-lib/aws-secretsmanager";
import { Construct } from "constructs";
import { allowPull } from "../cloud/container-image.ts";
import type { GpuInstanceType } from "../contracts/instance-types.ts";
import { JOB_ATTEMPTS } from "./limits.ts";
import type { BatchStageProps, ChildSize } from "./stage-context.ts";

export interface StageJobProps extends BatchStageProps {
  /** Of one attempt, where SubmitJob says nothing else. */
  readonly attemptSeconds: number;
  /** What ECS puts into the containers' environment, by the variable's name.
   * @default - nothing */
  readonly secrets?: Readonly<Record<string, secretsmanager.ISecret>>;
}

/** Where lib/cloud/mount-scratch.sh mounts the instance's NVMe drives. */
export const SCRATCH = "/scratch";
/** Of the one container of a job: what SubmitJob overrides the command of. */
export const CONTAINER = "stage";
/** containers/images/gpu.Dockerfile makes it: a job needs no more than its scratch disk and its devices. */
export const CONTAINER_USER = "10001";
/** From SIGTERM to SIGKILL: a step and a checkpoint. Spot tells 120 seconds ahead. */
const STOP_SECONDS = 120;

/** Which GPUs' network a job uses, and how: what libfabric is told. aws-ofi-nccl 1.7 and newer needs no more. */
export const EFA_ENVIRONMENT = { FI_PROVIDER: "efa", FI_EFA_USE_HUGE_PAGE: "0" };

type Rule = batch.CfnJobDefinition.EvaluateOnExitProperty;
/**
 * A reclaimed host is retried, whatever else fails is not. What matches no rule is retried too, so that the last ones
 * have to match everything: a reason of the container, or the job's status where there is none.
 */
const RETRY_RULES: Rule[] = [
  { onStatusReason: "Host EC2*", action: "RETRY" },
  { onReason: "*", action: "EXIT" },
  { onStatusReason: "*", action: "EXIT" },
];

export class StageJob extends Construct {
  readonly role: iam.Role;
  private readonly executionRole: iam.Role;
  private readonly props: StageJobProps;

  constructor(scope: Construct, id: string, props: StageJobProps) {
    super(scope, id);
    this.props = props;
    this.role = new iam.Role(this, "Role", {
      assumedBy: new iam.ServicePrincipal("ecs-tasks.amazonaws.com"),
      description: `What the containers of ${scope.node.id} may do`,
    });
    this.executionRole = new iam.Role(this, "ExecutionRole", {
      assumedBy: new iam.ServicePrincipal("ecs-tasks.amazonaws.com"),
      description: `What ECS may do to start the containers of ${scope.node.id}`,
    });
    allowPull(props.image, this.executionRole);
    props.logGroup.grantWrite(this.executionRole);
    for (const { secretArn, encryptionKey } of Object.values(props.secrets ?? {})) {
      const allow = (action: string, resource: string) =>
        this.executionRole.addToPolicy(new iam.PolicyStatement({ actions: [action], resources: [resource] }));
      allow("secretsmanager:GetSecretValue", secretArn);
      if (encryptionKey) allow("kms:Decrypt", encryptionKey.keyArn);
    }
  }

  /** A job of one container, or of one a child of an array. @returns its ARN */
  addDefinition(id: string, size: ChildSize): string {
    return new batch.CfnJobDefinition(this, `Definition${id}`, {
      type: "container",
      platformCapabilities: ["EC2"],
      ecsProperties: { taskProperties: [this.renderTask(size, [], {})] },
      ...this.renderLimits(),
    }).ref;
  }

  /** A job of several nodes, each a whole instance with all of its network cards. @returns its ARN */
  addClusterDefinition(id: string, instanceType: string, gpu: GpuInstanceType, size: ChildSize): string {
    const devices = Array.from({ length: gpu.efaCards }, (_, card) => ({
      hostPath: `/dev/infiniband/uverbs${card}`,
      containerPath: `/dev/infiniband/uverbs${card}`,
      // No permissions: CDK would write them in lower case, and Batch wants upper case. All are the default.
    }));
    return new batch.CfnJobDefinition(this, `Definition${id}`, {
      type: "multinode",
      platformCapabilities: ["EC2"],
      nodeProperties: {
        mainNode: 0,
        // SubmitJob says how many: the range is open above.
        numNodes: 1,
        nodeRangeProperties: [
          {
            targetNodes: "0:",
            instanceTypes: [instanceType],
            ecsProperties: {
              taskProperties: [this.renderTask(size, devices, gpu.efaCards > 0 ? EFA_ENVIRONMENT : {})],
            },
          },
        ],
      },
      ...this.renderLimits(),
    }).ref;
  }

  private renderLimits() {
    return {
      timeout: { attemptDurationSeconds: this.props.attemptSeconds },
      retryStrategy: { attempts: JOB_ATTEMPTS, evaluateOnExit: RETRY_RULES },
    };
  }

  private renderTask(
    size: ChildSize,
    devices: batch.CfnJobDefinition.DeviceProperty[],
    environment: Record<string, string>,
  ) {
    const { image, logGroup } = this.props;
    const { region } = Stack.of(this);
    const needs = { VCPU: size.vcpus, MEMORY: size.memoryMiB, ...(size.gpus > 0 ? { GPU: size.gpus } : {}) };
    return {
      taskRoleArn: this.role.roleArn,
      executionRoleArn: this.executionRole.roleArn,
      volumes: [{ name: "scratch", host: { sourcePath: SCRATCH } }],
      containers: [
        {
          name: CONTAINER,
          essential: true,
          image: image.imageUri,
          user: CONTAINER_USER,
          stopTimeout: STOP_SECONDS,
          environment: Object.entries({
            // ECS sets no region on EC2, and without one S3's global endpoint is asked, which the gateway does not reach.
            AWS_DEFAULT_REGION: region,
            TMPDIR: SCRATCH,
            // vCPUs are shares of the processors' time: a container sees every core of its instance, and the eight
            // children of one would each start threads for all of them. (A SageMaker job has its instance to itself.)
            OMP_NUM_THREADS: String(size.vcpus),
            ...environment,
          }).map(([name, value]) => ({ name, value })),
          ...(this.props.secrets
            ? {
                secrets: Object.entries(this.props.secrets).map(([name, { secretArn }]) => ({
                  name,
                  valueFrom: secretArn,
                })),
              }
            : {}),
          resourceRequirements: Object.entries(needs).map(([type, value]) => ({ type, value: String(value) })),
          mountPoints: [{ sourceVolume: "scratch", containerPath: SCRATCH }],
          linuxParameters: {
            // Loader processes hand batches over through /dev/shm, of which Docker gives 64 MiB: an eighth of the memory.
            sharedMemorySize: Math.floor(size.memoryMiB / 8),
            initProcessEnabled: true,
            ...(devices.length > 0 ? { devices } : {}),
          },
          // Pinned memory for copies to the GPU, and what EFA registers, is locked memory.
          ulimits: [{ name: "memlock", softLimit: -1, hardLimit: -1 }],
          logConfiguration: {
            logDriver: "awslogs",
            options: {
              "awslogs-group": logGroup.logGroupName,
              "awslogs-region": region,
              "awslogs-stream-prefix": this.node.scope!.node.id.toLowerCase(),
            },
          },
        },
      ],
    };
  }
}
