// What neither CDK nor cfn-lint sees of a fleet, against a table transcribed from AWS's pages, not from our own.
import { readFileSync } from "node:fs";
import { App, Stack } from "aws-cdk-lib";
import { Match, Template } from "aws-cdk-lib/assertions";
import { beforeAll, describe, expect, it } from "vitest";
import { Fleet } from "../../lib/cloud/fleet.ts";
import { GPU_INSTANCE_TYPES } from "../../lib/cloud/instance-types.ts";
import { Network } from "../../lib/cloud/network.ts";
import { Storage } from "../../lib/cloud/storage.ts";

/**
 * Network cards: EC2 User Guide, "Maximize network bandwidth on instances with multiple network cards" (and "EFA:
 * supported instance types"). Device indexes: AWS's own Batch launch templates for p4d and p5. As of November 2026.
 */
const PUBLISHED = [
  { type: "p4d.24xlarge", cards: 4, deviceIndexes: [0, 1, 2, 3] },
  { type: "p4de.24xlarge", cards: 4, deviceIndexes: [0, 1, 2, 3] },
  { type: "p5.4xlarge", cards: 1, deviceIndexes: [0] },
  { type: "p5.48xlarge", cards: 32, deviceIndexes: Array(32).fill(0) },
  { type: "p5e.48xlarge", cards: 32, deviceIndexes: Array(32).fill(0) },
  { type: "p5en.48xlarge", cards: 16, deviceIndexes: Array(16).fill(0) },
  { type: "p6-b200.48xlarge", cards: 8, deviceIndexes: Array(8).fill(0) },
  { type: "g6e.4xlarge", cards: 0, deviceIndexes: [] },
  { type: "g5.4xlarge", cards: 0, deviceIndexes: [] },
];

function aStack(): { stack: Stack; network: Network } {
  const { context } = JSON.parse(readFileSync(new URL("../../cdk.json", import.meta.url), "utf8"));
  const stack = new Stack(new App({ context }), "Fleets");
  const { buckets } = new Storage(stack, "Storage");
  return { stack, network: new Network(stack, "Network", { buckets }) };
}

let template: Template;
const idOf = (type: string) => `Of${type.replaceAll(/[^a-z0-9]/g, "")}`;

/** The one resource of a kind whose logical id begins so. */
function only(kind: string, prefix: string) {
  const found = Object.entries(template.findResources(kind)).filter(([id]) => id.startsWith(prefix));
  expect(found, `${kind} ${prefix}`).toHaveLength(1);
  return found[0]![1].Properties;
}

beforeAll(() => {
  const { stack, network } = aStack();
  for (const { type } of PUBLISHED) {
    const gpu = GPU_INSTANCE_TYPES[type]!;
    new Fleet(stack, idOf(type), { network, instanceTypes: [type], maxVcpus: 2 * gpu.vcpus, gpu });
  }
  new Fleet(stack, "OfCpus", { network, instanceTypes: ["m6id.large"], maxVcpus: 8, spot: true });
  template = Template.fromStack(stack);
}, 60_000);

describe.each(PUBLISHED)("a fleet of $type", ({ type, cards, deviceIndexes }) => {
  const launchTemplate = () => only("AWS::EC2::LaunchTemplate", idOf(type)).LaunchTemplateData;
  const computeResources = () => only("AWS::Batch::ComputeEnvironment", idOf(type)).ComputeResources;

  it("has one EFA interface a network card, each with the jobs' group", () => {
    const interfaces = (launchTemplate().NetworkInterfaces ?? []) as Record<string, unknown>[];
    expect(interfaces).toHaveLength(cards);
    expect(interfaces.map(({ NetworkCardIndex }) => NetworkCardIndex)).toEqual([...Array(cards).keys()]);
    expect(interfaces.map(({ DeviceIndex }) => DeviceIndex)).toEqual(deviceIndexes);
    for (const each of interfaces) {
      expect(each.InterfaceType).toBe("efa");
      expect(each.Groups).toEqual(computeResources().SecurityGroupIds);
      expect(each).not.toHaveProperty("AssociatePublicIpAddress");
    }
    expect(launchTemplate()).not.toHaveProperty("SecurityGroupIds");
  });

  it("is in one subnet and one cluster placement group when it has EFA, and in all subnets otherwise", () => {
    const { Subnets, PlacementGroup } = computeResources();
    expect(Subnets).toHaveLength(cards > 0 ? 1 : 2);
    if (cards === 0) return expect(PlacementGroup).toBeUndefined();
    expect(only("AWS::EC2::PlacementGroup", idOf(type))).toMatchObject({ Strategy: "cluster" });
    return expect(JSON.stringify(PlacementGroup)).toContain(idOf(type));
  });

  it("runs the AL2023 NVIDIA image, on demand, of that type alone, and scales to zero", () => {
    expect(computeResources()).toMatchObject({
      Ec2Configuration: [{ ImageType: "ECS_AL2023_NVIDIA" }],
      InstanceTypes: [type],
      Type: "EC2",
      MinvCpus: 0,
    });
  });

  it("follows the launch template's latest version, which CDK leaves at the first", () => {
    const { LaunchTemplate } = computeResources();
    expect(LaunchTemplate.Version).toEqual({
      "Fn::GetAtt": [LaunchTemplate.LaunchTemplateId.Ref, "LatestVersionNumber"],
    });
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

  it("mounts /scratch from MIME multipart user data, to which Batch can add its own part", () => {
    for (const { Properties } of Object.values(template.findResources("AWS::EC2::LaunchTemplate"))) {
      const userData = JSON.stringify(Properties.LaunchTemplateData.UserData);
      expect(userData).toContain("Content-Type: multipart/mixed");
      expect(userData).toContain("--level=0");
      expect(userData).toContain("/scratch");
    }
  });

  it("turns a job that cannot start into a failure, for each of the three reasons", () => {
    const queues = Object.values(template.findResources("AWS::Batch::JobQueue"));
    expect(queues).toHaveLength(PUBLISHED.length + 1);
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

  it("of CPUs is on Spot with the plain AL2023 image and no interfaces of its own", () => {
    expect(only("AWS::Batch::ComputeEnvironment", "OfCpus").ComputeResources).toMatchObject({
      Type: "SPOT",
      AllocationStrategy: "SPOT_PRICE_CAPACITY_OPTIMIZED",
      Ec2Configuration: [{ ImageType: "ECS_AL2023" }],
    });
    expect(only("AWS::EC2::LaunchTemplate", "OfCpus").LaunchTemplateData).not.toHaveProperty("NetworkInterfaces");
  });
});

describe("a fleet that is too large", () => {
  it("is refused when its subnet has too few addresses, naming what to lower and to what", () => {
    // GIVEN 125 instances with 32 cards, each of which takes 33 addresses
    const { stack, network } = aStack();
    const gpu = GPU_INSTANCE_TYPES["p5.48xlarge"]!;
    // THEN
    expect(
      () => new Fleet(stack, "Large", { network, instanceTypes: ["p5.48xlarge"], maxVcpus: 125 * gpu.vcpus, gpu }),
    ).toThrow("need 4125 addresses, the subnet has 4091: lower voxelburst.maxGpuInstances to 123 or less");
  });
});
