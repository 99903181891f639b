// The network without a way out: what is reached from it, and by whom.
import { readFileSync } from "node:fs";
import { App, Stack } from "aws-cdk-lib";
import { Match, Template } from "aws-cdk-lib/assertions";
import { describe, expect, it } from "vitest";
import { Network } from "../../lib/cloud/network.ts";
import { Storage } from "../../lib/cloud/storage.ts";
import { type DeploymentInput, deployment } from "../../lib/contracts/deployment.ts";

const { context } = JSON.parse(readFileSync(new URL("../../cdk.json", import.meta.url), "utf8"));
// test/synth has CDK validate whole apps.
context["@aws-cdk/core:validateAgainstDefaultRules"] = false;

function networkOf(input: DeploymentInput): Template {
  const config = deployment.parse(input);
  const stack = new Stack(new App({ context }), "Network");
  const { buckets, accessLogs } = new Storage(stack, "Storage", { deployment: config });
  new Network(stack, "Network", { buckets, accessLogs, deployment: config });
  return Template.fromStack(stack);
}

const endpointsOf = (template: Template) =>
  Object.values(template.findResources("AWS::EC2::VPCEndpoint")).map(({ Properties }) => ({
    ...Properties,
    // {"Fn::Join": ["", ["com.amazonaws.", region, ".ecs"]]}
    service: (Properties.ServiceName["Fn::Join"][1] as string[]).at(-1)!,
  }));

const SUBNET = { subnetId: "subnet-0a1b2c3d", zone: "us-east-1a", routeTableId: "rtb-0a1b2c3d", addresses: 251 };
const EXISTING = { use: "existing" as const, vpcId: "vpc-0a1b2c3d", subnets: [SUBNET] };

describe("a new network", () => {
  const template = networkOf({ region: "us-east-1", zones: ["us-east-1c", "us-east-1a"] });

  it("has a private subnet a zone, the first zone first, and no way out", () => {
    const zones = Object.values(template.findResources("AWS::EC2::Subnet")).map(
      ({ Properties }) => Properties.AvailabilityZone,
    );
    expect(zones).toEqual(["us-east-1c", "us-east-1a"]);
    template.allResourcesProperties("AWS::EC2::Subnet", { MapPublicIpOnLaunch: false });
    for (const type of ["AWS::EC2::InternetGateway", "AWS::EC2::NatGateway", "AWS::EC2::EIP", "AWS::EC2::Route"])
      template.resourceCountIs(type, 0);
  });

  it("logs all flows to the bucket for access logs", () => {
    template.hasResourceProperties("AWS::EC2::FlowLog", {
      TrafficType: "ALL",
      LogDestinationType: "s3",
      LogDestination: Match.objectLike({ "Fn::Join": Match.anyValue() }),
    });
  });

  it("closes the default security group", () => {
    template.resourceCountIs("Custom::VpcRestrictDefaultSG", 1);
  });

  it("has the function that does so write to one log group of ours, and to no other", () => {
    const [logGroup, ...others] = Object.keys(template.findResources("AWS::Logs::LogGroup"));
    expect(others).toEqual([]);
    template.allResourcesProperties("AWS::Lambda::Function", { LoggingConfig: { LogGroup: { Ref: logGroup } } });
    const roles = Object.values(template.findResources("AWS::IAM::Role"));
    expect(roles).toHaveLength(1);
    expect(roles[0]!.Properties.ManagedPolicyArns).toBeUndefined();
    expect(roles[0]!.Properties.Policies[0].PolicyDocument.Statement).toEqual([
      {
        Effect: "Allow",
        Action: expect.arrayContaining(["ec2:RevokeSecurityGroupIngress", "ec2:RevokeSecurityGroupEgress"]),
        Resource: [expect.objectContaining({ "Fn::Join": expect.anything() })],
      },
      {
        Effect: "Allow",
        Action: ["logs:CreateLogStream", "logs:PutLogEvents"],
        Resource: { "Fn::GetAtt": [logGroup, "Arn"] },
      },
    ]);
  });

  it("has gateway and interface endpoints for what instances, agents and containers call", () => {
    expect(
      endpointsOf(template)
        .map(({ service }) => service)
        .sort(),
    ).toEqual([".ecr.api", ".ecr.dkr", ".ecs", ".ecs-agent", ".ecs-telemetry", ".logs", ".s3", ".secretsmanager"]);
    for (const { VpcEndpointType, PrivateDnsEnabled, service } of endpointsOf(template))
      if (VpcEndpointType === "Interface") expect(PrivateDnsEnabled, service).toBe(true);
  });

  it("admits to S3 our buckets, Amazon Linux's packages and ECR's layers alone", () => {
    const gateway = endpointsOf(template).find(({ service }) => service === ".s3")!;
    const statements = gateway.PolicyDocument.Statement as { Action: string | string[]; Resource: unknown }[];
    expect(statements).toHaveLength(2);
    expect(statements[1]!.Action).toBe("s3:GetObject");
    const resources = JSON.stringify(statements.map(({ Resource }) => Resource));
    for (const bucket of ["StorageData", "StorageArtefacts", "StorageQuarantine"]) expect(resources).toContain(bucket);
    const arn = (bucket: string, rest: string) => ({
      "Fn::Join": ["", ["arn:", { Ref: "AWS::Partition" }, `:s3:::${bucket}`, { Ref: "AWS::Region" }, rest]],
    });
    expect(statements[1]!.Resource).toEqual([arn("al2023-repos-", "-*/*"), arn("prod-", "-starport-layer-bucket/*")]);
    expect(resources).not.toContain('"*"');
    expect(JSON.stringify(statements.map(({ Action }) => Action))).not.toContain("*");
  });

  it("lets nobody of another account write logs or secrets or pull images through it", () => {
    for (const service of [".logs", ".ecr.api", ".ecr.dkr", ".ecs", ".secretsmanager"])
      expect(endpointsOf(template).find((each) => each.service === service)!.PolicyDocument.Statement).toEqual([
        expect.objectContaining({
          Condition: { StringEquals: { "aws:PrincipalAccount": { Ref: "AWS::AccountId" } } },
        }),
      ]);
  });

  it("has an address block of one's own when asked", () => {
    networkOf({ vpc: { use: "new", cidr: "172.20.0.0/18" } }).hasResourceProperties("AWS::EC2::VPC", {
      CidrBlock: "172.20.0.0/18",
    });
  });
});

describe("a network in one zone", () => {
  it("has each interface endpoint once, which halves what bills when idle", () => {
    const template = networkOf({ region: "us-east-1", zones: ["us-east-1a"] });
    for (const { VpcEndpointType, SubnetIds } of endpointsOf(template))
      if (VpcEndpointType === "Interface") expect(SubnetIds).toHaveLength(1);
  });
});

describe("an existing VPC", () => {
  it("is used by attributes: no network is created, and nothing is looked up", () => {
    const template = networkOf({ vpc: EXISTING });
    for (const type of ["AWS::EC2::VPC", "AWS::EC2::Subnet", "AWS::EC2::RouteTable", "AWS::EC2::FlowLog"])
      template.resourceCountIs(type, 0);
    template.allResourcesProperties("AWS::EC2::SecurityGroup", { VpcId: EXISTING.vpcId });
  });

  it("gets its endpoints in the subnets that are named, and S3 in their route tables", () => {
    for (const { VpcEndpointType, SubnetIds, RouteTableIds, VpcId } of endpointsOf(networkOf({ vpc: EXISTING }))) {
      expect(VpcId).toBe(EXISTING.vpcId);
      if (VpcEndpointType === "Interface") expect(SubnetIds).toEqual([SUBNET.subnetId]);
      else expect(RouteTableIds).toEqual([SUBNET.routeTableId]);
    }
  });

  it("gets those endpoints alone that it says it lacks, with their policies", () => {
    const template = networkOf({ vpc: { ...EXISTING, createEndpoints: ["ecr.dkr", "logs"] } });
    const endpoints = endpointsOf(template);
    expect(endpoints.map(({ service }) => service).sort()).toEqual([".ecr.dkr", ".logs"]);
    for (const { PolicyDocument, SecurityGroupIds } of endpoints) {
      expect(PolicyDocument.Statement[0].Condition.StringEquals).toHaveProperty("aws:PrincipalAccount");
      expect(SecurityGroupIds).toHaveLength(1);
    }
    const gateway = networkOf({ vpc: { ...EXISTING, createEndpoints: ["s3"] } });
    expect(endpointsOf(gateway)).toMatchObject([{ service: ".s3", VpcEndpointType: "Gateway" }]);
    gateway.resourceCountIs("AWS::EC2::SecurityGroup", 1); // the jobs'
  });

  it("is refused with the name of an endpoint that no job uses", () => {
    expect(() => networkOf({ vpc: { ...EXISTING, createEndpoints: ["dynamodb" as "s3"] } })).toThrow();
  });

  it("keeps the endpoints that it has when it says so", () => {
    networkOf({ vpc: { ...EXISTING, createEndpoints: false } }).resourceCountIs("AWS::EC2::VPCEndpoint", 0);
  });
});
