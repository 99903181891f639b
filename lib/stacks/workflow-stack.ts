import { CfnOutput, Stack, type StackProps } from "aws-cdk-lib";
import * as logs from "aws-cdk-lib/aws-logs";
import type { Construct } from "constructs";
import { Budgets } from "../cloud/budgets.ts";
import { stageImage } from "../cloud/container-image.ts";
import { CostGuard } from "../cloud/cost-guard.ts";
import { Dashboard } from "../cloud/dashboard.ts";
import type { GpuFleet } from "../cloud/gpu-fleet.ts";
import type { ImagePipeline } from "../cloud/image-pipeline.ts";
import { IngestTrigger } from "../cloud/ingest-trigger.ts";
import { Ledger } from "../cloud/ledger.ts";
import type { Network } from "../cloud/network.ts";
import { Notifications } from "../cloud/notifications.ts";
import { Observability } from "../cloud/observability.ts";
import { NightlySchedule } from "../cloud/schedule.ts";
import type { Storage } from "../cloud/storage.ts";
import type { Deployment } from "../contracts/deployment.ts";
import { VoxelburstError } from "../contracts/error.ts";
import { GPU_INSTANCE_TYPES, type GpuInstanceTypeName } from "../contracts/instance-types.ts";
import { OUTPUTS } from "../contracts/outputs.ts";
import type { Machine, TrainingRung } from "../contracts/ports.ts";
import { Compile } from "../stages/compile.ts";
import { Infer } from "../stages/infer.ts";
import { Ingest } from "../stages/ingest.ts";
import { Plan } from "../stages/plan.ts";
import { Preprocess } from "../stages/preprocess.ts";
import { Report } from "../stages/report.ts";
import { type CpuRung, pricedAs, type RungData } from "../stages/rung.ts";
import { Train } from "../stages/train.ts";
import { Workflow } from "../workflow/workflow.ts";

export interface WorkflowStackProps extends StackProps {
  readonly storage: Storage;
  readonly network: Network;
  /** In the order in which ingest tries them; at least one. */
  readonly cpus: readonly CpuRung[];
  /** In the order in which a run tries them; at least one. */
  readonly gpus: readonly GpuFleet[];
  readonly deployment: Deployment;
  /** Where CodeBuild builds the image.
   * @default - the image comes from elsewhere */
  readonly pipeline?: ImagePipeline | undefined;
  readonly version: string;
}

/** Of the engine triton: engines/triton_engine.py refuses older GPUs. */
const TRITON_CAPABILITY = 8.9;

/** Of the 4 KB that Lambda allows a function's environment: the others of plan and report take the rest. */
const MOST_MACHINE_BYTES = 3_000;

/** The seven stages, the state machine that composes them, and what starts it. */
export class WorkflowStack extends Stack {
  readonly workflow: Workflow;

  constructor(scope: Construct, id: string, props: WorkflowStackProps) {
    super(scope, id, props);
    const { storage, network, deployment, version } = props;
    const { buckets } = storage;
    const image = stageImage(this, "Image", deployment.image, props.pipeline);
    const batch = {
      buckets,
      image,
      logGroup: new logs.LogGroup(this, "JobLogs", { retention: logs.RetentionDays.THREE_MONTHS }),
    };
    const gpuStage = { ...batch, fleets: props.gpus };
    const sageMaker = { ...gpuStage, subnets: network.subnets, securityGroup: network.jobs };
    const notifications = new Notifications(this, "Notifications", {
      encryptionKey: storage.key,
      targets: deployment.notifications,
    });
    const train = new Train(this, "Train", { ...sageMaker, training: deployment.training });
    const machineJson = machineJsonOf(props, train.rungs);
    const plan = new Plan(this, "Plan", { buckets, machineJson });
    const ledger = new Ledger(this, "Ledger", { deployment, buckets, encryptionKey: storage.key });
    const report = new Report(this, "Report", { buckets, machineJson, ledger });
    const ingest = new Ingest(this, "Ingest", {
      ...batch,
      fleets: props.cpus,
      pseudonymKey: storage.pseudonymKey,
    });
    const workflow = new Workflow(this, "Workflow", {
      notifications,
      ledger,
      stages: {
        ingest,
        plan,
        preprocess: new Preprocess(this, "Preprocess", gpuStage),
        train,
        compile: new Compile(this, "Compile", gpuStage),
        infer: new Infer(this, "Infer", { ...sageMaker, transform: deployment.transform }),
        report,
      },
    });
    this.workflow = workflow;
    const { stateMachine } = workflow;
    const trigger = new IngestTrigger(this, "Trigger", {
      buckets,
      stateMachine,
      encryptionKey: storage.key,
      pseudonymKey: storage.pseudonymKey,
      ledger,
      ingest: ingest.rungs[0]!,
      notifications,
      version,
    });
    const guard = new CostGuard(this, "Guard", {
      ledger,
      stateMachine,
      notifications,
      encryptionKey: storage.key,
      jobLogs: batch.logGroup,
    });
    const { maxUsdPerMonth, anomalyMonitor } = deployment.budgets;
    new Budgets(this, "Budgets", { maxUsdPerMonth, anomalyMonitor, notifications });
    const nightly =
      deployment.schedule &&
      new NightlySchedule(this, "Nightly", {
        schedule: deployment.schedule,
        startRun: trigger.function,
        encryptionKey: storage.key,
      });
    const functions = {
      "start-run": trigger.function,
      plan: plan.function,
      reserve: ledger.reserve,
      settle: ledger.settle,
      guard: guard.function,
      report: report.function,
    };
    const { alarms } = new Observability(this, "Observability", {
      stateMachine,
      functions,
      undelivered: trigger.undelivered,
      failed: trigger.failed,
      ...(nightly ? { nightlyUndelivered: nightly.undelivered } : {}),
      guard: guard.function,
      ...(props.pipeline ? { imageBuild: props.pipeline.project } : {}),
      topic: notifications,
    });
    const { dashboard } = new Dashboard(this, "Operations", {
      stateMachine,
      functions,
      alarms,
      nightly: nightly !== undefined,
    });
    this.addOutputs({
      stateMachineArn: stateMachine.stateMachineArn,
      dataBucket: buckets.data.bucketName,
      artefactsBucket: buckets.artefacts.bucketName,
      quarantineBucket: buckets.quarantine.bucketName,
      ledgerTable: ledger.table.tableName,
      jobLogGroup: batch.logGroup.logGroupName,
      dashboard: dashboard.dashboardName,
      version,
    });
  }

  /** What the command line finds the deployment by. */
  private addOutputs(values: Partial<Record<keyof typeof OUTPUTS, string>>): void {
    for (const [name, value] of Object.entries(values))
      new CfnOutput(this, OUTPUTS[name as keyof typeof OUTPUTS], { value });
  }
}

/** What plan and report are told: the first fleet is what GPU stages run on, and training has rungs of its own. */
function machineOf({ gpus, deployment }: WorkflowStackProps, trainRungs: readonly RungData[]): Machine {
  const { transform, training } = deployment;
  const first = gpus[0]!;
  const transformCapability = transform.enabled ? GPU_INSTANCE_TYPES[transform.instanceType].capability : Infinity;
  return {
    where: "aws",
    ...instanceOf(first.config),
    cpus: first.gpu.vcpus,
    nodes: training.nodes,
    training: trainRungs.map(trainingRung),
    transform: transform.enabled,
    rungs: [...new Set(gpus.map(({ rung }) => rung))],
    // Each fleet is one; a training plan or a batch transform stands before them.
    mostRungs: gpus.length + 1,
    engines: [
      "torch",
      "inductor",
      "onnxruntime",
      "tensorrt",
      // Its kernels want all GPUs that a rung or a transform may give to be of Ada's generation or later.
      ...([...gpus.map(({ gpu: { capability } }) => capability), transformCapability].every(
        (capability) => capability >= TRITON_CAPABILITY,
      )
        ? (["triton"] as const)
        : []),
    ],
  };
}

/** Without what is false: every rung counts in the environment. */
const trainingRung = (rung: RungData): TrainingRung => ({
  kind: rung.kind,
  instanceType: rung.instanceType as GpuInstanceTypeName,
  ...pricedAs(rung),
  backend: rung.backend!,
  ...(rung.isPreferred && { isPreferred: true }),
  ...(rung.isForSeveralNodes && { isForSeveralNodes: true }),
});

/** @throws VoxelburstError DeploymentInvalid where the fleets are more than a function's environment can tell it of */
function machineJsonOf(props: WorkflowStackProps, trainRungs: readonly RungData[]): string {
  const json = JSON.stringify(machineOf(props, trainRungs));
  if (json.length <= MOST_MACHINE_BYTES) return json;
  throw new VoxelburstError(
    "DeploymentInvalid",
    `${props.gpus.length} fleets give training ${trainRungs.length} rungs: more than plan's environment can hold.`,
    "Name fewer fleets.",
    { field: "fleets", got: `${json.length} bytes`, allowed: `${MOST_MACHINE_BYTES} bytes` },
  );
}

function instanceOf({ instanceType, usdPerHour }: GpuFleet["config"]) {
  const { gpus, gpuName, gpuMemoryGiB, memoryGiB } = GPU_INSTANCE_TYPES[instanceType];
  return { instanceType, gpus, gpuName, gpuMemoryGiB, memoryGiB, ...pricedAs({ usdPerHour }) };
}
