// Everything that can be known of an account before a run fails in it. It changes nothing.
import { BatchClient, DescribeComputeEnvironmentsCommand } from "@aws-sdk/client-batch";
import { CloudFormationClient, paginateListStackResources } from "@aws-sdk/client-cloudformation";
import { paginateListSubscriptionsByTopic, SNSClient } from "@aws-sdk/client-sns";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import type { Deployment } from "../contracts/deployment.ts";
import { STACKS } from "../contracts/outputs.ts";
import { PRICES_DATE, PRICES_REGION } from "../contracts/prices.ts";
import {
  addressChecks,
  ingestTypeCheck,
  instanceTypeChecks,
  offeringChecks,
  reservationChecks,
  trainingPlanChecks,
} from "./capacity.ts";
import { type Check, fail, look, ok, warn } from "./check.ts";
import { describeStack } from "./deployed.ts";
import { endpointChecks } from "./endpoints.ts";
import { organizationChecks } from "./organization.ts";
import { quotaChecks } from "./quotas.ts";
import { sageMakerLogChecks } from "./sagemaker-logs.ts";
import { spotRoleChecks } from "./service-roles.ts";
import { volumeKeyChecks } from "./volume-key.ts";

/** @throws whatever AWS says to GetCallerIdentity: without an identity there is nothing else to ask */
export async function examineAccount(config: Deployment): Promise<Check[]> {
  const client = new STSClient({});
  const identity = await client.send(new GetCallerIdentityCommand({}));
  const region = await client.config.region();
  const checks: Check[] = [
    ok("identity", `${identity.Arn} in account ${identity.Account}`),
    config.region === undefined || config.region === region
      ? ok("region", region)
      : fail("region", region, `The deployment is configured for ${config.region}: set AWS_REGION to it.`),
    priceCheck(config.region ?? region),
  ];
  const add = async (name: string, of: () => Promise<Check[]>) => void checks.push(...(await look(name, of)));
  await add("zones", () => offeringChecks(config));
  await add("instance types", () => instanceTypeChecks(config));
  await add("ingest's instance types", () => ingestTypeCheck());
  await add("quotas", () => quotaChecks(config));
  await add("reservations", () => reservationChecks(config));
  await add("training plan", () => trainingPlanChecks(config));
  await add("addresses", () => addressChecks(config));
  await add("organization", () => organizationChecks(config, identity.Account!));
  await add("Spot role", () => spotRoleChecks());
  await add("key of EBS volumes", () => volumeKeyChecks(identity.Account!));
  await add("SageMaker's log groups", () => sageMakerLogChecks(config));
  await add("stacks", () => stackChecks(config));
  return checks;
}

/** The ledger holds and books dollars by the table's prices, whatever the region asks for. */
function priceCheck(region: string): Check {
  const found = `of ${PRICES_REGION}, ${PRICES_DATE}`;
  return region === PRICES_REGION
    ? ok("prices", found)
    : warn(
        "prices",
        `${found}; the region is ${region}, and caps are in dollars`,
        `\`voxelburst cost --refresh-prices ${region}\` renews them; then \`voxelburst deploy\`.`,
      );
}

/** The stacks, and what inside them can be there and still not work. */
async function stackChecks(config: Deployment): Promise<Check[]> {
  const wanted = Object.entries(STACKS).filter(([name]) => name !== "image" || config.image.source === "codebuild");
  const checks: Check[] = [];
  const deployed: string[] = [];
  const there: string[] = [];
  for (const [, name] of wanted) {
    const stack = await describeStack(name);
    if (stack) there.push(name);
    if (!stack) checks.push(warn(`stack ${name}`, "not deployed", "`voxelburst deploy` makes it."));
    else if (/_COMPLETE$/.test(stack.StackStatus!) && !/ROLLBACK/.test(stack.StackStatus!)) {
      deployed.push(name);
      checks.push(ok(`stack ${name}`, stack.StackStatus!));
    } else
      checks.push(
        fail(
          `stack ${name}`,
          `${stack.StackStatus}: ${stack.StackStatusReason ?? "no reason given"}`,
          "Its events in the CloudFormation console name the resource; then `voxelburst deploy`.",
        ),
      );
  }
  const vpcs = await physicalIds(STACKS.network, "AWS::EC2::VPC", deployed);
  const vpcId = config.vpc.use === "existing" ? config.vpc.vpcId : vpcs[0];
  // Of a stack whose update was rolled back too: what it made is its own.
  const endpoints = await physicalIds(STACKS.network, "AWS::EC2::VPCEndpoint", there);
  if (vpcId) checks.push(...(await look("VPC endpoints", () => endpointChecks(config.vpc, vpcId, endpoints))));
  const environments = await physicalIds(STACKS.fleet, "AWS::Batch::ComputeEnvironment", deployed);
  checks.push(...(await look("compute environments", () => environmentChecks(environments))));
  for (const topic of await physicalIds(STACKS.workflow, "AWS::SNS::Topic", deployed))
    checks.push(...(await look("notifications", () => subscriptionChecks(topic))));
  return checks;
}

async function physicalIds(stack: string, type: string, deployed: readonly string[]): Promise<string[]> {
  if (!deployed.includes(stack)) return [];
  const ids: string[] = [];
  const pages = paginateListStackResources({ client: new CloudFormationClient({}) }, { StackName: stack });
  // A stack that was rolled back still names what it deleted.
  for await (const { StackResourceSummaries } of pages)
    for (const { ResourceType, PhysicalResourceId, ResourceStatus } of StackResourceSummaries ?? [])
      if (ResourceType === type && PhysicalResourceId && ResourceStatus !== "DELETE_COMPLETE")
        ids.push(PhysicalResourceId);
  return ids;
}

/** An environment whose role, template or AMI does not fit becomes INVALID after it was made. */
async function environmentChecks(environments: readonly string[]): Promise<Check[]> {
  if (environments.length === 0) return [];
  const { computeEnvironments = [] } = await new BatchClient({}).send(
    new DescribeComputeEnvironmentsCommand({ computeEnvironments: [...environments] }),
  );
  return computeEnvironments.map(({ computeEnvironmentName, status, state, statusReason }) => {
    const name = `compute environment ${computeEnvironmentName}`;
    return status === "VALID" && state === "ENABLED"
      ? ok(name, "VALID, ENABLED")
      : fail(name, `${status}, ${state}: ${statusReason ?? "no reason given"}`, "Correct what the reason names.");
  });
}

async function subscriptionChecks(TopicArn: string): Promise<Check[]> {
  let confirmed = 0;
  const pending: string[] = [];
  const pages = paginateListSubscriptionsByTopic({ client: new SNSClient({}) }, { TopicArn });
  for await (const { Subscriptions } of pages)
    for (const { SubscriptionArn, Protocol } of Subscriptions ?? []) {
      if (SubscriptionArn === "PendingConfirmation") pending.push(Protocol!);
      else confirmed += 1;
    }
  if (pending.length > 0)
    return [
      warn(
        "notifications",
        `${confirmed} confirmed, ${pending.length} not (${[...new Set(pending)].join(", ")})`,
        "Each has to follow the link of its confirmation message.",
      ),
    ];
  return [
    confirmed > 0
      ? ok("notifications", `${confirmed} confirmed`)
      : warn("notifications", "nobody is told", "Name people in `notifications` of the deployment."),
  ];
}
