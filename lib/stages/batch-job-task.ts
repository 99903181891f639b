// A Task state that runs a Batch job to its end. CDK's BatchSubmitJob lacks the permissions that `.sync` needs, allows
// every job definition of the account, knows no node overrides, and turns the state's timeout into the job's.
import { Stack } from "aws-cdk-lib";
import * as iam from "aws-cdk-lib/aws-iam";
import * as sfn from "aws-cdk-lib/aws-stepfunctions";
import type { Construct } from "constructs";
import { jsonata } from "../workflow/jsonata.ts";
import { jobStateSeconds } from "./limits.ts";
import { batchRetry } from "./retries.ts";
import type { RungData } from "./rung.ts";
import { CONTAINER } from "./stage-job.ts";

export interface BatchJobTaskProps {
  /** JSONata of the name, unique for ever. */
  readonly jobName: string;
  /** The rungs that the state may be given, for its permissions, and the expression of the one that it is on. */
  readonly rungs: readonly RungData[];
  readonly rung: string;
  /** Arguments of `python -m voxelburst`, plain or JSONata. */
  readonly command: string[];
  /** JSONata of the number of array children, 2 to 10,000.
   * @default - a plain job */
  readonly arraySize?: string;
  /** JSONata of the number of nodes of a multi-node job.
   * @default - a job of one */
  readonly nodes?: string;
  /** Expression of the seconds at which Batch stops an attempt. */
  readonly attemptSeconds: string;
  /** Variables that a job that is done leaves. */
  readonly assign: Record<string, string>;
}

export class BatchJobTask extends sfn.TaskStateBase {
  protected readonly taskMetrics = undefined;
  protected readonly taskPolicies: iam.PolicyStatement[];
  private readonly job: BatchJobTaskProps;

  constructor(scope: Construct, id: string, props: BatchJobTaskProps) {
    super(scope, id, {
      queryLanguage: sfn.QueryLanguage.JSONATA,
      taskTimeout: sfn.Timeout.jsonata(jsonata(jobStateSeconds(props.attemptSeconds, props.rung))),
      // The description of a job is too large to hand on.
      outputs: {},
      assign: props.assign,
    });
    this.job = props;
    this.taskPolicies = this.renderPolicies();
    this.addRetry(batchRetry);
  }

  /** @internal */
  protected override _renderTask(topLevelQueryLanguage?: sfn.QueryLanguage): object {
    const { jobName, rung, arraySize, attemptSeconds } = this.job;
    return {
      Resource: `arn:${Stack.of(this).partition}:states:::batch:submitJob.sync`,
      ...this._renderParametersOrArguments(
        {
          JobName: jobName,
          JobDefinition: jsonata(`${rung}.definition`),
          JobQueue: jsonata(`${rung}.queue`),
          ArrayProperties: arraySize === undefined ? undefined : { Size: arraySize },
          ...this.renderCommand(),
          Timeout: { AttemptDurationSeconds: jsonata(attemptSeconds) },
        },
        topLevelQueryLanguage ?? sfn.QueryLanguage.JSONATA,
      ),
    };
  }

  private renderCommand(): object {
    const { command, nodes } = this.job;
    const EcsPropertiesOverride = { TaskProperties: [{ Containers: [{ Name: CONTAINER, Command: command }] }] };
    return nodes === undefined
      ? { EcsPropertiesOverride }
      : {
          NodeOverrides: {
            NumNodes: nodes,
            NodePropertyOverrides: [{ TargetNodes: "0:", EcsPropertiesOverride }],
          },
        };
  }

  private renderPolicies(): iam.PolicyStatement[] {
    const stack = Stack.of(this);
    const eventsRule = stack.formatArn({
      service: "events",
      resource: "rule",
      resourceName: "StepFunctionsGetEventsForBatchJobsRule",
    });
    const named = this.job.rungs.flatMap(({ queue, definition }) => [queue, definition]);
    const submittable = [...new Set(named.filter((arn) => arn !== undefined))];
    return [
      ...(submittable.length > 0
        ? [new iam.PolicyStatement({ actions: ["batch:SubmitJob"], resources: submittable })]
        : []),
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
