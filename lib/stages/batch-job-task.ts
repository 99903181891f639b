// A Task state that runs a Batch job to its end. CDK's BatchSubmitJob lacks the permissions that `.sync` needs, allows
// every job definition of the account, and turns the state's timeout into the job's.
import { Duration, Stack } from "aws-cdk-lib";
import type * as batch from "aws-cdk-lib/aws-batch";
import * as iam from "aws-cdk-lib/aws-iam";
import * as sfn from "aws-cdk-lib/aws-stepfunctions";
import type { Construct } from "constructs";
import { batchRetry } from "./retries.ts";

export interface BatchJobTaskProps {
  /** JSONata of the name, unique for ever. */
  readonly jobName: string;
  readonly jobDefinition: batch.IJobDefinition;
  readonly queue: batch.IJobQueue;
  /** Arguments of `python -m voxelburst`, plain or JSONata. */
  readonly command: string[];
  /** JSONata of the number of array children, 2 to 10,000.
   * @default - a plain job */
  readonly arraySize?: string;
  readonly attemptSeconds: number;
  readonly stateSeconds: number;
  /** @default - {} : the description of a job is too large to hand on */
  readonly outputs?: unknown;
}

export class BatchJobTask extends sfn.TaskStateBase {
  protected readonly taskMetrics = undefined;
  protected readonly taskPolicies: iam.PolicyStatement[];
  private readonly job: BatchJobTaskProps;

  constructor(scope: Construct, id: string, props: BatchJobTaskProps) {
    super(scope, id, {
      queryLanguage: sfn.QueryLanguage.JSONATA,
      taskTimeout: sfn.Timeout.duration(Duration.seconds(props.stateSeconds)),
      outputs: props.outputs ?? {},
    });
    this.job = props;
    this.taskPolicies = this.renderPolicies();
    this.addRetry(batchRetry);
  }

  /** @internal */
  protected override _renderTask(topLevelQueryLanguage?: sfn.QueryLanguage): object {
    const { jobName, jobDefinition, queue, command, arraySize, attemptSeconds } = this.job;
    return {
      Resource: `arn:${Stack.of(this).partition}:states:::batch:submitJob.sync`,
      ...this._renderParametersOrArguments(
        {
          JobName: jobName,
          JobDefinition: jobDefinition.jobDefinitionArn,
          JobQueue: queue.jobQueueArn,
          ArrayProperties: arraySize === undefined ? undefined : { Size: arraySize },
          ContainerOverrides: { Command: command },
          Timeout: { AttemptDurationSeconds: attemptSeconds },
        },
        topLevelQueryLanguage ?? sfn.QueryLanguage.JSONATA,
      ),
    };
  }

  private renderPolicies(): iam.PolicyStatement[] {
    const stack = Stack.of(this);
    const eventsRule = stack.formatArn({
      service: "events",
      resource: "rule",
      resourceName: "StepFunctionsGetEventsForBatchJobsRule",
    });
    return [
      new iam.PolicyStatement({
        actions: ["batch:SubmitJob"],
        resources: [this.job.jobDefinition.jobDefinitionArn, this.job.queue.jobQueueArn],
      }),
      // DescribeJobs has no resource-level permissions; a job's ARN is not known before it exists.
      new iam.PolicyStatement({ actions: ["batch:DescribeJobs"], resources: ["*"] }),
      new iam.PolicyStatement({
        actions: ["batch:TerminateJob"],
        resources: [stack.formatArn({ service: "batch", resource: "job", resourceName: "*" })],
      }),
      new iam.PolicyStatement({
        actions: ["events:PutTargets", "events:PutRule", "events:DescribeRule"],
        resources: [eventsRule],
      }),
    ];
  }
}
