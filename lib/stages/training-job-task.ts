// A Task state that runs a SageMaker training job to its end. CDK's SageMakerCreateTrainingJob knows neither checkpoints
// nor managed spot, warm pools, training plans or retries, and makes a role of its own.
import { Stack } from "aws-cdk-lib";
import type * as ec2 from "aws-cdk-lib/aws-ec2";
import type * as iam from "aws-cdk-lib/aws-iam";
import * as sfn from "aws-cdk-lib/aws-stepfunctions";
import type { Construct } from "constructs";
import { jobTags, jsonata } from "../workflow/jsonata.ts";
import { SAGEMAKER_OVERHEAD_SECONDS, TRAINING_RETRIES } from "./limits.ts";
import { sageMakerRetry } from "./retries.ts";
import { jobPolicies } from "./sagemaker-access.ts";

export interface TrainingJobTaskProps {
  /** JSONata of the name, unique for ever, and the prefix that it always has. */
  readonly jobName: string;
  readonly jobNamePrefix: string;
  /** The expression of the rung that the state is on. */
  readonly rung: string;
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
  /** Expression of the number of instances. */
  readonly nodes: string;
  /** ARNs of the training plans that a rung may name. */
  readonly trainingPlans: readonly string[];
  /** Expression of the seconds after which SageMaker stops the job. */
  readonly maxSeconds: string;
  readonly subnets: ec2.ISubnet[];
  readonly securityGroup: ec2.ISecurityGroup;
  /** Variables that a job that is done leaves. */
  readonly assign: Record<string, string>;
}

export class TrainingJobTask extends sfn.TaskStateBase {
  protected readonly taskMetrics = undefined;
  protected readonly taskPolicies: iam.PolicyStatement[];
  private readonly job: TrainingJobTaskProps;

  constructor(scope: Construct, id: string, props: TrainingJobTaskProps) {
    super(scope, id, {
      queryLanguage: sfn.QueryLanguage.JSONATA,
      taskTimeout: sfn.Timeout.jsonata(
        jsonata(`${props.maxSeconds} + ${props.rung}.waitSeconds + ${SAGEMAKER_OVERHEAD_SECONDS}`),
      ),
      // The description of a job is too large to hand on.
      outputs: {},
      assign: props.assign,
    });
    this.job = props;
    this.taskPolicies = jobPolicies(this, "training-job", props.jobNamePrefix, props.role, props.trainingPlans);
    this.addRetry(sageMakerRetry);
  }

  /** @internal */
  protected override _renderTask(topLevelQueryLanguage?: sfn.QueryLanguage): object {
    const { rung, ...job } = this.job;
    return {
      Resource: `arn:${Stack.of(this).partition}:states:::sagemaker:createTrainingJob.sync`,
      ...this._renderParametersOrArguments(
        {
          TrainingJobName: job.jobName,
          RoleArn: job.role.roleArn,
          AlgorithmSpecification: { TrainingImage: job.imageUri, TrainingInputMode: "File" },
          HyperParameters: job.hyperParameters,
          Environment: jsonata(`${rung}.Environment`),
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
          ResourceConfig: jsonata(`$merge([${rung}.ResourceConfig, { 'InstanceCount': ${job.nodes} }])`),
          EnableManagedSpotTraining: jsonata(`${rung}.kind = 'spot'`),
          // Managed spot waits and resumes inside its job; MaxWait is both, and may be given for spot alone.
          StoppingCondition: jsonata(
            `$merge([{ 'MaxRuntimeInSeconds': ${job.maxSeconds} }, ${rung}.kind = 'spot' ? ` +
              `{ 'MaxWaitTimeInSeconds': ${job.maxSeconds} + ${rung}.waitSeconds } : {}])`,
          ),
          RetryStrategy: { MaximumRetryAttempts: TRAINING_RETRIES },
          Tags: jobTags("train"),
          // The group admits all traffic from itself, as EFA needs. Encryption between containers stays off: EC2 encrypts
          // what p4 and p5 instances send each other in hardware.
          VpcConfig: {
            Subnets: job.subnets.map((subnet) => subnet.subnetId),
            SecurityGroupIds: [job.securityGroup.securityGroupId],
          },
        },
        topLevelQueryLanguage ?? sfn.QueryLanguage.JSONATA,
      ),
    };
  }
}
