// Task states of SageMaker's batch transform: a model, which is the image and what it is told, and a job that sends it
// the lines of a prefix. CDK's own states know no AMI version and no network, and default to AmazonSageMakerFullAccess.
import { Duration, Stack } from "aws-cdk-lib";
import type * as ec2 from "aws-cdk-lib/aws-ec2";
import * as iam from "aws-cdk-lib/aws-iam";
import * as sfn from "aws-cdk-lib/aws-stepfunctions";
import type { Construct } from "constructs";
import { jobTags, jsonata } from "../workflow/jsonata.ts";
import { INVOCATION_SECONDS } from "./limits.ts";
import { sageMakerRetry } from "./retries.ts";
import { jobPolicies, passRole } from "./sagemaker-access.ts";

/**
 * Transform's instances have a driver of 470 or 535, by their AMI (CreateTransformJob, TransformAmiVersion). The image's
 * CUDA 13 wants 580: with 535, a long-term branch, it runs on the compatibility libraries that NVIDIA's base image puts
 * in front where the driver is older. Unverified on a real account; the image's start-up check refuses what cannot run.
 */
export const TRANSFORM_AMI = { version: "al2-ami-sagemaker-batch-gpu-535", driver: 535 } as const;

/** To make a model, or to delete it: a record in a database, of which nothing starts. */
export const MODEL_TIME = Duration.minutes(2);

export const modelArn = (scope: Construct, namePrefix: string): string =>
  Stack.of(scope).formatArn({ service: "sagemaker", resource: "model", resourceName: `${namePrefix}*` });

export interface CreateModelTaskProps {
  /** JSONata of the name, and the prefix that it always has. */
  readonly modelName: string;
  readonly modelNamePrefix: string;
  readonly role: iam.IRole;
  readonly imageUri: string;
  readonly environment: Record<string, string>;
  readonly subnets: ec2.ISubnet[];
  readonly securityGroup: ec2.ISecurityGroup;
  readonly assign: Record<string, string>;
}

/**
 * No model data: a transform job takes it as one archive alone (ModelDataSource is not for batch transform), and the
 * container fetches compile's folder by itself, as it fetches the volumes.
 */
export class CreateModelTask extends sfn.TaskStateBase {
  protected readonly taskMetrics = undefined;
  protected readonly taskPolicies: iam.PolicyStatement[];
  private readonly model: CreateModelTaskProps;

  constructor(scope: Construct, id: string, props: CreateModelTaskProps) {
    super(scope, id, {
      queryLanguage: sfn.QueryLanguage.JSONATA,
      taskTimeout: sfn.Timeout.duration(MODEL_TIME),
      outputs: {},
      assign: props.assign,
    });
    this.model = props;
    this.taskPolicies = [
      new iam.PolicyStatement({
        actions: ["sagemaker:CreateModel", "sagemaker:AddTags"],
        resources: [modelArn(this, props.modelNamePrefix)],
      }),
      passRole(props.role),
    ];
    this.addRetry(sageMakerRetry);
  }

  /** @internal */
  protected override _renderTask(topLevelQueryLanguage?: sfn.QueryLanguage): object {
    const { modelName, role, imageUri, environment, subnets, securityGroup } = this.model;
    return {
      Resource: `arn:${Stack.of(this).partition}:states:::sagemaker:createModel`,
      ...this._renderParametersOrArguments(
        {
          ModelName: modelName,
          ExecutionRoleArn: role.roleArn,
          PrimaryContainer: { Image: imageUri, Environment: environment },
          Tags: jobTags("infer"),
          VpcConfig: {
            Subnets: subnets.map((subnet) => subnet.subnetId),
            SecurityGroupIds: [securityGroup.securityGroupId],
          },
        },
        topLevelQueryLanguage ?? sfn.QueryLanguage.JSONATA,
      ),
    };
  }
}

export interface TransformJobTaskProps {
  /** JSONata of the name, unique for ever, and the prefix that it always has. */
  readonly jobName: string;
  readonly jobNamePrefix: string;
  /** JSONata of the model's name. */
  readonly modelName: string;
  readonly rung: string;
  readonly role: iam.IRole;
  /** JSONata of the URI of the prefix whose objects hold a record a line; each object goes to one instance. */
  readonly inputUri: string;
  readonly outputUri: string;
  readonly encryptionKeyArn: string;
  /** Expression of the seconds after which the job is stopped: the service has no limit of its own. */
  readonly stateSeconds: string;
  readonly assign: Record<string, string>;
}

export class TransformJobTask extends sfn.TaskStateBase {
  protected readonly taskMetrics = undefined;
  protected readonly taskPolicies: iam.PolicyStatement[];
  private readonly job: TransformJobTaskProps;

  constructor(scope: Construct, id: string, props: TransformJobTaskProps) {
    super(scope, id, {
      queryLanguage: sfn.QueryLanguage.JSONATA,
      taskTimeout: sfn.Timeout.jsonata(jsonata(props.stateSeconds)),
      outputs: {},
      assign: props.assign,
    });
    this.job = props;
    this.taskPolicies = jobPolicies(this, "transform-job", props.jobNamePrefix);
    this.addRetry(sageMakerRetry);
  }

  /** @internal */
  protected override _renderTask(topLevelQueryLanguage?: sfn.QueryLanguage): object {
    const job = this.job;
    return {
      Resource: `arn:${Stack.of(this).partition}:states:::sagemaker:createTransformJob.sync`,
      ...this._renderParametersOrArguments(
        {
          TransformJobName: job.jobName,
          ModelName: job.modelName,
          // One volume fills the GPU. A record is a few hundred bytes: the container fetches the volume that it names.
          MaxConcurrentTransforms: 1,
          MaxPayloadInMB: 1,
          BatchStrategy: "SingleRecord",
          ModelClientConfig: { InvocationsTimeoutInSeconds: INVOCATION_SECONDS, InvocationsMaxRetries: 1 },
          TransformInput: {
            ContentType: "application/jsonlines",
            SplitType: "Line",
            DataSource: { S3DataSource: { S3DataType: "S3Prefix", S3Uri: job.inputUri } },
          },
          TransformOutput: {
            S3OutputPath: job.outputUri,
            Accept: "application/jsonlines",
            AssembleWith: "Line",
            KmsKeyId: job.encryptionKeyArn,
          },
          TransformResources: jsonata(`${job.rung}.TransformResources`),
          Tags: jobTags("infer"),
        },
        topLevelQueryLanguage ?? sfn.QueryLanguage.JSONATA,
      ),
    };
  }
}
