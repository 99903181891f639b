// A Task state that runs a SageMaker training job to its end. CDK's SageMakerCreateTrainingJob knows neither checkpoints
// nor most of what a GPU training needs, and makes a role of its own.
import { Stack } from "aws-cdk-lib";
import type * as ec2 from "aws-cdk-lib/aws-ec2";
import * as iam from "aws-cdk-lib/aws-iam";
import * as sfn from "aws-cdk-lib/aws-stepfunctions";
import type { Construct } from "constructs";
import { sageMakerRetry } from "./retries.ts";

export interface TrainingJobTaskProps {
  /** JSONata of the name, unique for ever, and the prefix that it always has. */
  readonly jobName: string;
  readonly jobNamePrefix: string;
  readonly role: iam.IRole;
  readonly imageUri: string;
  readonly hyperParameters: Record<string, string>;
  /** JSONata of the URI of the ManifestFile that lists the channel's objects. */
  readonly arraysManifestUri: string;
  /** JSONata of the URI that checkpoints are kept at, and resumed from. */
  readonly checkpointUri: string;
  /** JSONata of the URI below which SageMaker puts its own archive. */
  readonly outputUri: string;
  readonly encryptionKeyArn: string;
  /** For example ml.p5.4xlarge. */
  readonly instanceType: string;
  readonly volumeGiB: number;
  /** JSONata of the seconds after which SageMaker stops the job. */
  readonly maxSeconds: string;
  /** JSONata of the seconds after which the state gives up. */
  readonly stateSeconds: string;
  readonly subnets: ec2.ISubnet[];
  readonly securityGroup: ec2.ISecurityGroup;
}

export class TrainingJobTask extends sfn.TaskStateBase {
  protected readonly taskMetrics = undefined;
  protected readonly taskPolicies: iam.PolicyStatement[];
  private readonly job: TrainingJobTaskProps;

  constructor(scope: Construct, id: string, props: TrainingJobTaskProps) {
    super(scope, id, {
      queryLanguage: sfn.QueryLanguage.JSONATA,
      taskTimeout: sfn.Timeout.jsonata(props.stateSeconds),
      // The description of a job is too large to hand on.
      outputs: {},
    });
    this.job = props;
    this.taskPolicies = this.renderPolicies();
    this.addRetry(sageMakerRetry);
  }

  /** @internal */
  protected override _renderTask(topLevelQueryLanguage?: sfn.QueryLanguage): object {
    const job = this.job;
    return {
      Resource: `arn:${Stack.of(this).partition}:states:::sagemaker:createTrainingJob.sync`,
      ...this._renderParametersOrArguments(
        {
          TrainingJobName: job.jobName,
          RoleArn: job.role.roleArn,
          AlgorithmSpecification: { TrainingImage: job.imageUri, TrainingInputMode: "File" },
          HyperParameters: job.hyperParameters,
          InputDataConfig: [
            {
              ChannelName: "arrays",
              DataSource: {
                S3DataSource: {
                  S3DataType: "ManifestFile",
                  S3Uri: job.arraysManifestUri,
                  S3DataDistributionType: "FullyReplicated",
                },
              },
            },
          ],
          CheckpointConfig: { S3Uri: job.checkpointUri },
          OutputDataConfig: { S3OutputPath: job.outputUri, KmsKeyId: job.encryptionKeyArn },
          // No VolumeKmsKeyId: SageMaker refuses it on types with local NVMe, which encrypt it themselves.
          ResourceConfig: { InstanceType: job.instanceType, InstanceCount: 1, VolumeSizeInGB: job.volumeGiB },
          StoppingCondition: { MaxRuntimeInSeconds: job.maxSeconds },
          VpcConfig: {
            Subnets: job.subnets.map((subnet) => subnet.subnetId),
            SecurityGroupIds: [job.securityGroup.securityGroupId],
          },
        },
        topLevelQueryLanguage ?? sfn.QueryLanguage.JSONATA,
      ),
    };
  }

  private renderPolicies(): iam.PolicyStatement[] {
    const stack = Stack.of(this);
    const jobs = stack.formatArn({
      service: "sagemaker",
      resource: "training-job",
      resourceName: `${this.job.jobNamePrefix}*`,
    });
    const eventsRule = stack.formatArn({
      service: "events",
      resource: "rule",
      resourceName: "StepFunctionsGetEventsForSageMakerTrainingJobsRule",
    });
    return [
      new iam.PolicyStatement({
        actions: [
          "sagemaker:CreateTrainingJob",
          "sagemaker:DescribeTrainingJob",
          "sagemaker:StopTrainingJob",
          "sagemaker:AddTags",
          "sagemaker:ListTags",
        ],
        resources: [jobs],
      }),
      new iam.PolicyStatement({
        actions: ["iam:PassRole"],
        resources: [this.job.role.roleArn],
        conditions: { StringEquals: { "iam:PassedToService": "sagemaker.amazonaws.com" } },
      }),
      new iam.PolicyStatement({
        actions: ["events:PutTargets", "events:PutRule", "events:DescribeRule"],
        resources: [eventsRule],
      }),
    ];
  }
}
