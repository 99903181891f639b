// Where the fleets' instance types exist, whether EC2 describes them as our table does, and what is reserved.
import {
  DescribeCapacityReservationsCommand,
  DescribeInstanceTypeOfferingsCommand,
  DescribeInstanceTypesCommand,
  DescribeSubnetsCommand,
  DescribeVpcEndpointsCommand,
  EC2Client,
  type _InstanceType as InstanceType,
} from "@aws-sdk/client-ec2";
import { DescribeTrainingPlanCommand, SageMakerClient } from "@aws-sdk/client-sagemaker";
import type { Deployment } from "../contracts/deployment.ts";
import { GPU_INSTANCE_TYPES, type GpuInstanceTypeName } from "../contracts/instance-types.ts";
import { type Check, fail, ok, warn } from "./check.ts";

const typesOf = (config: Deployment): GpuInstanceTypeName[] => [
  ...new Set(config.fleets.map(({ instanceType }) => instanceType)),
];

/** The zones that nodes may start in; undefined where the stack takes whatever the region has. */
const zonesOf = (config: Deployment): string[] | undefined =>
  config.vpc.use === "existing" ? config.vpc.subnets.map(({ zone }) => zone) : config.zones;

export async function offeringChecks(config: Deployment, client: EC2Client = new EC2Client({})): Promise<Check[]> {
  const checks: Check[] = [];
  for (const type of typesOf(config)) {
    const { InstanceTypeOfferings = [] } = await client.send(
      new DescribeInstanceTypeOfferingsCommand({
        LocationType: "availability-zone",
        Filters: [{ Name: "instance-type", Values: [type] }],
      }),
    );
    const zones = InstanceTypeOfferings.map(({ Location }) => Location!).sort();
    const wanted = zonesOf(config);
    const name = `zones of ${type}`;
    if (zones.length === 0)
      checks.push(
        fail(name, "none in this region", "Deploy to a region that has the type, or name another in `fleets`."),
      );
    // Nodes with EFA run in the first zone alone.
    else if (wanted && !zones.includes(wanted[0]!))
      checks.push(
        fail(
          name,
          `${zones.join(", ")}, not ${wanted[0]}`,
          `Put one of ${zones.join(", ")} first in zones or subnets.`,
        ),
      );
    else if (!wanted)
      checks.push(
        warn(name, zones.join(", "), `The stack takes two of the region's zones: name ${zones[0]} first in \`zones\`.`),
      );
    else checks.push(ok(name, zones.join(", ")));
  }
  return checks;
}

/** Our table was transcribed by hand: EC2 itself is the authority on vCPUs, GPUs and EFA. */
export async function instanceTypeChecks(config: Deployment, client: EC2Client = new EC2Client({})): Promise<Check[]> {
  const { InstanceTypes = [] } = await client.send(
    new DescribeInstanceTypesCommand({ InstanceTypes: typesOf(config) as InstanceType[] }),
  );
  return InstanceTypes.map((described) => {
    const type = described.InstanceType as GpuInstanceTypeName;
    const ours = GPU_INSTANCE_TYPES[type];
    const efa = described.NetworkInfo?.EfaInfo?.MaximumEfaInterfaces ?? 0;
    const gpus = (described.GpuInfo?.Gpus ?? []).reduce((sum, { Count = 0 }) => sum + Count, 0);
    const differs = [
      described.VCpuInfo?.DefaultVCpus !== ours.vcpus && `${described.VCpuInfo?.DefaultVCpus} vCPUs, not ${ours.vcpus}`,
      gpus !== ours.gpus && `${gpus} GPUs, not ${ours.gpus}`,
      // A type of which we use no EFA may have some.
      ours.efaCards > 0 && efa !== ours.efaCards && `${efa} EFA interfaces, not ${ours.efaCards}`,
    ].filter((one) => one !== false);
    const name = `EC2's description of ${type}`;
    return differs.length > 0
      ? fail(name, differs.join("; "), "Report it: the launch template is made for another layout.")
      : ok(name, `${ours.vcpus} vCPUs, ${gpus} GPUs, ${efa} EFA interfaces`);
  });
}

export async function reservationChecks(config: Deployment, client: EC2Client = new EC2Client({})): Promise<Check[]> {
  const checks: Check[] = [];
  for (const each of config.fleets) {
    if (each.rung !== "reservation") continue;
    const name = `reservation ${each.reservationId}`;
    const { CapacityReservations = [] } = await client.send(
      new DescribeCapacityReservationsCommand({
        Filters: [{ Name: "capacity-reservation-id", Values: [each.reservationId] }],
      }),
    );
    const [found] = CapacityReservations;
    if (!found) {
      checks.push(
        fail(name, "not in this account and region", "Name one that `aws ec2 describe-capacity-reservations` lists."),
      );
      continue;
    }
    const said = `${found.State}, ${found.AvailableInstanceCount} of ${found.TotalInstanceCount} ${found.InstanceType} free in ${found.AvailabilityZone}${found.EndDate ? `, until ${found.EndDate.toISOString()}` : ""}`;
    const isBlock = found.ReservationType === "capacity-block";
    const zone = zonesOf(config)?.[0];
    const wrong = [
      found.InstanceType !== each.instanceType && `it is of ${found.InstanceType}, not of ${each.instanceType}`,
      isBlock !== each.capacityBlock && `capacityBlock has to be ${isBlock}`,
      zone !== undefined && found.AvailabilityZone !== zone && `it is in ${found.AvailabilityZone}, not in ${zone}`,
    ].filter((one) => one !== false);
    if (wrong.length > 0) checks.push(fail(name, said, `Correct \`fleets\`: ${wrong.join("; ")}.`));
    else if (found.State !== "active")
      checks.push(warn(name, said, "Its rung finds no capacity until it is active; the next rung is tried meanwhile."));
    else checks.push(ok(name, said));
  }
  return checks;
}

export async function trainingPlanChecks(
  config: Deployment,
  client: SageMakerClient = new SageMakerClient({}),
): Promise<Check[]> {
  const arn = config.training.trainingPlanArn;
  if (!arn) return [];
  const name = "training plan";
  const plan = await client.send(new DescribeTrainingPlanCommand({ TrainingPlanName: arn.split("/").at(-1)! }));
  const said = `${plan.Status}, ${plan.AvailableInstanceCount ?? 0} of ${plan.TotalInstanceCount ?? 0} instances free${plan.EndTime ? `, until ${plan.EndTime.toISOString()}` : ""}`;
  return [
    plan.Status === "Active"
      ? ok(name, said)
      : warn(name, said, "Trainings go to the next rung until the plan is active."),
  ];
}

/** What jobs in a network without a way out call, by the last part of the service's name. Gateways: s3. */
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

export async function endpointChecks(vpcId: string, client: EC2Client = new EC2Client({})): Promise<Check[]> {
  const { VpcEndpoints = [] } = await client.send(
    new DescribeVpcEndpointsCommand({ Filters: [{ Name: "vpc-id", Values: [vpcId] }] }),
  );
  const available = VpcEndpoints.filter(({ State }) => State?.toLowerCase() === "available").map(
    // com.amazonaws.us-east-1.ecr.api
    ({ ServiceName }) => ServiceName!.split(".").slice(3).join("."),
  );
  const missing = JOB_ENDPOINTS.filter((name) => !available.includes(name));
  return [
    missing.length > 0
      ? fail(
          "VPC endpoints",
          `${vpcId} lacks ${missing.join(", ")}`,
          "Jobs without them cannot start or log: set vpc.createEndpoints, or have them made.",
        )
      : ok("VPC endpoints", `${vpcId} has all ${JOB_ENDPOINTS.length}`),
  ];
}

/** Nodes with EFA take an address a card and one more. */
export async function addressChecks(config: Deployment, client: EC2Client = new EC2Client({})): Promise<Check[]> {
  if (config.vpc.use !== "existing") return [];
  const { Subnets = [] } = await client.send(
    new DescribeSubnetsCommand({ SubnetIds: config.vpc.subnets.map(({ subnetId }) => subnetId) }),
  );
  return config.vpc.subnets.map(({ subnetId, addresses }) => {
    const free = Subnets.find(({ SubnetId }) => SubnetId === subnetId)?.AvailableIpAddressCount ?? 0;
    const name = `addresses of ${subnetId}`;
    return free < addresses
      ? warn(name, `${free} free, ${addresses} configured`, "Lower maxNodes, or take a subnet with more addresses.")
      : ok(name, `${free} free`);
  });
}
