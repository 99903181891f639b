// train: arrays become weights. A SageMaker training job, or a Batch multi-node job over EFA, on whole instances.
import type * as ec2 from "aws-cdk-lib/aws-ec2";
import * as iam from "aws-cdk-lib/aws-iam";
import * as sfn from "aws-cdk-lib/aws-stepfunctions";
import { Construct } from "constructs";
import { allowPull } from "../cloud/container-image.ts";
import { wholeInstance } from "../cloud/instance-types.ts";
import type { Deployment } from "../contracts/deployment.ts";
import { VoxelburstError } from "../contracts/error.ts";
import { GPU_INSTANCE_TYPES } from "../contracts/instance-types.ts";
import { keys, trainTaskId } from "../contracts/keys.ts";
import type { Strategy } from "../contracts/primitives.ts";
import { artefactUri, jsonata, keyExpression, ladderOf, trainingJobName, variables } from "../workflow/jsonata.ts";
import { BatchJobTask } from "./batch-job-task.ts";
import { JOB_ATTEMPTS } from "./limits.ts";
import { allowObjects } from "./object-access.ts";
import { type GpuRung, idOfType, pricedAs, type RungData } from "./rung.ts";
import { allowService } from "./sagemaker-access.ts";
import type { BatchStageProps, JobBound, JobStage } from "./stage-context.ts";
import { EFA_ENVIRONMENT, StageJob } from "./stage-job.ts";
import { TrainingJobTask } from "./training-job-task.ts";

export interface TrainProps extends BatchStageProps {
  /** In the order in which a run tries them. */
  readonly fleets: readonly GpuRung[];
  readonly training: Deployment["training"];
  readonly subnets: ec2.ISubnet[];
  readonly securityGroup: ec2.ISecurityGroup;
}

/**
 * Types with local NVMe give their drives whatever is asked for, and refuse more than these hold (SageMaker's
 * ResourceConfig); others need room for the arrays and checkpoints.
 */
const VOLUME_GIB = 500;
/** Five days: what hangs costs no more, whatever the plan allows it. */
const MOST_SECONDS = 432_000;

const access = {
  read: ["runs/*/tasks/*", "runs/*/plan.json", "preprocess/*", "train/*"],
  write: ["train/*", "runs/*/results/*", "runs/*/errors/*"],
};
/** SageMaker puts the archive of /opt/ml/model there. */
const ARCHIVES = "runs/*/sagemaker/*";

export class Train extends Construct implements JobStage {
  readonly stage = "train";
  readonly taskId: string;
  readonly suits: string;
  readonly role: iam.Role;
  readonly cluster: StageJob;
  readonly rungs: RungData[];
  readonly bound: JobBound;
  private readonly props: TrainProps;
  private readonly name = trainingJobName();

  constructor(scope: Construct, id: string, props: TrainProps) {
    super(scope, id);
    this.props = props;
    this.role = new iam.Role(this, "Role", {
      assumedBy: new iam.ServicePrincipal("sagemaker.amazonaws.com"),
      description: "What a training job and SageMaker on its behalf may do",
    });
    allowObjects(this.role, props.buckets.artefacts, { ...access, write: [...access.write, ARCHIVES] });
    allowPull(props.image, this.role);
    allowService(this.role, "training", props.buckets.artefacts.encryptionKey!);
    this.cluster = new StageJob(this, "Cluster", { ...props, attemptSeconds: MOST_SECONDS });
    allowObjects(this.cluster.role, props.buckets.artefacts, access);
    this.rungs = this.renderRungs();
    const { training, plan } = variables;
    this.taskId = keyExpression((part) => trainTaskId(part(training.fold), part(training.strategy) as Strategy));
    // The service is the recipe's choice, or the deployment's.
    this.suits =
      `(${this.nodes} = 1 or isForSeveralNodes) and ` +
      `($exists(${plan.trainOn}) ? backend = ${plan.trainOn} : isPreferred)`;
    const { rung } = ladderOf(this.stage);
    this.bound = {
      name: this.name.start,
      children: this.nodes,
      attemptSeconds: this.seconds,
      // SageMaker's limit is of all attempts together.
      attempts: `${rung}.service = 'batch' ? ${JOB_ATTEMPTS} : 1`,
      waitsTogether: `${rung}.service = 'batch'`,
    };
  }

  /** Instances of the training at hand; a plan without several says nothing of them. */
  private get nodes(): string {
    return `$max([1, ${variables.training.nodes}])`;
  }

  /** A rung with fewer GPUs than were planned for takes as much longer. */
  private get seconds(): string {
    const { training } = variables;
    const { rung } = ladderOf(this.stage);
    const times = `$max([1, ${training.gpus} / (${rung}.gpus * ${this.nodes})])`;
    return `$min([${MOST_SECONDS}, $ceil(${training.maxSeconds} * ${times})])`;
  }

  toJob(done: Record<string, string>) {
    const sageMaker = this.renderTrainingJob(done);
    const cluster = this.renderCluster(done);
    const start = sfn.Choice.jsonata(this, "TrainOn", { comment: "SageMaker, or a Batch multi-node job over EFA" })
      .when(sfn.Condition.jsonata(jsonata(`${ladderOf(this.stage).rung}.service = 'batch'`)), cluster)
      .otherwise(sageMaker);
    return {
      start,
      jobs: [
        { state: sageMaker, service: "training" as const },
        { state: cluster, service: "batch" as const },
      ],
    };
  }

  private renderTrainingJob(done: Record<string, string>) {
    const { request, training } = variables;
    const manifest = keyExpression((part) => keys.channelManifest(part(request.runId), part(this.taskId)));
    const checkpoints = keyExpression((part) => keys.checkpoints(part(training.trainHash)));
    const archive = keyExpression((part) => keys.trainingArchive(part(request.runId)));
    return new TrainingJobTask(this, "Train", {
      jobName: this.name.unique,
      jobNamePrefix: "train-",
      rung: ladderOf(this.stage).rung,
      role: this.role,
      imageUri: this.props.image.imageUri,
      hyperParameters: { task: jsonata(artefactUri(training.taskKey)) },
      arraysManifestUri: jsonata(artefactUri(manifest)),
      checkpointUri: jsonata(artefactUri(checkpoints)),
      outputUri: jsonata(artefactUri(archive)),
      encryptionKeyArn: this.props.buckets.artefacts.encryptionKey!.keyArn,
      trainingPlans: [this.props.training.trainingPlanArn].filter((arn) => arn !== undefined),
      nodes: this.nodes,
      maxSeconds: this.seconds,
      subnets: this.props.subnets,
      securityGroup: this.props.securityGroup,
      assign: done,
    });
  }

  private renderCluster(done: Record<string, string>) {
    return new BatchJobTask(this, "TrainOnCluster", {
      jobName: this.name.unique,
      rungs: this.rungs,
      rung: ladderOf(this.stage).rung,
      nodes: jsonata(this.nodes),
      command: ["train", "--task", jsonata(artefactUri(variables.training.taskKey))],
      attemptSeconds: this.seconds,
      assign: done,
    });
  }

  /**
   * A training plan first. Then each fleet's own rung: what is reserved in EC2 serves Batch alone; of the others the
   * preferred service, and the other one for a recipe that asks for it. Batch takes no multi-node job on Spot.
   */
  private renderRungs(): RungData[] {
    const { training, fleets } = this.props;
    const { trainingPlanArn, planInstanceType } = training;
    const rungs: RungData[] = [];
    if (trainingPlanArn && planInstanceType) {
      const { waitSeconds } = fleets[0]!.config;
      const { usdPerHour } = fleets.find(({ instanceType }) => instanceType === planInstanceType)?.config ?? {};
      const config = { waitSeconds, usdPerHour };
      const own = { rung: "reservation", instanceType: planInstanceType, config } as const;
      rungs.push(this.sageMakerRung(own, { TrainingPlanArn: trainingPlanArn }));
    }
    const clusters = new Map<string, string>();
    for (const fleet of fleets) {
      const { rung, instanceType, config } = fleet;
      const own: RungData[] = [];
      if (rung !== "reservation") own.push(this.sageMakerRung({ rung, instanceType, config }));
      if (rung !== "spot") {
        const definition = clusters.get(instanceType) ?? this.addCluster(fleet);
        clusters.set(instanceType, definition);
        own.push(this.clusterRung(fleet, definition));
      }
      rungs.push(...(training.backend === "batch" ? own.reverse() : own));
    }
    if (!rungs.some(({ isPreferred }) => isPreferred))
      throw new VoxelburstError(
        "DeploymentInvalid",
        "No fleet can train: training.backend is batch, whose multi-node jobs never run on Spot, and every fleet is on Spot.",
        "Add a fleet that is not on Spot, or set training.backend to sagemaker.",
        { field: "training.backend", got: "batch", allowed: "sagemaker" },
      );
    return rungs;
  }

  private sageMakerRung(
    {
      rung: kind,
      instanceType,
      config,
    }: Pick<GpuRung, "rung" | "instanceType"> & { config: Pick<GpuRung["config"], "waitSeconds" | "usdPerHour"> },
    reserved: { TrainingPlanArn?: string } = {},
  ): RungData {
    const { backend, warmPoolSeconds } = this.props.training;
    const { gpus, efaCards, localStorageGb } = GPU_INSTANCE_TYPES[instanceType];
    // Managed spot knows no warm pool; of a plan's instances SageMaker keeps none either.
    const isWarm = warmPoolSeconds > 0 && kind !== "spot" && !reserved.TrainingPlanArn;
    return {
      name: `${kind}-ml.${instanceType}${reserved.TrainingPlanArn ? "-plan" : ""}`,
      kind,
      service: "training",
      instanceType,
      childrenPerInstance: 1,
      waitSeconds: config.waitSeconds,
      ...pricedAs(config),
      gpus,
      isForSeveralNodes: kind !== "spot" && efaCards > 0,
      backend: "sagemaker",
      isPreferred: backend === "sagemaker",
      ResourceConfig: {
        InstanceType: `ml.${instanceType}`,
        VolumeSizeInGB: Math.min(VOLUME_GIB, localStorageGb),
        ...reserved,
        ...(isWarm ? { KeepAlivePeriodInSeconds: warmPoolSeconds } : {}),
      },
      Environment: efaCards > 0 ? EFA_ENVIRONMENT : {},
      ...(isWarm ? { keepAliveSeconds: warmPoolSeconds } : {}),
    };
  }

  private clusterRung(fleet: GpuRung, definition: string): RungData {
    const { rung: kind, instanceType, gpu, queue, config, isForSeveralNodes } = fleet;
    return {
      name: `${kind}-${instanceType}-cluster`,
      kind,
      service: "batch",
      instanceType,
      childrenPerInstance: 1,
      waitSeconds: config.waitSeconds,
      ...pricedAs(config),
      gpus: gpu.gpus,
      isForSeveralNodes,
      backend: "batch",
      isPreferred: this.props.training.backend === "batch" || kind === "reservation",
      queue: queue.jobQueueArn,
      definition,
    };
  }

  private addCluster({ instanceType, gpu }: GpuRung): string {
    return this.cluster.addClusterDefinition(idOfType(instanceType), instanceType, gpu, wholeInstance(gpu));
  }
}
