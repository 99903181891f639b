// What a deployment may choose: `voxelburst` in cdk.json's context, or the file that `-c config=` names. Every option
// has a default, so that {} deploys: two p5.4xlarge on Spot, On-Demand behind them, and hard caps on what they cost.
import * as z from "zod";
import { checkTogether, isNetwork, isTimeZone } from "./deployment-checks.ts";
import { GPU_INSTANCE_TYPE_NAMES } from "./instance-types.ts";
import { datasetName, positive } from "./primitives.ts";
import { recipe } from "./recipe.ts";

const arn = (service: string, resource: string, words: string) =>
  z.string().regex(new RegExp(`^arn:aws[a-z-]*:${service}:[a-z0-9-]+:\\d{12}:${resource}$`), words);
const kmsKeyArn = arn("kms", "key/[A-Za-z0-9-]+", "the ARN of a KMS key (arn:aws:kms:<region>:<account>:key/<id>)");
const zoneName = z
  .string()
  .regex(/^[a-z]{2}(-[a-z]+)+-\d[a-z]$/, "the name of an Availability Zone, such as us-east-1a");

/** The days that CloudWatch Logs keeps a group's events for, up to ten years. */
const LOG_DAYS = [
  1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
];

/**
 * What jobs in a network without a way out call, by the last part of the service's name: ECS instances, their agent, which
 * puts ingest's secret into its environment, and their containers. S3 is a gateway, the others are interfaces.
 */
export const JOB_ENDPOINTS = [
  "ecs",
  "ecs-agent",
  "ecs-telemetry",
  "ecr.api",
  "ecr.dkr",
  "logs",
  "secretsmanager",
  "s3",
] as const;
export type JobEndpoint = (typeof JOB_ENDPOINTS)[number];

/** @returns the endpoints that the network stack makes */
export const endpointsToCreate = (vpc: Deployment["vpc"]): readonly JobEndpoint[] => {
  if (vpc.use === "new" || vpc.createEndpoints === true) return JOB_ENDPOINTS;
  return vpc.createEndpoints === false ? [] : vpc.createEndpoints;
};

const newVpc = z.strictObject({
  use: z.literal("new"),
  cidr: z
    .string()
    .regex(/^\d{1,3}(\.\d{1,3}){3}\/1[6-8]$/, "an IPv4 block of /16 to /18, such as 10.0.0.0/16")
    .refine(isNetwork, "an IPv4 block whose address has no bit behind its length, such as 10.0.0.0/16")
    .default("10.0.0.0/16")
    .describe("addresses of the new network, a /20 of it a zone"),
});

const existingVpc = z.strictObject({
  use: z.literal("existing"),
  vpcId: z
    .string()
    .regex(/^vpc-[0-9a-f]{8,17}$/, "the id of a VPC, vpc-<hexadecimal>")
    .describe("a VPC with DNS support and DNS host names"),
  subnets: z
    .array(
      z.strictObject({
        subnetId: z
          .string()
          .regex(/^subnet-[0-9a-f]{8,17}$/, "the id of a subnet, subnet-<hexadecimal>")
          .describe("one of its private subnets"),
        zone: zoneName.describe("where the subnet is"),
        routeTableId: z
          .string()
          .regex(/^rtb-[0-9a-f]{8,17}$/, "the id of a route table, rtb-<hexadecimal>")
          .describe("the subnet's, for the S3 gateway"),
        addresses: z
          .int()
          .min(1)
          .describe("free ones: fleets have to fit, and an address for each of seven endpoints that are created"),
      }),
    )
    .min(1)
    .describe("private ones, without a way to the internet; the first is where nodes with EFA run"),
  createEndpoints: z
    .union([z.boolean(), z.array(z.enum(JOB_ENDPOINTS)).min(1)])
    .default(true)
    .describe("all, none where the VPC has every one already, or those that it lacks: a second one cannot be created"),
});

const fleetCommon = {
  instanceType: z.enum(GPU_INSTANCE_TYPE_NAMES).describe("EC2's name of the GPU instance type"),
  maxNodes: z.int().min(1).max(512).default(2).describe("instances at once, for Batch; SageMaker has its own quota"),
  waitSeconds: z
    .int()
    .min(600)
    .max(86_400)
    .default(3_600)
    .describe("how long a job waits for an instance before the next rung is tried"),
  usdPerHour: positive
    .optional()
    .describe("of one instance; default: the On-Demand price of the table, and needed where it has none"),
};

/** One compute environment, launch template and queue. Rungs have the recipe's names. */
export const fleet = z.discriminatedUnion("rung", [
  z.strictObject({
    rung: z.literal("reservation"),
    ...fleetCommon,
    reservationId: z
      .string()
      .regex(/^cr-[0-9a-f]{8,17}$/, "the id of a Capacity Reservation or Capacity Block, cr-<hexadecimal>")
      .describe("what was reserved, in the first zone"),
    capacityBlock: z
      .boolean()
      .default(false)
      .describe("the reservation is a Capacity Block for ML: no placement group, and it ends at 11:30 UTC"),
    placementGroup: z
      .string()
      .min(1)
      .max(255)
      .optional()
      .describe("the cluster placement group that the reservation was made in; none fits a Capacity Block"),
  }),
  z.strictObject({ rung: z.literal("spot"), ...fleetCommon }),
  z.strictObject({ rung: z.literal("on-demand"), ...fleetCommon }),
  z
    .strictObject({ rung: z.literal("smaller-gpu"), ...fleetCommon })
    .describe("On-Demand, of a type that is easier to get"),
]);

const imageSource = z.discriminatedUnion("source", [
  z
    .strictObject({ source: z.literal("asset") })
    .describe("built by `cdk deploy` with the Docker engine of this machine"),
  z
    .strictObject({ source: z.literal("codebuild") })
    .describe("built in the account by CodeBuild: no Docker engine needed"),
  z.strictObject({
    source: z.literal("ecr"),
    uri: z
      .string()
      .regex(
        /^\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?\/[a-z0-9]+([._/-][a-z0-9]+)*(:[\w][\w.-]{0,127}|@sha256:[0-9a-f]{64})$/,
        "an image in ECR with its tag or digest, <account>.dkr.ecr.<region>.amazonaws.com/<name>@sha256:<digest>",
      )
      .describe("a digest names one image for ever, a tag may move"),
  }),
]);

/** Types that SageMaker's batch transform accepts. */
const transformType = z.enum(["g5.4xlarge", "g5.48xlarge", "g6e.xlarge", "g6e.4xlarge", "g6e.48xlarge"]);

/** Every strategy, and every engine that a deployment has: a recipe without engines would measure the fastest alone. */
const WHOLE_LADDER = {
  folds: "fold0",
  strategies: ["fp32", "amp", "dali", "fused", "ddp"],
  engines: ["torch", "inductor", "onnxruntime", "tensorrt"],
};

/** Once a day: the alarm that no night has measured anything counts on it. */
const DAILY = /^cron\([1-5]?\d (1?\d|2[0-3]) (\* \* \?|\? \* \*) \*\)$/;

const schedule = z.strictObject({
  cron: z
    .string()
    .regex(DAILY, "EventBridge Scheduler's cron of once a day, such as cron(30 2 * * ? *)")
    .default("cron(0 2 * * ? *)")
    .describe("when a night begins"),
  timeZone: z
    .string()
    .refine(isTimeZone, "an IANA time zone, such as Europe/Berlin")
    .default("UTC")
    .describe("an IANA time zone"),
  dataset: datasetName.describe("the reference dataset, below datasets/ of the data bucket"),
  recipe: z
    .record(z.string(), z.unknown())
    .default(WHOLE_LADDER)
    .superRefine((overrides, context) => {
      for (const issue of recipe.safeParse(overrides).error?.issues ?? [])
        context.addIssue({ ...issue } as Parameters<typeof context.addIssue>[0]);
    })
    .describe("what a recipe.yaml may say, in place of the dataset's own: the whole ladder by default"),
});

const options = z.strictObject({
  region: z
    .string()
    .regex(/^[a-z]{2}(-[a-z]+)+-\d$/, "the name of a region, such as us-east-1")
    .optional()
    .describe("default: the region of the CLI's profile"),
  zones: z
    .array(zoneName)
    .min(1)
    .max(3)
    .optional()
    .describe(
      "of a new VPC; nodes with EFA run in the first. Interface endpoints bill a zone. Default: two of the region's",
    ),
  vpc: z
    .discriminatedUnion("use", [newVpc, existingVpc])
    .prefault({ use: "new" })
    .describe("a new network without a way out, or one that exists"),
  fleets: z
    .array(fleet)
    .min(1)
    .default([
      { rung: "spot", instanceType: "p5.4xlarge", maxNodes: 2, waitSeconds: 3_600 },
      { rung: "on-demand", instanceType: "p5.4xlarge", maxNodes: 2, waitSeconds: 3_600 },
    ])
    .describe("where GPU stages run, in the order in which a run tries them"),
  ingest: z
    .strictObject({
      maxVcpus: z.int().min(2).max(10_000).default(128).describe("of ingest's CPUs at once, on Spot, then On-Demand"),
    })
    .prefault({}),
  training: z
    .strictObject({
      backend: z
        .enum(["sagemaker", "batch"])
        .default("sagemaker")
        .describe("SageMaker training jobs, or Batch multi-node jobs over EFA"),
      nodes: z
        .int()
        .min(1)
        .max(64)
        .default(1)
        .describe("instances of one `ddp` training. Several need EFA, and are never on Spot"),
      warmPoolSeconds: z
        .int()
        .min(0)
        .max(21_600)
        .default(0)
        .describe("how long SageMaker keeps instances for the next training; they bill meanwhile"),
      trainingPlanArn: arn(
        "sagemaker",
        "training-plan/[a-z0-9-]+",
        "the ARN of a SageMaker training plan (arn:aws:sagemaker:<region>:<account>:training-plan/<name>)",
      )
        .optional()
        .describe("reserved SageMaker capacity: training's first rung, on planInstanceType"),
      planInstanceType: z
        .enum(GPU_INSTANCE_TYPE_NAMES)
        .optional()
        .describe("EC2's name of the type that the training plan reserves"),
    })
    .prefault({}),
  transform: z
    .strictObject({
      enabled: z.boolean().default(false).describe("infer through SageMaker batch transform in place of a Batch array"),
      instanceType: transformType.default("g5.4xlarge").describe("batch transform takes no p4, p5 or p6"),
      maxNodes: z.int().min(1).max(100).default(2).describe("instances of one transform job"),
    })
    .prefault({}),
  schedule: schedule.optional().describe("the nightly benchmark; default: none"),
  budgets: z
    .strictObject({
      maxUsdPerRun: positive.default(100).describe("no run may cost more; a recipe's maxUsd may lower it"),
      maxUsdPerMonth: positive.default(1_000).describe("of all runs of a calendar month, UTC"),
      anomalyMonitor: z
        .boolean()
        .default(true)
        .describe("AWS's alert of unusual costs; false in an organization's member account, which may not create one"),
    })
    .prefault({}),
  notifications: z
    .strictObject({
      emails: z.array(z.email()).max(20).default([]).describe("of people who hear of runs and alarms; each confirms"),
      httpsUrls: z
        .array(z.url({ protocol: /^https$/ }))
        .max(20)
        .default([])
        .describe("endpoints for the same messages"),
    })
    .prefault({}),
  retention: z
    .strictObject({
      logDays: z
        .literal(LOG_DAYS as [number, ...number[]])
        .default(365)
        .describe("log groups; one of CloudWatch's own numbers of days"),
      accessLogDays: z.int().min(1).max(3653).default(365).describe("access logs of the buckets"),
      outputDays: z
        .int()
        .min(1)
        .max(3653)
        .default(90)
        .describe("what stages leave for later runs to reuse; models, reports and datasets stay"),
      noncurrentDays: z.int().min(1).max(3653).default(90).describe("versions that were replaced or deleted"),
    })
    .prefault({}),
  keys: z
    .strictObject({
      dataKeyArn: kmsKeyArn.optional().describe("buckets, ledger, secret, schedule and topic; default: a new key"),
      logKeyArn: kmsKeyArn.optional().describe("log groups; default: a new key"),
    })
    .prefault({})
    .describe("keys that exist: their policies have to say what docs/deploy.md lists"),
  removalPolicy: z
    .enum(["retain", "destroy"])
    .default("retain")
    .describe("what becomes of data, ledger and keys when the stacks go"),
  image: imageSource.default({ source: "asset" }).describe("where the container image comes from"),
  tags: z
    .record(z.string().min(1).max(128), z.string().max(256))
    .default({})
    .describe("on every resource, beside application=voxelburst, which budgets count by"),
});

export const deployment = options.superRefine(checkTogether);

export type Deployment = z.infer<typeof options>;
/** What a person may write: everything optional. */
export type DeploymentInput = z.input<typeof deployment>;
export type FleetConfig = z.infer<typeof fleet>;
export type Rung = FleetConfig["rung"];
