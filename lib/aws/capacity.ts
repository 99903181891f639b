// Where the fleets' instance types exist, whether EC2 describes them as our table does, and what is reserved.
import {
  DescribeCapacityReservationsCommand,
  DescribeInstanceTypeOfferingsCommand,
  DescribeInstanceTypesCommand,
  DescribeSubnetsCommand,
  EC2Client,
  type InstanceTypeInfo,
} from "@aws-sdk/client-ec2";
import { DescribeTrainingPlanCommand, SageMakerClient } from "@aws-sdk/client-sagemaker";
import type { Deployment } from "../contracts/deployment.ts";
import { GPU_INSTANCE_TYPES, type GpuInstanceTypeName } from "../contracts/instance-types.ts";
import { CPU_INSTANCE_TYPES } from "../contracts/prices.ts";
import { type Check, fail, ok, warn } from "./check.ts";

/** A type that is configured: by which options, and in which of the zones it has to be. */
interface Use {
  type: GpuInstanceTypeName;
  options: ("fleets" | "transform.instanceType" | "training.planInstanceType")[];
  /** Nodes with EFA, and what is reserved, are in the first zone alone; others in whichever has them. */
  isInFirstZone: boolean;
}

/** Of EC2 and of SageMaker, whose types are EC2's with "ml." before them; SageMaker's quotas are another matter (quotas.ts). */
function usesOf({ fleets, training, transform }: Deployment): Use[] {
  const uses = new Map<GpuInstanceTypeName, Use>();
  const use = (type: GpuInstanceTypeName, option: Use["options"][number], isInFirstZone = false) => {
    const known = uses.get(type);
    uses.set(type, {
      type,
      options: [...new Set([...(known?.options ?? []), option])],
      isInFirstZone: isInFirstZone || (known?.isInFirstZone ?? false),
    });
  };
  for (const { rung, instanceType } of fleets) {
    const hasEfa = rung !== "spot" && GPU_INSTANCE_TYPES[instanceType].efaCards > 0;
    use(instanceType, "fleets", rung === "reservation" || hasEfa);
  }
  if (transform.enabled) use(transform.instanceType, "transform.instanceType");
  if (training.planInstanceType) use(training.planInstanceType, "training.planInstanceType");
  return [...uses.values()];
}

/** The zones that nodes may start in; undefined where the stack takes whatever the region has. */
const zonesOf = (config: Deployment): string[] | undefined =>
  config.vpc.use === "existing" ? config.vpc.subnets.map(({ zone }) => zone) : config.zones;

/** Of a type that a training plan alone reserves, the plan knows the zone: trainingPlanChecks. */
export async function offeringChecks(config: Deployment, client: EC2Client = new EC2Client({})): Promise<Check[]> {
  const checks: Check[] = [];
  for (const use of usesOf(config)) {
    if (use.options.every((option) => option === "training.planInstanceType")) continue;
    const { InstanceTypeOfferings = [] } = await client.send(
      new DescribeInstanceTypeOfferingsCommand({
        LocationType: "availability-zone",
        Filters: [{ Name: "instance-type", Values: [use.type] }],
      }),
    );
    checks.push(offeringCheck(use, InstanceTypeOfferings.map(({ Location }) => Location!).sort(), zonesOf(config)));
  }
  return checks;
}

/** @param wanted - the zones of the deployment, if it names any */
function offeringCheck({ type, options, isInFirstZone }: Use, zones: string[], wanted: string[] | undefined): Check {
  const name = `zones of ${type}`;
  const found = zones.join(", ");
  if (zones.length === 0)
    return fail(
      name,
      "none in this region",
      `Deploy to a region that has the type, or name another in ${options.map((option) => `\`${option}\``).join(", ")}.`,
    );
  if (!wanted)
    return warn(name, found, `The stack takes two of the region's zones: name ${zones[0]} first in \`zones\`.`);
  if (isInFirstZone && !zones.includes(wanted[0]!))
    return fail(name, `${found}, not ${wanted[0]}`, `Put one of ${found} first in zones or subnets.`);
  if (wanted.some((zone) => zones.includes(zone))) return ok(name, found);
  const otherwise = `${found}, not ${wanted.join(", ")}`;
  const remedy = `Name one of ${found} in zones or subnets.`;
  // SageMaker starts instances where the job's subnets are; that it has a type where EC2 has it is no more than likely.
  return options.includes("fleets")
    ? fail(name, otherwise, remedy)
    : warn(name, otherwise, `${remedy} Without, infer falls to the fleets' arrays.`);
}

/** What ingest's compute environments name, whatever the configuration says. */
export async function ingestTypeCheck(client: EC2Client = new EC2Client({})): Promise<Check[]> {
  const { InstanceTypeOfferings = [] } = await client.send(
    new DescribeInstanceTypeOfferingsCommand({
      LocationType: "region",
      Filters: [{ Name: "instance-type", Values: [...CPU_INSTANCE_TYPES] }],
    }),
  );
  const offered = new Set<string>(InstanceTypeOfferings.map(({ InstanceType }) => InstanceType!));
  const missing = CPU_INSTANCE_TYPES.filter((type) => !offered.has(type));
  return [
    missing.length === 0
      ? ok("ingest's instance types", CPU_INSTANCE_TYPES.join(", "))
      : warn(
          "ingest's instance types",
          `the region has no ${missing.join(", ")}`,
          "Batch may refuse compute environments that name them: deploy to a region that has all four.",
        ),
  ];
}

/** Our table was transcribed by hand: EC2 itself is the authority on which types exist, and on vCPUs, GPUs and EFA. */
export async function instanceTypeChecks(config: Deployment, client: EC2Client = new EC2Client({})): Promise<Check[]> {
  const uses = usesOf(config);
  const { InstanceTypes = [] } = await client.send(
    // A filter: in the list of InstanceTypes one that the region has not would be an error, and hide the others.
    new DescribeInstanceTypesCommand({ Filters: [{ Name: "instance-type", Values: uses.map(({ type }) => type) }] }),
  );
  return uses.map(({ type, options }) => {
    const described = InstanceTypes.find(({ InstanceType }) => InstanceType === type);
    return described
      ? layoutCheck(type, described)
      : fail(
          `EC2's description of ${type}`,
          "none: the region has no such type",
          `Deploy to a region that has it, or name another in ${options.map((option) => `\`${option}\``).join(", ")}.`,
        );
  });
}

function layoutCheck(type: GpuInstanceTypeName, described: InstanceTypeInfo): Check {
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
    ? fail(name, differs.join("; "), "Report it: launch templates and jobs are made for another layout.")
    : ok(name, `${ours.vcpus} vCPUs, ${gpus} GPUs, ${efa} EFA interfaces`);
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
  const { trainingPlanArn: arn, planInstanceType } = config.training;
  if (!arn) return [];
  const name = "training plan";
  const plan = await client.send(new DescribeTrainingPlanCommand({ TrainingPlanName: arn.split("/").at(-1)! }));
  const reserved = plan.ReservedCapacitySummaries ?? [];
  const types = [...new Set(reserved.map(({ InstanceType }) => InstanceType))];
  const zones = [...new Set(reserved.flatMap(({ AvailabilityZone }) => AvailabilityZone ?? []))];
  const said = [
    `${plan.Status}, ${plan.AvailableInstanceCount ?? 0} of ${plan.TotalInstanceCount ?? 0} ${types.join(", ")} free`,
    zones.length > 0 ? ` in ${zones.join(", ")}` : "",
    plan.EndTime ? `, until ${plan.EndTime.toISOString()}` : "",
  ].join("");
  if (types.some((type) => type !== `ml.${planInstanceType}`))
    return [
      fail(
        name,
        said,
        `Correct \`training.planInstanceType\`: it is of ${types.join(", ")}, not of ml.${planInstanceType}.`,
      ),
    ];
  if (plan.Status !== "Active") return [warn(name, said, "Trainings go to the next rung until the plan is active.")];
  const wanted = zonesOf(config);
  return [
    zones.every((zone) => wanted?.includes(zone))
      ? ok(name, said)
      : warn(name, said, `Its instances need a subnet in their zone: name ${zones.join(", ")} in zones or subnets.`),
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
