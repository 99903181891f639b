// infer: volumes become masks and scores. A Batch array on GPUs, or a SageMaker batch transform on g5 and g6.
import type * as ec2 from "aws-cdk-lib/aws-ec2";
import * as iam from "aws-cdk-lib/aws-iam";
import * as sfn from "aws-cdk-lib/aws-stepfunctions";
import * as tasks from "aws-cdk-lib/aws-stepfunctions-tasks";
import { Construct } from "constructs";
import { allowPull } from "../cloud/container-image.ts";
import { shareOfGpu } from "../cloud/instance-types.ts";
import type { Deployment } from "../contracts/deployment.ts";
import { GPU_INSTANCE_TYPES } from "../contracts/instance-types.ts";
import { inferTaskId, keys } from "../contracts/keys.ts";
import {
  artefactUri,
  batchJobName,
  jsonata,
  keyExpression,
  ladderOf,
  transformJobName,
  variables,
} from "../workflow/jsonata.ts";
import { BatchJobTask } from "./batch-job-task.ts";
import { engineTaskId, SUITS_ENGINE } from "./compile.ts";
import { ATTEMPT_SECONDS, attemptSeconds, JOB_ATTEMPTS, SAGEMAKER_OVERHEAD_SECONDS } from "./limits.ts";
import { allowObjects } from "./object-access.ts";
import type { GpuStageProps } from "./preprocess.ts";
import { deletionRetry } from "./retries.ts";
import { type GpuRung, gpuRungs, idOfType, type RungData } from "./rung.ts";
import { allowService } from "./sagemaker-access.ts";
import type { JobBound, JobStage } from "./stage-context.ts";
import { StageJob } from "./stage-job.ts";
import { CreateModelTask, MODEL_TIME, modelArn, TRANSFORM_AMI, TransformJobTask } from "./transform-job-task.ts";

export interface InferProps extends GpuStageProps {
  readonly transform: Deployment["transform"];
  readonly subnets: ec2.ISubnet[];
  readonly securityGroup: ec2.ISecurityGroup;
}

/** Of every model's name. */
const MODEL_PREFIX = "infer-";

const access = {
  read: ["runs/*/tasks/*", "runs/*/plan.json", "ingest/*", "compile/*", "infer/*", "runs/*/masks/*"],
  write: ["infer/*", "runs/*/infer/*", "runs/*/masks/*", "runs/*/results/*", "runs/*/errors/*"],
};

export class Infer extends Construct implements JobStage {
  readonly stage = "infer";
  readonly taskId = engineTaskId(inferTaskId);
  readonly suits = SUITS_ENGINE;
  /** No model is there. */
  readonly initially = { inferModel: jsonata("''") };
  readonly job: StageJob;
  readonly transformRole: iam.Role;
  readonly rungs: RungData[];
  readonly bound: JobBound;
  private readonly props: InferProps;
  private readonly jobName = batchJobName(this.stage, `'infer-' & ${variables.engine.name}`);
  private readonly transformName = transformJobName();

  constructor(scope: Construct, id: string, props: InferProps) {
    super(scope, id);
    this.props = props;
    this.job = new StageJob(this, "Job", { ...props, attemptSeconds: ATTEMPT_SECONDS.infer });
    allowObjects(this.job.role, props.buckets.artefacts, access);
    this.transformRole = new iam.Role(this, "TransformRole", {
      assumedBy: new iam.ServicePrincipal("sagemaker.amazonaws.com"),
      description: "What a transform job's container and SageMaker on its behalf may do",
    });
    // SageMaker reads the lines and writes the answers itself; a container on it has this role too.
    allowObjects(this.transformRole, props.buckets.artefacts, access);
    allowPull(props.image, this.transformRole);
    allowService(this.transformRole, "transform", props.buckets.artefacts.encryptionKey!);
    const arrays = gpuRungs(props.fleets, ({ instanceType, gpu }) =>
      this.job.addDefinition(idOfType(instanceType), shareOfGpu(gpu)),
    );
    this.rungs = props.transform.enabled ? transformRungs(props.transform, props.fleets, arrays) : arrays;
    const { rung } = ladderOf(this.stage);
    const { engine } = variables;
    const isTransform = `${rung}.service = 'transform'`;
    this.bound = {
      name: `${isTransform} ? ${this.transformName.start} : ${this.jobName.start}`,
      children: `${isTransform} ? ${rung}.TransformResources.InstanceCount : ${engine.inferShards}`,
      attemptSeconds: `${isTransform} ? ${this.transformSeconds} : ${this.arraySeconds}`,
      attempts: `${isTransform} ? 1 : ${JOB_ATTEMPTS}`,
    };
  }

  private get arraySeconds(): string {
    return attemptSeconds("infer", variables.engine.inferSeconds);
  }

  /** Shares of the array, one after the other on each instance, and what starts it. */
  private get transformSeconds(): string {
    const { rung } = ladderOf(this.stage);
    const rounds = `$ceil(${variables.engine.inferShards} / ${rung}.TransformResources.InstanceCount)`;
    return `${this.arraySeconds} * ${rounds} + ${rung}.waitSeconds + ${SAGEMAKER_OVERHEAD_SECONDS}`;
  }

  toJob(done: Record<string, string>) {
    const array = this.renderArray(done);
    const model = this.renderModel();
    const transform = this.renderTransform(done);
    model.next(transform);
    const { rung } = ladderOf(this.stage);
    const isTransform = `${rung}.service = 'transform'`;
    const comment = "Transform takes no p4, p5 or p6; one that is redriven has its model";
    const start = sfn.Choice.jsonata(this, "InferOn", { comment })
      .when(sfn.Condition.jsonata(jsonata(`${isTransform} and $inferModel = ''`)), model)
      .when(sfn.Condition.jsonata(jsonata(isTransform)), transform)
      .otherwise(array);
    return {
      start,
      jobs: [
        { state: array, service: "batch" as const, isArray: true },
        { state: model, service: "transform" as const, isLast: false },
        { state: transform, service: "transform" as const, cleanUp: this.renderDeletion() },
      ],
    };
  }

  private renderArray(done: Record<string, string>) {
    const { engine } = variables;
    return new BatchJobTask(this, "Infer", {
      jobName: this.jobName.unique,
      rungs: this.rungs,
      rung: ladderOf(this.stage).rung,
      arraySize: jsonata(engine.inferShards),
      command: ["infer", "--task", jsonata(artefactUri(engine.inferTaskKey))],
      attemptSeconds: this.arraySeconds,
      assign: done,
    });
  }

  private renderModel() {
    const { image, subnets, securityGroup } = this.props;
    return new CreateModelTask(this, "InferModel", {
      modelName: this.transformName.unique,
      modelNamePrefix: MODEL_PREFIX,
      role: this.transformRole,
      imageUri: image.imageUri,
      environment: { VOXELBURST_TASK: jsonata(artefactUri(variables.engine.inferTaskKey)) },
      subnets,
      securityGroup,
      assign: { inferModel: jsonata("$substringAfter($states.result.ModelArn, ':model/')") },
    });
  }

  /** A model is for one job: it costs nothing, and would stay for ever. */
  private renderDeletion() {
    return tasks.CallAwsService.jsonata(this, "InferDeleteModel", {
      service: "sagemaker",
      action: "deleteModel",
      parameters: { ModelName: jsonata("$inferModel") },
      iamResources: [modelArn(this, MODEL_PREFIX)],
      taskTimeout: sfn.Timeout.duration(MODEL_TIME),
      assign: this.initially,
      outputs: {},
    }).addRetry(deletionRetry);
  }

  private renderTransform(done: Record<string, string>) {
    const { request } = variables;
    const lines = keyExpression((part) => keys.transformLines(part(request.runId), part(this.taskId)));
    const answers = keyExpression((part) => keys.transformAnswers(part(request.runId), part(this.taskId)));
    return new TransformJobTask(this, "InferTransform", {
      jobName: this.transformName.unique,
      jobNamePrefix: "infer-",
      modelName: jsonata("$inferModel"),
      rung: ladderOf(this.stage).rung,
      role: this.transformRole,
      inputUri: jsonata(artefactUri(lines)),
      outputUri: jsonata(artefactUri(answers)),
      encryptionKeyArn: this.props.buckets.artefacts.encryptionKey!.keyArn,
      stateSeconds: this.transformSeconds,
      assign: done,
    });
  }
}

/**
 * Transform before the arrays, which stay behind it for where it has no instance. On another GPU than the fleets' it is
 * a smaller one, and takes the engines that run on any.
 */
function transformRungs(
  transform: Deployment["transform"],
  fleets: readonly GpuRung[],
  arrays: readonly RungData[],
): RungData[] {
  const { instanceType, maxNodes } = transform;
  const isOwnGpu = fleets.some((fleet) => fleet.gpu.gpuName === GPU_INSTANCE_TYPES[instanceType].gpuName);
  const rung: RungData = {
    name: `${isOwnGpu ? "on-demand" : "smaller-gpu"}-${instanceType}-transform`,
    kind: isOwnGpu ? "on-demand" : "smaller-gpu",
    service: "transform",
    instanceType,
    childrenPerInstance: 1,
    waitSeconds: fleets[0]!.config.waitSeconds,
    TransformResources: {
      InstanceType: `ml.${instanceType}`,
      InstanceCount: maxNodes,
      TransformAmiVersion: TRANSFORM_AMI.version,
    },
  };
  return [rung, ...arrays];
}
