// A fleet: one instance type or family with its launch template, compute environment and queue.
import { readFileSync } from "node:fs";
import { Duration } from "aws-cdk-lib";
import * as batch from "aws-cdk-lib/aws-batch";
import * as ec2 from "aws-cdk-lib/aws-ec2";
import * as iam from "aws-cdk-lib/aws-iam";
import { Construct } from "constructs";
import type { GpuInstanceType } from "../contracts/instance-types.ts";
import { acknowledge } from "./acknowledge.ts";
import type { Network } from "./network.ts";

/** How instances are bought. A reservation's id is a Capacity Reservation's or a Capacity Block's. */
export type Purchase =
  | { readonly kind: "on-demand" }
  /** Not for several nodes in one job: Batch does not offer it. */
  | { readonly kind: "spot" }
  | {
      readonly kind: "reservation";
      readonly id: string;
      readonly isCapacityBlock: boolean;
      readonly placementGroup?: string;
    };

export interface FleetProps {
  readonly network: Network;
  /** Types (p5.4xlarge) or families (m6id), of which Batch picks what fits. */
  readonly instanceTypes: string[];
  readonly maxVcpus: number;
  readonly purchase: Purchase;
  /** How long a job waits for an instance before it fails. */
  readonly waitSeconds: number;
  /** The GPU type, when it is one: NVIDIA's image, and an EFA interface a card.
   * @default - a CPU fleet */
  readonly gpu?: GpuInstanceType;
}

/** The AMI's own 30 GiB cannot hold NVIDIA's image beside its layers. */
const ROOT_VOLUME_GIB = 200;

export class Fleet extends Construct {
  readonly queue: batch.JobQueue;
  readonly launchTemplate: ec2.LaunchTemplate;

  constructor(scope: Construct, id: string, props: FleetProps) {
    super(scope, id);
    this.launchTemplate = this.renderLaunchTemplate(props);
    this.queue = new batch.JobQueue(this, "Queue", {
      computeEnvironments: [{ computeEnvironment: this.renderComputeEnvironment(props), order: 1 }],
      // A job that cannot start becomes a failure that the state machine reports, instead of waiting for ever. These are
      // all reasons that Batch's page "Automatic remediation with jobStateTimeLimitActions" names as accepted: what is
      // stuck for another (EC2_INSTANCE_CONFIGURATION_UNSUPPORTED, ...) falls when its state's time is over.
      jobStateTimeLimitActions: [
        batch.JobStateTimeLimitActionsReason.INSUFFICIENT_INSTANCE_CAPACITY,
        batch.JobStateTimeLimitActionsReason.COMPUTE_ENVIRONMENT_MAX_RESOURCE,
        batch.JobStateTimeLimitActionsReason.JOB_RESOURCE_REQUIREMENT,
      ].map((reason) => ({
        reason,
        state: batch.JobStateTimeLimitActionsState.RUNNABLE,
        action: batch.JobStateTimeLimitActionsAction.CANCEL,
        maxTime: Duration.seconds(props.waitSeconds),
      })),
    });
  }

  private renderLaunchTemplate({ gpu, network, purchase }: FleetProps): ec2.LaunchTemplate {
    // Batch adds a part of its own, so the user data has to be MIME multipart. Plain, as in Batch's own examples.
    const userData = new ec2.MultipartUserData();
    userData.addPart(
      ec2.MultipartBody.fromRawBody({
        contentType: 'text/x-shellscript; charset="us-ascii"',
        body: readFileSync(new URL("mount-scratch.sh", import.meta.url), "ascii"),
      }),
    );
    const template = new ec2.LaunchTemplate(this, "LaunchTemplate", {
      userData,
      requireImdsv2: true,
      // Containers are one hop further away than their instance.
      httpPutResponseHopLimit: 2,
      blockDevices: [
        {
          deviceName: "/dev/xvda",
          volume: ec2.BlockDeviceVolume.ebs(ROOT_VOLUME_GIB, {
            volumeType: ec2.EbsDeviceVolumeType.GP3,
            encrypted: true,
            deleteOnTermination: true,
          }),
        },
      ],
    });
    const resource = template.node.defaultChild as ec2.CfnLaunchTemplate;
    const add = (name: string, value: object) => resource.addPropertyOverride(`LaunchTemplateData.${name}`, value);
    if (gpu && gpu.efaCards > 0) add("NetworkInterfaces", efaInterfaces(gpu, network.jobs));
    if (purchase.kind === "reservation") {
      add("CapacityReservationSpecification", { CapacityReservationTarget: { CapacityReservationId: purchase.id } });
      // As AWS's own Batch templates for p5 and p6 in a Capacity Block have it.
      if (purchase.isCapacityBlock) add("InstanceMarketOptions", { MarketType: "capacity-block" });
    }
    return template;
  }

  private renderComputeEnvironment(props: FleetProps): batch.ManagedEc2EcsComputeEnvironment {
    const { network, gpu, purchase } = props;
    const spot = purchase.kind === "spot";
    // Jobs of several nodes talk over EFA within one zone. Spot runs single nodes, and takes what any zone has.
    const isCluster = gpu !== undefined && gpu.efaCards > 0 && !spot;
    // What is reserved is reserved in one zone, which the configuration has first.
    const isInOneZone = isCluster || purchase.kind === "reservation";
    const environment = new batch.ManagedEc2EcsComputeEnvironment(this, "ComputeEnvironment", {
      vpc: network.vpc,
      vpcSubnets: { subnets: isInOneZone ? network.subnets.slice(0, 1) : network.subnets },
      securityGroups: [network.jobs],
      images: [
        {
          imageType: gpu ? batch.EcsMachineImageType.ECS_AL2023_NVIDIA : batch.EcsMachineImageType.ECS_AL2023,
        },
      ],
      launchTemplate: this.launchTemplate,
      instanceRole: this.renderInstanceRole(),
      minvCpus: 0,
      maxvCpus: props.maxVcpus,
      spot,
      // Of one type both BEST_FIT strategies start the same, reserved or not. AWS's own Batch templates for p5 and p6 in a
      // Capacity Block have BEST_FIT, under which Batch updates no infrastructure: no new image, no new launch template
      // (the guide's page "Instance type allocation strategies for AWS Batch").
      allocationStrategy: spot
        ? batch.AllocationStrategy.SPOT_PRICE_CAPACITY_OPTIMIZED
        : batch.AllocationStrategy.BEST_FIT_PROGRESSIVE,
      updateToLatestImageVersion: true,
      ...this.renderPlacementGroup(isCluster, purchase),
    });
    const resource = environment.node.defaultChild as batch.CfnComputeEnvironment;
    // In place of CDK's "optimal", as CDK cannot read a type with a dash in its family, such as p6-b200.48xlarge.
    resource.addPropertyOverride("ComputeResources.InstanceTypes", props.instanceTypes);
    // CDK leaves the version out, which means $Default: the first one for ever.
    resource.addPropertyOverride("ComputeResources.LaunchTemplate.Version", this.launchTemplate.latestVersionNumber);
    return environment;
  }

  /** What Batch's page "ECS instance role" asks for: the agent's managed policy. Jobs have roles of their own. */
  private renderInstanceRole(): iam.Role {
    const agentPolicy = "service-role/AmazonEC2ContainerServiceforEC2Role";
    const role = new iam.Role(this, "InstanceRole", {
      assumedBy: new iam.ServicePrincipal("ec2.amazonaws.com"),
      managedPolicies: [iam.ManagedPolicy.fromAwsManagedPolicyName(agentPolicy)],
    });
    acknowledge(role, {
      [`AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/${agentPolicy}]`]:
        "what Batch's page asks of instances: AWS keeps it in step with the ECS agent that it puts on its image",
    });
    return role;
  }

  /**
   * A Capacity Block allows no placement group, and another reservation only the one that it was made in: an instance in
   * any other does not match it.
   */
  private renderPlacementGroup(isCluster: boolean, purchase: Purchase): { placementGroup?: ec2.IPlacementGroup } {
    if (purchase.kind === "reservation") {
      const name = purchase.placementGroup;
      return name ? { placementGroup: ec2.PlacementGroup.fromPlacementGroupName(this, "Together", name) } : {};
    }
    if (!isCluster) return {};
    return {
      placementGroup: new ec2.PlacementGroup(this, "Together", { strategy: ec2.PlacementGroupStrategy.CLUSTER }),
    };
  }
}

/**
 * One EFA interface a network card, as AWS's own Batch templates for p4d and p5 have it: all of type `efa`. The primary
 * one may not be `efa-only`, and the groups stand on each interface, never on the template.
 */
export function efaInterfaces(gpu: GpuInstanceType, group: ec2.ISecurityGroup): object[] {
  return Array.from({ length: gpu.efaCards }, (_, card) => ({
    NetworkCardIndex: card,
    DeviceIndex: gpu.deviceIndex === "card" ? card : 0,
    InterfaceType: "efa",
    Groups: [group.securityGroupId],
    DeleteOnTermination: true,
  }));
}
