// What still bills after `destroy`, or would: what a stack keeps, and what runs outside of any stack.
import {
  CloudFormationClient,
  GetTemplateCommand,
  paginateListStackResources,
  paginateListStacks,
  type StackResourceSummary,
  type StackSummary,
} from "@aws-sdk/client-cloudformation";
import { CloudWatchLogsClient } from "@aws-sdk/client-cloudwatch-logs";
import { EC2Client, paginateDescribeCapacityReservations, paginateDescribeInstances } from "@aws-sdk/client-ec2";
import { paginateListTrainingJobs, paginateListTransformJobs, SageMakerClient } from "@aws-sdk/client-sagemaker";
import { STACKS } from "../contracts/outputs.ts";
import { SAGEMAKER_LOGS } from "../contracts/sagemaker-logs.ts";
import { assetImages } from "./asset-images.ts";
import { findLogGroup } from "./sagemaker-logs.ts";

export interface Bill {
  what: string;
  /** Its name or ARN. */
  id: string;
  why: string;
  /** Whether it goes with the stacks. */
  goes: boolean;
}

/** Kinds of resources that bill by their existence or content; CloudFormation's other kinds cost nothing by themselves. */
const BILLS: Record<string, string> = {
  "AWS::S3::Bucket": "bills its objects and versions",
  "AWS::KMS::Key": "1 USD a month, until its deletion has been scheduled and waited for",
  "AWS::SecretsManager::Secret": "0.40 USD a month",
  "AWS::DynamoDB::Table": "bills its items",
  "AWS::DynamoDB::GlobalTable": "bills its items",
  "AWS::Logs::LogGroup": "bills what it keeps",
  "AWS::ECR::Repository": "bills its images",
  "AWS::EC2::VPCEndpoint": "interface endpoints bill by the hour and zone",
  "AWS::CloudWatch::Alarm": "0.10 USD a month for each metric",
  "AWS::CloudWatch::Dashboard": "3 USD a month",
  "AWS::SQS::Queue": "bills its requests alone",
};

/** Of our own resources everything begins so: jobs of trainings and transforms are named after their stage. */
const JOB_NAMES = ["train-", "infer-"] as const;

/** CloudFormation lists a deleted stack for so long; what an earlier one kept is found by its tag alone. */
export const LISTED_DAYS = 90;

/** Stacks of this application that exist, and every one that was deleted in those days: each may have kept something. */
async function stacksOf(client: CloudFormationClient): Promise<StackSummary[]> {
  const names = new Set<string>(Object.values(STACKS));
  const found: StackSummary[] = [];
  for await (const { StackSummaries } of paginateListStacks({ client }, {}))
    found.push(...(StackSummaries ?? []).filter(({ StackName }) => names.has(StackName!)));
  return found;
}

export async function stillBilling(): Promise<Bill[]> {
  const client = new CloudFormationClient({});
  const bills: Bill[] = [];
  const templates: { stackId: string; body: string }[] = [];
  for (const stack of await stacksOf(client)) {
    const isGone = stack.StackStatus === "DELETE_COMPLETE";
    const body = await templateOf(client, stack.StackId!);
    templates.push({ stackId: stack.StackId!, body });
    const kept = isGone ? undefined : keptBy(body);
    const pages = paginateListStackResources({ client }, { StackName: stack.StackId! });
    for await (const { StackResourceSummaries } of pages)
      for (const resource of StackResourceSummaries ?? []) {
        const bill = billOf(resource, kept);
        // Of a stack that is gone, what was deleted with it is listed too.
        if (!bill || (isGone && resource.ResourceStatus !== "DELETE_SKIPPED")) continue;
        bills.push(isGone ? { ...bill, why: `${bill.why}; ${keptOn(stack)}` } : bill);
      }
  }
  return [...bills, ...(await assetImages(templates)), ...(await outside())];
}

const keptOn = ({ DeletionTime }: StackSummary): string =>
  `kept when its stack was deleted${DeletionTime ? ` on ${DeletionTime.toISOString().slice(0, 10)}` : ""}, if nobody has deleted it since`;

/** @param kept - logical ids that the template keeps; undefined for a stack that is gone */
function billOf(resource: StackResourceSummary, kept: Set<string> | undefined): Bill | undefined {
  const why = BILLS[resource.ResourceType ?? ""];
  if (!why || !resource.PhysicalResourceId || resource.ResourceStatus === "DELETE_COMPLETE") return undefined;
  return {
    what: resource.ResourceType!.replace("AWS::", "").replaceAll("::", " "),
    id: resource.PhysicalResourceId,
    why,
    goes: kept !== undefined && !kept.has(resource.LogicalResourceId!),
  };
}

/** Of a deleted stack too, for the 90 days in which it is listed. */
async function templateOf(client: CloudFormationClient, StackName: string): Promise<string> {
  const { TemplateBody } = await client.send(new GetTemplateCommand({ StackName, TemplateStage: "Processed" }));
  return TemplateBody ?? "{}";
}

function keptBy(template: string): Set<string> {
  const { Resources } = JSON.parse(template) as { Resources?: Record<string, { DeletionPolicy?: string }> };
  return new Set(
    Object.entries(Resources ?? {})
      .filter(([, { DeletionPolicy }]) => DeletionPolicy?.startsWith("Retain"))
      .map(([name]) => name),
  );
}

/** What no stack owns: jobs and their logs, the instances that Batch started, reserved capacity. */
async function outside(): Promise<Bill[]> {
  return [
    ...(await instances()),
    ...(await reservations()),
    ...(await sageMakerJobs()),
    ...(await sageMakerLogGroups()),
  ];
}

async function sageMakerLogGroups(): Promise<Bill[]> {
  const client = new CloudWatchLogsClient({});
  const found: Bill[] = [];
  for (const group of Object.values(SAGEMAKER_LOGS))
    if (await findLogGroup(client, group))
      found.push({
        what: "SageMaker log group",
        id: group,
        why: "bills what it keeps, of all jobs of the account",
        goes: false,
      });
  return found;
}

async function instances(): Promise<Bill[]> {
  const found: Bill[] = [];
  const pages = paginateDescribeInstances(
    { client: new EC2Client({}) },
    {
      Filters: [
        { Name: "tag:application", Values: ["voxelburst"] },
        { Name: "instance-state-name", Values: ["pending", "running", "stopping", "stopped"] },
      ],
    },
  );
  for await (const { Reservations } of pages)
    for (const { InstanceId, InstanceType, State } of (Reservations ?? []).flatMap((each) => each.Instances ?? []))
      found.push({
        what: `EC2 instance ${InstanceType}`,
        id: InstanceId!,
        why: `${State?.Name}: bills by the second, stopped ones for their volumes`,
        goes: true,
      });
  return found;
}

/** Somebody else's reservations are listed too: nothing says for whom one was made. */
async function reservations(): Promise<Bill[]> {
  const found: Bill[] = [];
  const pages = paginateDescribeCapacityReservations(
    { client: new EC2Client({}) },
    { Filters: [{ Name: "state", Values: ["active", "pending"] }] },
  );
  for await (const { CapacityReservations } of pages)
    for (const each of CapacityReservations ?? [])
      found.push({
        what: `Capacity Reservation, ${each.TotalInstanceCount} ${each.InstanceType}`,
        id: each.CapacityReservationId!,
        why: "bills whether it is used or not; a Capacity Block is paid for already",
        goes: false,
      });
  return found;
}

async function sageMakerJobs(): Promise<Bill[]> {
  const client = new SageMakerClient({});
  const found: Bill[] = [];
  const isOurs = (name: string) => JOB_NAMES.some((start) => name.startsWith(start));
  for await (const page of paginateListTrainingJobs({ client }, { StatusEquals: "InProgress" }))
    for (const { TrainingJobName, WarmPoolStatus } of page.TrainingJobSummaries ?? [])
      if (isOurs(TrainingJobName!))
        found.push({
          what: "SageMaker training job",
          id: TrainingJobName!,
          why: warmth(WarmPoolStatus?.Status),
          goes: false,
        });
  for await (const page of paginateListTrainingJobs({ client }, { WarmPoolStatusEquals: "Available" }))
    for (const { TrainingJobName } of page.TrainingJobSummaries ?? [])
      if (isOurs(TrainingJobName!))
        found.push({
          what: "SageMaker warm pool",
          id: TrainingJobName!,
          why: "its instances bill until it ends",
          goes: false,
        });
  for await (const page of paginateListTransformJobs({ client }, { StatusEquals: "InProgress" }))
    for (const { TransformJobName } of page.TransformJobSummaries ?? [])
      if (isOurs(TransformJobName!))
        found.push({ what: "SageMaker transform job", id: TransformJobName!, why: "runs", goes: false });
  return found;
}

const warmth = (status: string | undefined) => (status ? `runs, in a warm pool (${status})` : "runs");
