// What neither CDK nor cfn-lint sees of a fleet, against a table transcribed from AWS's pages, not from our own.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { App, Stack } from "aws-cdk-lib";
import { Match, Template } from "aws-cdk-lib/assertions";
import { beforeAll, describe, expect, it } from "vitest";
import { Fleet } from "../../lib/cloud/fleet.ts";
import { checkAddresses, fleetId, GpuFleet } from "../../lib/cloud/gpu-fleet.ts";
import { Network } from "../../lib/cloud/network.ts";
import { Storage } from "../../lib/cloud/storage.ts";
import { type DeploymentInput, deployment } from "../../lib/contracts/deployment.ts";
import { GPU_INSTANCE_TYPES, type GpuInstanceTypeName } from "../../lib/contracts/instance-types.ts";
import { voxelburstApp } from "../../lib/stacks/voxelburst-app.ts";

interface PublishedType {
  vcpus: number;
  memoryGiB: number;
  gpus: number;
  gpu: string;
  gpuMemoryGiB: number | null;
  localDrives: number;
  localDriveGB: number;
  networkCards: number;
  deviceIndexes: number[];
}
const published = JSON.parse(readFileSync(new URL("published/instance-types.json", import.meta.url), "utf8")).types;
const PUBLISHED = Object.entries<PublishedType>(published).map(([type, facts]) => ({
  ...facts,
  type: type as GpuInstanceTypeName,
}));
const usdPerHour = 50; // so that types without a price in our table are accepted
const RESERVATION = "cr-0a1b2c3d4e5f60718";

type FleetInput = NonNullable<DeploymentInput["fleets"]>[number];
const fleets: FleetInput[] = [
  ...PUBLISHED.flatMap(({ type: instanceType }): FleetInput[] => [
    { rung: "on-demand", instanceType, usdPerHour },
    { rung: "reservation", instanceType, usdPerHour, reservationId: RESERVATION, capacityBlock: true },
    { rung: "spot", instanceType, usdPerHour },
  ]),
  { rung: "on-demand", instanceType: "g6e.4xlarge", waitSeconds: 1_800 },
  { rung: "reservation", instanceType: "g6e.4xlarge", reservationId: RESERVATION },
];

let template: Template;
// biome-ignore lint/suspicious/noExplicitAny: properties of any kind of resource
let resources: [string, { Type: string; Properties: any }][];
const ofKind = (kind: string) => resources.filter(([, { Type }]) => Type === kind);

/** The one resource of a kind that belongs to a fleet. */
function only(kind: string, fleet: string) {
  const found = ofKind(kind).filter(([id]) => id.startsWith(fleet));
  expect(found, `${kind} of ${fleet}`).toHaveLength(1);
  return found[0]![1].Properties;
}
const launchTemplate = (fleet: string) => only("AWS::EC2::LaunchTemplate", fleet).LaunchTemplateData;
const computeResources = (fleet: string) => only("AWS::Batch::ComputeEnvironment", fleet).ComputeResources;

/** MIME multipart: our script is the one part with a head. */
function userDataOf(properties: { LaunchTemplateData: { UserData: { "Fn::Base64": string } } }) {
  const userData = properties.LaunchTemplateData.UserData["Fn::Base64"];
  const boundary = /^Content-Type: multipart\/mixed; boundary="([^"]+)"/.exec(userData)?.[1];
  const parts = userData.split(`--${boundary}`);
  const [head, script] = parts[1]!.split(/\n\n(.*)/s) as [string, string];
  return { parts, head, script };
}

const { context } = JSON.parse(readFileSync(new URL("../../cdk.json", import.meta.url), "utf8"));
// test/synth has CDK validate whole apps; of this one it would take most of the time.
context["@aws-cdk/core:validateAgainstDefaultRules"] = false;

beforeAll(() => {
  const stack = new Stack(new App({ context }), "Fleets");
  const config = deployment.parse({ fleets, region: "us-east-1", zones: ["us-east-1a", "us-east-1b"] });
  const { buckets, accessLogs } = new Storage(stack, "Storage", { deployment: config });
  const network = new Network(stack, "Network", { buckets, accessLogs, deployment: config });
  for (const each of config.fleets) new GpuFleet(stack, fleetId(each), { network, config: each });
  new Fleet(stack, "OfCpus", {
    network,
    instanceTypes: ["m6id.large"],
    maxVcpus: 8,
    purchase: { kind: "spot" },
    waitSeconds: 3_600,
  });
  template = Template.fromStack(stack);
  resources = Object.entries(template.toJSON().Resources);
}, 60_000);

describe.each(PUBLISHED)("a fleet of $type", ({ type, networkCards, deviceIndexes, ...size }) => {
  const onDemand = fleetId({ rung: "on-demand", instanceType: type });
  const capacityBlock = fleetId({ rung: "reservation", instanceType: type });
  const spot = fleetId({ rung: "spot", instanceType: type });

  it("has the size that AWS publishes", () => {
    const ours = GPU_INSTANCE_TYPES[type];
    expect(ours).toMatchObject({ vcpus: size.vcpus, memoryGiB: size.memoryGiB, gpus: size.gpus });
    expect(ours.gpuName).toContain(size.gpu);
    if (size.gpuMemoryGiB !== null) expect(ours.gpuMemoryGiB).toBe(size.gpuMemoryGiB);
    expect(ours.localStorageGb).toBe(size.localDrives * size.localDriveGB);
    expect(computeResources(onDemand).MaxvCpus).toBe(2 * size.vcpus);
  });

  it.each([onDemand, capacityBlock, spot])(
    "has one EFA interface a network card, each with the jobs' group: %s",
    (id) => {
      const interfaces = launchTemplate(id).NetworkInterfaces as Record<string, unknown>[];
      expect(interfaces.map(({ NetworkCardIndex }) => NetworkCardIndex)).toEqual([...Array(networkCards).keys()]);
      expect(interfaces.map(({ DeviceIndex }) => DeviceIndex)).toEqual(deviceIndexes);
      for (const each of interfaces) {
        // Neither CDK nor cfn-lint refuses another word here.
        expect(each.InterfaceType).toBe("efa");
        expect(each.Groups).toEqual(computeResources(id).SecurityGroupIds);
        expect(each.Groups).toHaveLength(1);
        expect(each).not.toHaveProperty("AssociatePublicIpAddress");
      }
      expect(launchTemplate(id)).not.toHaveProperty("SecurityGroupIds");
    },
  );

  it("On-Demand is in one subnet and one cluster placement group", () => {
    const { Subnets, PlacementGroup, Type } = computeResources(onDemand);
    expect(Type).toBe("EC2");
    expect(Subnets).toHaveLength(1);
    const { Strategy } = only("AWS::EC2::PlacementGroup", onDemand);
    expect(Strategy).toBe("cluster");
    expect(JSON.stringify(PlacementGroup)).toContain(onDemand);
    expect(launchTemplate(onDemand)).not.toHaveProperty("InstanceMarketOptions");
    expect(launchTemplate(onDemand)).not.toHaveProperty("CapacityReservationSpecification");
  });

  it("in a Capacity Block names it and its market, and no placement group", () => {
    expect(launchTemplate(capacityBlock)).toMatchObject({
      InstanceMarketOptions: { MarketType: "capacity-block" },
      CapacityReservationSpecification: { CapacityReservationTarget: { CapacityReservationId: RESERVATION } },
    });
    const { Subnets, PlacementGroup, Type } = computeResources(capacityBlock);
    expect(Type).toBe("EC2");
    expect(Subnets).toHaveLength(1);
    expect(PlacementGroup).toBeUndefined();
    const groups = ofKind("AWS::EC2::PlacementGroup");
    expect(groups.filter(([id]) => id.startsWith(capacityBlock))).toEqual([]);
  });

  it("on Spot, which runs single nodes, takes what any zone has", () => {
    const { Subnets, PlacementGroup, Type, AllocationStrategy } = computeResources(spot);
    expect(Type).toBe("SPOT");
    expect(AllocationStrategy).toBe("SPOT_PRICE_CAPACITY_OPTIMIZED");
    expect(Subnets).toHaveLength(2);
    expect(PlacementGroup).toBeUndefined();
  });

  it.each([onDemand, capacityBlock, spot])(
    "runs the AL2023 NVIDIA image on that type alone and scales to zero: %s",
    (id) => {
      expect(computeResources(id)).toMatchObject({
        Ec2Configuration: [{ ImageType: "ECS_AL2023_NVIDIA" }],
        InstanceTypes: [type],
        MinvCpus: 0,
      });
    },
  );

  it.each([onDemand, capacityBlock, spot])("follows the launch template's latest version: %s", (id) => {
    const { LaunchTemplate } = computeResources(id);
    expect(LaunchTemplate.Version).toEqual({
      "Fn::GetAtt": [LaunchTemplate.LaunchTemplateId.Ref, "LatestVersionNumber"],
    });
  });
});

describe("a fleet without EFA", () => {
  const id = fleetId({ rung: "on-demand", instanceType: "g6e.4xlarge" });

  it("names no interfaces, and is in all subnets and no placement group", () => {
    expect(launchTemplate(id)).not.toHaveProperty("NetworkInterfaces");
    expect(computeResources(id).Subnets).toHaveLength(2);
    expect(computeResources(id).PlacementGroup).toBeUndefined();
  });

  it("is in the first subnet alone when it is reserved, since capacity is reserved in one zone", () => {
    const reserved = fleetId({ rung: "reservation", instanceType: "g6e.4xlarge" });
    expect(computeResources(reserved).Subnets).toEqual([computeResources(id).Subnets[0]]);
  });

  it("waits for an instance as long as the configuration says", () => {
    const { JobStateTimeLimitActions } = only("AWS::Batch::JobQueue", id);
    expect(JobStateTimeLimitActions.map(({ MaxTimeSeconds }: { MaxTimeSeconds: number }) => MaxTimeSeconds)).toEqual([
      1_800, 1_800, 1_800,
    ]);
  });
});

describe("every compute environment", () => {
  it("has a strategy under which Batch can update its image and launch template, which BEST_FIT is not", () => {
    const environments = ofKind("AWS::Batch::ComputeEnvironment").map(([, { Properties }]) => Properties);
    expect(environments.length).toBeGreaterThan(10);
    for (const { ComputeResources, ReplaceComputeEnvironment } of environments) {
      expect(ComputeResources.AllocationStrategy).toMatch(/^(BEST_FIT_PROGRESSIVE|SPOT_PRICE_CAPACITY_OPTIMIZED)$/);
      expect(ComputeResources.UpdateToLatestImageVersion).toBe(true);
      expect(ReplaceComputeEnvironment).toBe(false);
    }
  });
});

describe("a reservation that is no Capacity Block", () => {
  it("names its id alone, and the placement group that it was made in", () => {
    const stack = new Stack(new App({ context }), "Reserved");
    const config = deployment.parse({
      region: "us-east-1",
      zones: ["us-east-1a"],
      fleets: [
        { rung: "reservation", instanceType: "p4d.24xlarge", reservationId: RESERVATION, placementGroup: "trainings" },
      ],
    });
    const { buckets, accessLogs } = new Storage(stack, "Storage", { deployment: config });
    const network = new Network(stack, "Network", { buckets, accessLogs, deployment: config });
    new GpuFleet(stack, "Reserved", { network, config: config.fleets[0]! });
    const reserved = Template.fromStack(stack);
    reserved.hasResourceProperties("AWS::EC2::LaunchTemplate", {
      LaunchTemplateData: {
        CapacityReservationSpecification: { CapacityReservationTarget: { CapacityReservationId: RESERVATION } },
        InstanceMarketOptions: Match.absent(),
      },
    });
    reserved.hasResourceProperties("AWS::Batch::ComputeEnvironment", {
      ComputeResources: { PlacementGroup: "trainings" },
    });
    reserved.resourceCountIs("AWS::EC2::PlacementGroup", 0);
  });
});

describe("every fleet", () => {
  it("takes IMDSv2 alone, with the hop that a container needs, and has a root volume that holds the image", () => {
    template.allResourcesProperties("AWS::EC2::LaunchTemplate", {
      LaunchTemplateData: Match.objectLike({
        MetadataOptions: { HttpTokens: "required", HttpPutResponseHopLimit: 2 },
        BlockDeviceMappings: [
          { DeviceName: "/dev/xvda", Ebs: Match.objectLike({ VolumeSize: 200, VolumeType: "gp3", Encrypted: true }) },
        ],
      }),
    });
  });

  it("starts with mount-scratch.sh, in MIME multipart user data to which Batch can add its own part", () => {
    const script = readFileSync(path.resolve(import.meta.dirname, "../../lib/cloud/mount-scratch.sh"), "utf8");
    for (const [id, { Properties }] of ofKind("AWS::EC2::LaunchTemplate")) {
      const { parts, head, script: body } = userDataOf(Properties);
      expect(parts, id).toHaveLength(3);
      expect(head).toContain('Content-Type: text/x-shellscript; charset="us-ascii"');
      expect(body.trim()).toBe(script.trim());
      expect(parts[2]!.trim()).toBe("--");
    }
  });

  it("turns a job that cannot start into a failure, for each of the three reasons", () => {
    const queues = ofKind("AWS::Batch::JobQueue").map(([, queue]) => queue);
    expect(queues).toHaveLength(fleets.length + 1);
    for (const { Properties } of queues)
      expect(Properties.JobStateTimeLimitActions.map(({ Reason }: { Reason: string }) => Reason)).toEqual([
        "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
        "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
        "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
      ]);
    for (const { Action, State, MaxTimeSeconds } of queues.flatMap(
      ({ Properties }) => Properties.JobStateTimeLimitActions,
    )) {
      expect({ Action, State }).toEqual({ Action: "CANCEL", State: "RUNNABLE" });
      expect(MaxTimeSeconds).toBeGreaterThanOrEqual(600);
      expect(MaxTimeSeconds).toBeLessThanOrEqual(86_400);
    }
  });

  it("has a compute environment, a launch template and a queue of its own", () => {
    for (const kind of ["AWS::Batch::ComputeEnvironment", "AWS::EC2::LaunchTemplate", "AWS::Batch::JobQueue"])
      expect(ofKind(kind), kind).toHaveLength(fleets.length + 1);
    for (const [, { Properties }] of ofKind("AWS::Batch::JobQueue"))
      expect(Properties.ComputeEnvironmentOrder).toHaveLength(1);
  });

  it("of CPUs is on Spot with the plain AL2023 image and no interfaces of its own", () => {
    expect(computeResources("OfCpus")).toMatchObject({
      Type: "SPOT",
      AllocationStrategy: "SPOT_PRICE_CAPACITY_OPTIMIZED",
      Ec2Configuration: [{ ImageType: "ECS_AL2023" }],
      // And not "optimal", which CDK would add.
      InstanceTypes: ["m6id.large"],
    });
    expect(launchTemplate("OfCpus")).not.toHaveProperty("NetworkInterfaces");
  });
});

describe("the jobs' security group", () => {
  it("lets all traffic in from itself and out to itself, as EFA needs, and only HTTPS out otherwise", () => {
    const groups = ofKind("AWS::EC2::SecurityGroup");
    const [id, jobs] = groups.find(([name]) => name.startsWith("NetworkJobs"))!;
    const self = { "Fn::GetAtt": [id, "GroupId"] };
    template.hasResourceProperties("AWS::EC2::SecurityGroupIngress", {
      GroupId: self,
      SourceSecurityGroupId: self,
      IpProtocol: "-1",
    });
    template.hasResourceProperties("AWS::EC2::SecurityGroupEgress", {
      GroupId: self,
      DestinationSecurityGroupId: self,
      IpProtocol: "-1",
    });
    expect(jobs.Properties.SecurityGroupEgress).toEqual([
      expect.objectContaining({ CidrIp: "0.0.0.0/0", IpProtocol: "tcp", FromPort: 443, ToPort: 443 }),
    ]);
  });
});

describe("fleets that are too large", () => {
  const addressesOf = (fleets: DeploymentInput["fleets"], subnets: number[]) =>
    checkAddresses(deployment.parse({ fleets }), subnets);

  it("are refused when their subnet has too few addresses, naming how many are needed and what to lower", () => {
    // GIVEN 125 nodes with 32 cards, each of which takes 33 addresses
    const fleets = [{ rung: "on-demand", instanceType: "p5.48xlarge", maxNodes: 125 }] as const;
    // THEN
    expect(() => addressesOf([...fleets], [4_084, 4_084])).toThrow("fleets need 4125 addresses in the first subnet");
    expect(() => addressesOf([...fleets], [4_125])).not.toThrow();
  });

  it("are counted together, Spot's with the addresses of all subnets, each with the name of the fleet that is too much", () => {
    const of = (rung: "on-demand" | "smaller-gpu" | "spot") =>
      ({ rung, instanceType: "p4d.24xlarge", maxNodes: 10 }) as const;
    // 4 cards: 50 addresses each in the first subnet, and 40 on Spot.
    const fleets = [of("on-demand"), of("smaller-gpu"), of("spot")];
    expect(() => addressesOf(fleets, [99, 99])).toThrow(
      expect.objectContaining({
        details: { field: "fleets[1].maxNodes", got: "100 addresses", allowed: "at most 99" },
      }),
    );
    expect(() => addressesOf(fleets, [100, 39])).toThrow("fleets[2] (spot, p4d.24xlarge, maxNodes 10) does not fit");
    expect(() => addressesOf(fleets, [100, 40])).not.toThrow();
  });

  it("count an address a node where there is no EFA, and reservations to the first subnet in any case", () => {
    const common = { instanceType: "g6e.xlarge", maxNodes: 10 } as const;
    const reserved = { rung: "reservation", reservationId: RESERVATION, ...common } as const;
    const checked = (fleet: FleetInput) => () =>
      checkAddresses(deployment.parse({ region: "us-east-1", zones: ["us-east-1a"], fleets: [fleet] }), [5, 5]);
    expect(checked({ rung: "on-demand", ...common })).not.toThrow();
    expect(checked(reserved)).toThrow("10 addresses in the first subnet");
  });

  it("do not synthesise in an existing VPC without room for them and for the endpoints in each subnet", () => {
    const subnet = { subnetId: "subnet-0a1b2c3d", zone: "us-east-1a", routeTableId: "rtb-0a1b2c3d" };
    const synthesised = (maxNodes: number, addresses: number, createEndpoints: boolean) => () =>
      voxelburstApp({
        context: {
          "aws:cdk:bundling-stacks": [],
          voxelburst: {
            vpc: { use: "existing", vpcId: "vpc-0a1b2c3d", subnets: [{ ...subnet, addresses }], createEndpoints },
            fleets: [{ rung: "spot", instanceType: "p5.48xlarge", maxNodes }],
          },
        },
      });
    expect(synthesised(4, 20, true)).toThrow("fleets[0] (spot, p5.48xlarge, maxNodes 4) does not fit");
    expect(synthesised(1, 38, true)).toThrow("31 are free");
    expect(synthesised(1, 39, true)).not.toThrow();
    expect(synthesised(1, 32, false)).not.toThrow();
  });
});

// A Debian package, and no dependency of ours: where it is not installed, the test is skipped by this name.
const hasShellcheck = spawnSync("shellcheck", ["--version"]).status === 0;
describe.skipIf(!hasShellcheck)("shellcheck", () => {
  it("has no finding in the user data of any instance type", () => {
    const scripts = ofKind("AWS::EC2::LaunchTemplate").map(([, { Properties }]) => userDataOf(Properties).script);
    expect(scripts.length).toBeGreaterThan(PUBLISHED.length);
    for (const script of new Set(scripts)) {
      const { status, stdout } = spawnSync("shellcheck", ["--severity=style", "-"], {
        encoding: "utf8",
        input: script,
      });
      expect(stdout).toBe("");
      expect(status).toBe(0);
    }
  });
});
