// A network without a way out: private subnets, and endpoints for what the jobs call.
import { type CfnResource, type CustomResourceProviderBase, Stack } from "aws-cdk-lib";
import * as ec2 from "aws-cdk-lib/aws-ec2";
import * as iam from "aws-cdk-lib/aws-iam";
import * as logs from "aws-cdk-lib/aws-logs";
import type * as s3 from "aws-cdk-lib/aws-s3";
import { Construct } from "constructs";
import { type Deployment, endpointsToCreate, type JobEndpoint } from "../contracts/deployment.ts";
import type { Buckets } from "../stages/stage-context.ts";
import { acknowledge } from "./acknowledge.ts";

export interface NetworkProps {
  readonly buckets: Buckets;
  readonly deployment: Deployment;
  /** Where flow logs of a new network go. S3 delivers them to buckets with its own keys. */
  readonly accessLogs: s3.IBucket;
}

interface InterfaceEndpoint {
  /** Of the construct. */
  readonly id: string;
  readonly service: ec2.IInterfaceVpcEndpointService;
  /** With a policy, foreign credentials carry nothing out to another account; ECS's agent and telemetry take none. */
  readonly takesPolicy: boolean;
}

const INTERFACE_ENDPOINTS: Readonly<Record<Exclude<JobEndpoint, "s3">, InterfaceEndpoint>> = {
  ecs: { id: "Ecs", service: ec2.InterfaceVpcEndpointAwsService.ECS, takesPolicy: true },
  "ecs-agent": { id: "EcsAgent", service: ec2.InterfaceVpcEndpointAwsService.ECS_AGENT, takesPolicy: false },
  "ecs-telemetry": {
    id: "EcsTelemetry",
    service: ec2.InterfaceVpcEndpointAwsService.ECS_TELEMETRY,
    takesPolicy: false,
  },
  "ecr.api": { id: "EcrApi", service: ec2.InterfaceVpcEndpointAwsService.ECR, takesPolicy: true },
  "ecr.dkr": { id: "EcrDocker", service: ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER, takesPolicy: true },
  logs: { id: "Logs", service: ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS, takesPolicy: true },
  secretsmanager: { id: "Secrets", service: ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER, takesPolicy: true },
};

/** A /20 has 4,096 addresses, of which AWS keeps five. */
const SUBNET_MASK = 20;
const SUBNET_ADDRESSES = 2 ** (32 - SUBNET_MASK) - 5;
/** Zones of a new network when none are named: two, so that Spot has somewhere else to go. */
const ZONES = 2;

export class Network extends Construct {
  readonly vpc: ec2.IVpc;
  readonly subnets: ec2.ISubnet[];
  /** Addresses that each subnet has for fleets: without the one that every interface endpoint takes in it. */
  readonly addresses: readonly number[];
  /** Of every job: all traffic among themselves, as EFA and NCCL need, and HTTPS to the endpoints. */
  readonly jobs: ec2.SecurityGroup;

  constructor(scope: Construct, id: string, props: NetworkProps) {
    super(scope, id);
    const { vpc } = props.deployment;
    this.vpc = vpc.use === "new" ? this.createVpc(vpc.cidr, props) : this.importVpc(vpc);
    this.subnets = this.vpc.isolatedSubnets;
    const wanted = endpointsToCreate(vpc);
    const ofEndpoints = wanted.filter((service) => service !== "s3").length;
    this.addresses = this.subnets.map(
      (_, index) => (vpc.use === "new" ? SUBNET_ADDRESSES : vpc.subnets[index]!.addresses) - ofEndpoints,
    );
    this.jobs = this.createJobsGroup();
    if (wanted.includes("s3")) this.addGateway(props.buckets);
    this.addInterfaces(wanted);
  }

  private createVpc(cidr: string, { deployment, accessLogs }: NetworkProps): ec2.Vpc {
    const vpc = new ec2.Vpc(this, "Vpc", {
      ipAddresses: ec2.IpAddresses.cidr(cidr),
      ...(deployment.zones ? { availabilityZones: deployment.zones } : { maxAzs: ZONES }),
      natGateways: 0,
      createInternetGateway: false,
      restrictDefaultSecurityGroup: true,
      subnetConfiguration: [{ name: "Private", subnetType: ec2.SubnetType.PRIVATE_ISOLATED, cidrMask: SUBNET_MASK }],
    });
    vpc.addFlowLog("FlowLog", {
      destination: ec2.FlowLogDestination.toS3(accessLogs, "flow-logs"),
      trafficType: ec2.FlowLogTrafficType.ALL,
    });
    this.boundFunctionOfDefaultGroup();
    return vpc;
  }

  /**
   * CDK's function that closes the default security group may write to every log group, and Lambda would make it one with
   * neither key nor retention: it gets a group of ours (log-groups.ts), and that alone.
   */
  private boundFunctionOfDefaultGroup(): void {
    const provider = Stack.of(this).node.findChild("Custom::VpcRestrictDefaultSGCustomResourceProvider");
    const logGroup = new logs.LogGroup(this, "DefaultGroupLogs");
    const [handler, role] = ["Handler", "Role"].map((id) => provider.node.findChild(id) as CfnResource);
    handler!.addPropertyOverride("LoggingConfig", { LogGroup: logGroup.logGroupName });
    role!.addPropertyDeletionOverride("ManagedPolicyArns");
    (provider as CustomResourceProviderBase).addToRolePolicy({
      Effect: "Allow",
      Action: ["logs:CreateLogStream", "logs:PutLogEvents"],
      Resource: logGroup.logGroupArn,
    });
  }

  /** By attributes: a look-up would ask for credentials at synthesis. Its flow logs are its owner's. */
  private importVpc({ vpcId, subnets }: Extract<Deployment["vpc"], { use: "existing" }>): ec2.IVpc {
    return ec2.Vpc.fromVpcAttributes(this, "Vpc", {
      vpcId,
      availabilityZones: subnets.map(({ zone }) => zone),
      isolatedSubnetIds: subnets.map(({ subnetId }) => subnetId),
      isolatedSubnetRouteTableIds: subnets.map(({ routeTableId }) => routeTableId),
    });
  }

  private createJobsGroup(): ec2.SecurityGroup {
    const jobs = new ec2.SecurityGroup(this, "Jobs", {
      vpc: this.vpc,
      description: "Jobs of voxelburst: EFA among themselves, HTTPS to the endpoints",
      allowAllOutbound: false,
    });
    jobs.addIngressRule(jobs, ec2.Port.allTraffic(), "EFA among the nodes");
    jobs.addEgressRule(jobs, ec2.Port.allTraffic(), "EFA among the nodes");
    // S3's addresses are public ones, behind the gateway. The network has no other way to them, or to anyone.
    jobs.addEgressRule(ec2.Peer.anyIpv4(), ec2.Port.tcp(443), "HTTPS to the endpoints and the S3 gateway");
    acknowledge(jobs, {
      "HIPAA.Security-EC2RestrictedCommonPorts":
        "EFA asks for all traffic among the members of the group; nobody else is let in",
    });
    return jobs;
  }

  private addGateway(buckets: Buckets): void {
    const s3 = this.vpc.addGatewayEndpoint("S3", {
      service: ec2.GatewayVpcEndpointAwsService.S3,
      subnets: [{ subnets: this.subnets }],
    });
    const { region, partition } = Stack.of(this);
    const own = Object.values(buckets).flatMap((bucket) => [bucket.bucketArn, bucket.arnForObjects("*")]);
    s3.addToPolicy(
      new iam.PolicyStatement({
        principals: [new iam.AnyPrincipal()],
        actions: ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListBucket"],
        resources: own,
      }),
    );
    s3.addToPolicy(
      new iam.PolicyStatement({
        principals: [new iam.AnyPrincipal()],
        actions: ["s3:GetObject"],
        resources: [
          // Amazon Linux's packages (mdadm), and the layers of ECR's images.
          `arn:${partition}:s3:::al2023-repos-${region}-*/*`,
          `arn:${partition}:s3:::prod-${region}-starport-layer-bucket/*`,
        ],
      }),
    );
  }

  private addInterfaces(wanted: readonly JobEndpoint[]): void {
    const own = Object.entries(INTERFACE_ENDPOINTS).filter(([name]) => wanted.includes(name as JobEndpoint));
    if (own.length === 0) return;
    // CDK would give each endpoint a group of its own that lets everything out and the whole network in.
    const endpoints = new ec2.SecurityGroup(this, "Endpoints", {
      vpc: this.vpc,
      description: "Endpoints of voxelburst: HTTPS from its jobs",
      allowAllOutbound: false,
    });
    endpoints.addIngressRule(this.jobs, ec2.Port.tcp(443), "HTTPS from the jobs");
    const ours = new iam.PolicyStatement({
      principals: [new iam.AnyPrincipal()],
      actions: ["*"],
      resources: ["*"],
      conditions: { StringEquals: { "aws:PrincipalAccount": Stack.of(this).account } },
    });
    for (const [, { id, service, takesPolicy }] of own) {
      const endpoint = this.vpc.addInterfaceEndpoint(id, {
        service,
        subnets: { subnets: this.subnets },
        open: false,
        securityGroups: [endpoints],
      });
      if (takesPolicy) endpoint.addToPolicy(ours);
    }
  }
}
