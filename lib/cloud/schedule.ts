// The nightly benchmark: EventBridge Scheduler asks start-run for a run of the reference dataset, with a nonce.
import { Duration, TimeZone } from "aws-cdk-lib";
import * as iam from "aws-cdk-lib/aws-iam";
import type * as kms from "aws-cdk-lib/aws-kms";
import type * as lambda from "aws-cdk-lib/aws-lambda";
import * as scheduler from "aws-cdk-lib/aws-scheduler";
import * as targets from "aws-cdk-lib/aws-scheduler-targets";
import type * as sqs from "aws-cdk-lib/aws-sqs";
import { Construct } from "constructs";
import type { Deployment } from "../contracts/deployment.ts";
import { NIGHTLY_SOURCE } from "../contracts/night.ts";
import { acknowledgeWildcards } from "./acknowledge.ts";
import { deadLetterQueue } from "./dead-letter-queue.ts";

export interface NightlyScheduleProps {
  readonly schedule: NonNullable<Deployment["schedule"]>;
  /** The function of start-run: uploads and nights begin at the same place, under the same caps. */
  readonly startRun: lambda.IFunction;
  /** Of what the schedule hands on. */
  readonly encryptionKey: kms.IKey;
}

/** A night that could not be started for six hours is left out: it would run into the day. */
const MAX_AGE = Duration.hours(6);

export class NightlySchedule extends Construct {
  readonly undelivered: sqs.Queue;

  constructor(scope: Construct, id: string, props: NightlyScheduleProps) {
    super(scope, id);
    const { cron, timeZone, dataset, recipe } = props.schedule;
    this.undelivered = deadLetterQueue(this, "Undelivered");
    const role = new iam.Role(this, "Role", {
      assumedBy: new iam.ServicePrincipal("scheduler.amazonaws.com"),
      description: "What the schedule may do: call start-run",
    });
    // What the schedule hands on is encrypted (Scheduler, "Encryption at rest").
    role.addToPolicy(new iam.PolicyStatement({ actions: ["kms:Decrypt"], resources: [props.encryptionKey.keyArn] }));
    acknowledgeWildcards(role, [[/Arn>:\*$/, "CDK lets a function be called in any version; it has one"]]);
    new scheduler.Schedule(this, "Schedule", {
      description: `The benchmark ladder on ${dataset}`,
      schedule: scheduler.ScheduleExpression.expression(cron, TimeZone.of(timeZone)),
      timeWindow: scheduler.TimeWindow.off(),
      key: props.encryptionKey,
      target: new targets.LambdaInvoke(props.startRun, {
        role,
        // Delivered at least once: the scheduled time is the nonce, so that a repeated delivery names the same run.
        input: scheduler.ScheduleTargetInput.fromObject({
          source: NIGHTLY_SOURCE,
          dataset,
          night: scheduler.ContextAttribute.scheduledTime,
          recipe,
        }),
        deadLetterQueue: this.undelivered,
        maxEventAge: MAX_AGE,
        retryAttempts: 10,
      }),
    });
  }
}
