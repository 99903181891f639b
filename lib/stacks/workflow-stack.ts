import { Stack, type StackProps } from "aws-cdk-lib";
import * as logs from "aws-cdk-lib/aws-logs";
import * as sns from "aws-cdk-lib/aws-sns";
import type { Construct } from "constructs";
import { stageImage } from "../cloud/container-image.ts";
import type { Fleet } from "../cloud/fleet.ts";
import type { GpuFleet } from "../cloud/gpu-fleet.ts";
import type { ImagePipeline } from "../cloud/image-pipeline.ts";
import { IngestTrigger } from "../cloud/ingest-trigger.ts";
import { shareOfGpu } from "../cloud/instance-types.ts";
import type { Network } from "../cloud/network.ts";
import type { Storage } from "../cloud/storage.ts";
import type { Deployment } from "../contracts/deployment.ts";
import type { Machine } from "../contracts/ports.ts";
import { Compile } from "../stages/compile.ts";
import { Infer } from "../stages/infer.ts";
import { Ingest } from "../stages/ingest.ts";
import { Plan } from "../stages/plan.ts";
import { Preprocess } from "../stages/preprocess.ts";
import { Report } from "../stages/report.ts";
import { Train } from "../stages/train.ts";
import { Workflow } from "../workflow/workflow.ts";

export interface WorkflowStackProps extends StackProps {
  readonly storage: Storage;
  readonly network: Network;
  readonly cpu: Fleet;
  /** In the order in which a run tries them; at least one. */
  readonly gpus: readonly GpuFleet[];
  readonly deployment: Deployment;
  /** Where CodeBuild builds the image.
   * @default - the image comes from elsewhere */
  readonly pipeline?: ImagePipeline | undefined;
  readonly version: string;
}

/** The seven stages, the state machine that composes them, and what starts it. */
export class WorkflowStack extends Stack {
  readonly workflow: Workflow;

  constructor(scope: Construct, id: string, props: WorkflowStackProps) {
    super(scope, id, props);
    const { storage, network, deployment, version } = props;
    const { buckets } = storage;
    const gpu = props.gpus[0]!;
    const type = gpu.gpu;
    const size = shareOfGpu(type);
    const machine: Machine = {
      where: "aws",
      instanceType: gpu.instanceType,
      gpus: type.gpus,
      gpuName: type.gpuName,
      gpuMemoryGiB: type.gpuMemoryGiB,
      cpus: type.vcpus,
      memoryGiB: type.memoryGiB,
      engines: ["torch", "inductor", "onnxruntime", "tensorrt"],
    };
    const machineJson = JSON.stringify(machine);
    const image = stageImage(this, "Image", deployment.image, props.pipeline);
    const batch = {
      buckets,
      image: image.ecsImage,
      logGroup: new logs.LogGroup(this, "JobLogs", { retention: logs.RetentionDays.THREE_MONTHS }),
    };
    const gpuStage = { ...batch, queue: gpu.queue, size };
    const notifications = new sns.Topic(this, "Notifications", { masterKey: storage.key, enforceSSL: true });
    this.workflow = new Workflow(this, "Workflow", {
      notifications,
      stages: {
        ingest: new Ingest(this, "Ingest", { ...batch, queue: props.cpu.queue }),
        plan: new Plan(this, "Plan", { buckets, machineJson }),
        preprocess: new Preprocess(this, "Preprocess", gpuStage),
        train: new Train(this, "Train", {
          buckets,
          image,
          instanceType: gpu.instanceType,
          subnets: network.subnets,
          securityGroup: network.jobs,
        }),
        compile: new Compile(this, "Compile", gpuStage),
        infer: new Infer(this, "Infer", gpuStage),
        report: new Report(this, "Report", { buckets, machineJson }),
      },
    });
    new IngestTrigger(this, "Trigger", {
      buckets,
      stateMachine: this.workflow.stateMachine,
      encryptionKey: storage.key,
      pseudonymKey: storage.pseudonymKey,
      version,
    });
  }
}
