// train: arrays become weights. A SageMaker training job on every GPU of an instance.
import { ArnFormat, Stack } from "aws-cdk-lib";
import type * as ec2 from "aws-cdk-lib/aws-ec2";
import * as iam from "aws-cdk-lib/aws-iam";
import type * as sfn from "aws-cdk-lib/aws-stepfunctions";
import { Construct } from "constructs";
import type { StageImage } from "../cloud/container-image.ts";
import { keys, trainTaskId } from "../contracts/keys.ts";
import type { Strategy } from "../contracts/primitives.ts";
import { artefactUri, jsonata, keyExpression, trainingJobName, variables } from "../workflow/jsonata.ts";
import { TRAINING_OVERHEAD_SECONDS } from "./limits.ts";
import { allowObjects } from "./object-access.ts";
import type { Buckets } from "./stage-context.ts";
import { TrainingJobTask } from "./training-job-task.ts";

export interface TrainProps {
  readonly buckets: Buckets;
  readonly image: StageImage;
  /** EC2's name of the type, for example p5.4xlarge. */
  readonly instanceType: string;
  readonly subnets: ec2.ISubnet[];
  readonly securityGroup: ec2.ISecurityGroup;
}

export class Train extends Construct {
  readonly role: iam.Role;
  private readonly props: TrainProps;

  constructor(scope: Construct, id: string, props: TrainProps) {
    super(scope, id);
    this.props = props;
    this.role = new iam.Role(this, "Role", {
      assumedBy: new iam.ServicePrincipal("sagemaker.amazonaws.com"),
      description: "What a training job and SageMaker on its behalf may do",
    });
    allowObjects(this.role, props.buckets.artefacts, {
      read: ["runs/*/tasks/*", "runs/*/plan.json", "preprocess/*", "train/*"],
      write: ["train/*", "runs/*/sagemaker/*", "runs/*/results/*", "runs/*/errors/*"],
    });
    props.image.repository.grantPull(this.role);
    for (const statement of this.renderServiceStatements()) this.role.addToPolicy(statement);
  }

  toState(): sfn.TaskStateBase {
    const { request, training } = variables;
    const manifest = keyExpression((part) =>
      keys.channelManifest(part(request.runId), trainTaskId(part(training.fold), part(training.strategy) as Strategy)),
    );
    const checkpoints = keyExpression((part) => keys.checkpoints(part(training.trainHash)));
    const archive = keyExpression((part) => keys.trainingArchive(part(request.runId)));
    return new TrainingJobTask(this, "Train", {
      jobName: trainingJobName(),
      jobNamePrefix: "train-",
      role: this.role,
      imageUri: this.props.image.imageUri,
      hyperParameters: { task: jsonata(artefactUri(training.taskKey)) },
      arraysManifestUri: jsonata(artefactUri(manifest)),
      checkpointUri: jsonata(artefactUri(checkpoints)),
      outputUri: jsonata(artefactUri(archive)),
      encryptionKeyArn: this.props.buckets.artefacts.encryptionKey!.keyArn,
      instanceType: `ml.${this.props.instanceType}`,
      // Types with local NVMe ignore it and give their drives; others need room for the arrays and checkpoints.
      volumeGiB: 500,
      maxSeconds: jsonata(training.maxSeconds),
      stateSeconds: jsonata(`${training.maxSeconds} + ${TRAINING_OVERHEAD_SECONDS}`),
      subnets: this.props.subnets,
      securityGroup: this.props.securityGroup,
    });
  }

  /** SageMaker's page "CreateTrainingJob API: execution role permissions", less what names a bucket or a repository. */
  private renderServiceStatements(): iam.PolicyStatement[] {
    const stack = Stack.of(this);
    return [
      new iam.PolicyStatement({
        actions: ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"],
        resources: [
          stack.formatArn({
            service: "logs",
            resource: "log-group",
            resourceName: "/aws/sagemaker/TrainingJobs*",
            arnFormat: ArnFormat.COLON_RESOURCE_NAME,
          }),
        ],
      }),
      new iam.PolicyStatement({
        actions: ["cloudwatch:PutMetricData"],
        resources: ["*"], // the service has no resources; the namespace narrows it
        conditions: { StringEquals: { "cloudwatch:namespace": "/aws/sagemaker/TrainingJobs" } },
      }),
      // In a VPC, SageMaker makes a network interface for each instance with the rights of this role.
      new iam.PolicyStatement({
        actions: ["ec2:CreateNetworkInterface", "ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface"],
        resources: ["network-interface", "subnet", "security-group"].map((resource) =>
          stack.formatArn({ service: "ec2", resource, resourceName: "*" }),
        ),
      }),
      new iam.PolicyStatement({
        actions: [
          "ec2:DescribeNetworkInterfaces",
          "ec2:DescribeVpcs",
          "ec2:DescribeDhcpOptions",
          "ec2:DescribeSubnets",
          "ec2:DescribeSecurityGroups",
        ],
        resources: ["*"], // EC2's Describe actions have no resource-level permissions
      }),
    ];
  }
}
