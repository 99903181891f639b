// A network without a way out: private subnets, and endpoints for what the jobs call.
import { Stack } from "aws-cdk-lib";
import * as ec2 from "aws-cdk-lib/aws-ec2";
import * as iam from "aws-cdk-lib/aws-iam";
import { Construct } from "constructs";
import type { Buckets } from "../stages/stage-context.ts";

export interface NetworkProps {
  readonly buckets: Buckets;
}

/** What ECS instances, their agent and their containers call. S3, a gateway, costs nothing and is apart. */
const INTERFACE_ENDPOINTS = {
  Ecs: ec2.InterfaceVpcEndpointAwsService.ECS,
  EcsAgent: ec2.InterfaceVpcEndpointAwsService.ECS_AGENT,
  EcsTelemetry: ec2.InterfaceVpcEndpointAwsService.ECS_TELEMETRY,
  EcrApi: ec2.InterfaceVpcEndpointAwsService.ECR,
  EcrDocker: ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER,
  Logs: ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
};

/** A /20 has 4,096 addresses, of which AWS keeps five. */
const SUBNET_MASK = 20;
export const SUBNET_ADDRESSES = 2 ** (32 - SUBNET_MASK) - 5;

export class Network extends Construct {
  readonly vpc: ec2.Vpc;
  /** Of every job: all traffic among themselves, as EFA and NCCL need, and HTTPS to the endpoints. */
  readonly jobs: ec2.SecurityGroup;

  constructor(scope: Construct, id: string, props: NetworkProps) {
    super(scope, id);
    this.vpc = new ec2.Vpc(this, "Vpc", {
      maxAzs: 2,
      natGateways: 0,
      createInternetGateway: false,
      restrictDefaultSecurityGroup: true,
      subnetConfiguration: [{ name: "Private", subnetType: ec2.SubnetType.PRIVATE_ISOLATED, cidrMask: SUBNET_MASK }],
    });
    this.jobs = new ec2.SecurityGroup(this, "Jobs", {
      vpc: this.vpc,
      description: "Jobs of voxelburst: EFA among themselves, HTTPS to the endpoints",
      allowAllOutbound: false,
    });
    this.jobs.addIngressRule(this.jobs, ec2.Port.allTraffic(), "EFA among the nodes");
    this.jobs.addEgressRule(this.jobs, ec2.Port.allTraffic(), "EFA among the nodes");
    // S3's addresses are public ones, behind the gateway. The network has no other way to them, or to anyone.
    this.jobs.addEgressRule(ec2.Peer.anyIpv4(), ec2.Port.tcp(443), "HTTPS to the endpoints and the S3 gateway");
    this.addEndpoints(props.buckets);
  }

  private addEndpoints(buckets: Buckets): void {
    const s3 = this.vpc.addGatewayEndpoint("S3", { service: ec2.GatewayVpcEndpointAwsService.S3 });
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
          `arn:${partition}:s3:::al2023-repos-${region}-*`,
          `arn:${partition}:s3:::al2023-repos-${region}-*/*`,
          `arn:${partition}:s3:::prod-${region}-starport-layer-bucket/*`,
        ],
      }),
    );
    // CDK would give each endpoint a group of its own that lets everything out and the whole network in.
    const endpoints = new ec2.SecurityGroup(this, "Endpoints", {
      vpc: this.vpc,
      description: "Endpoints of voxelburst: HTTPS from its jobs",
      allowAllOutbound: false,
    });
    endpoints.addIngressRule(this.jobs, ec2.Port.tcp(443), "HTTPS from the jobs");
    for (const [name, service] of Object.entries(INTERFACE_ENDPOINTS))
      this.vpc.addInterfaceEndpoint(name, { service, open: false, securityGroups: [endpoints] });
  }
}
