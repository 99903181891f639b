// The guard: every few minutes it stops jobs that cost more than was reserved, that nobody waits for, or that stall.
import { Duration } from "aws-cdk-lib";
import * as events from "aws-cdk-lib/aws-events";
import * as targets from "aws-cdk-lib/aws-events-targets";
import * as iam from "aws-cdk-lib/aws-iam";
import type * as kms from "aws-cdk-lib/aws-kms";
import type * as logs from "aws-cdk-lib/aws-logs";
import type * as sns from "aws-cdk-lib/aws-sns";
import type * as sfn from "aws-cdk-lib/aws-stepfunctions";
import { Construct } from "constructs";
import { GUARD_INTERVAL_MINUTES } from "../contracts/ledger.ts";
import { acknowledgeWildcards } from "./acknowledge.ts";
import { BundledFunction } from "./bundled-function.ts";
import { allowJobs, allowLastLines } from "./job-access.ts";
import type { Ledger } from "./ledger.ts";

export interface CostGuardProps {
  readonly ledger: Ledger;
  readonly stateMachine: sfn.StateMachine;
  /** Told of every job that is stopped. */
  readonly notifications: sns.ITopic;
  /** Of the topic. */
  readonly encryptionKey: kms.IKey;
  /** Where Batch's jobs write their lines. */
  readonly jobLogs: logs.ILogGroup;
}

export class CostGuard extends Construct {
  readonly function: BundledFunction;

  constructor(scope: Construct, id: string, props: CostGuardProps) {
    super(scope, id);
    const { ledger, stateMachine, notifications } = props;
    this.function = new BundledFunction(this, "Function", {
      verb: "guard",
      description: "voxelburst guard: stops jobs past their reservation or without progress",
      // An array of thousands is described a hundred children at a time.
      timeoutSeconds: GUARD_INTERVAL_MINUTES * 60,
      whyNoDeadLetters:
        "a look that failed is not looked at again: the next one is minutes away, and an alarm tells of it",
      memoryMiB: 512,
      environment: {
        VOXELBURST_LEDGER: ledger.settings,
        VOXELBURST_STATE_MACHINE_ARN: stateMachine.stateMachineArn,
        VOXELBURST_TOPIC_ARN: notifications.topicArn,
      },
    });
    // A look that failed is not repeated: the next one is minutes away. Lambda would try it twice again, and the rule,
    // where Lambda does not take it, for a day. Observability has the alarm.
    this.function.configureAsyncInvoke({ retryAttempts: 0 });
    const role = this.function.role as iam.Role;
    ledger.allowHoldAndSettle(role);
    allowJobs(role);
    allowLastLines(role, props.jobLogs);
    stateMachine.grantExecution(role, "states:DescribeExecution");
    acknowledgeWildcards(role, [[/:execution:/, "an execution gets its name after the deployment"]]);
    role.addToPolicy(new iam.PolicyStatement({ actions: ["sns:Publish"], resources: [notifications.topicArn] }));
    role.addToPolicy(
      new iam.PolicyStatement({
        actions: ["kms:Decrypt", "kms:GenerateDataKey"],
        resources: [props.encryptionKey.keyArn],
      }),
    );
    new events.Rule(this, "Rule", {
      description: "Looks at every reservation of the ledger",
      schedule: events.Schedule.rate(Duration.minutes(GUARD_INTERVAL_MINUTES)),
      targets: [new targets.LambdaFunction(this.function, { retryAttempts: 0 })],
    });
  }
}
