// What tells people that something is wrong: alarms, each with its heading in docs/runbook.md, and who may send them.
import { Aws, Duration } from "aws-cdk-lib";
import * as cloudwatch from "aws-cdk-lib/aws-cloudwatch";
import type * as codebuild from "aws-cdk-lib/aws-codebuild";
import * as iam from "aws-cdk-lib/aws-iam";
import type * as lambda from "aws-cdk-lib/aws-lambda";
import type * as sns from "aws-cdk-lib/aws-sns";
import type * as sqs from "aws-cdk-lib/aws-sqs";
import type * as sfn from "aws-cdk-lib/aws-stepfunctions";
import { Construct } from "constructs";
import { NIGHTLY_METRICS, REGRESSION } from "../contracts/night.ts";
import { deadLetters, RunbookAlarm, type RunbookAlarmProps } from "./runbook-alarm.ts";

export interface ObservabilityProps {
  readonly stateMachine: sfn.IStateMachine;
  /** Every function, by its verb. */
  readonly functions: Readonly<Record<string, lambda.IFunction>>;
  /** Events of uploads that never reached start-run. */
  readonly undelivered: sqs.IQueue;
  /** Events that start-run failed on three times. */
  readonly failed: sqs.IQueue;
  /** Nights that never reached start-run.
   * @default - no schedule, and no alarms about it */
  readonly nightlyUndelivered?: sqs.IQueue;
  /** The function that stops jobs past the cap or without progress; it runs every few minutes.
   * @default - none */
  readonly guard?: lambda.IFunction;
  /** What builds the container image.
   * @default - the image comes from elsewhere */
  readonly imageBuild?: codebuild.IProject;
  /** Encrypted: its key's policy (storage.ts) admits CloudWatch too. */
  readonly topic: sns.Topic;
}

/** A night's measures have no function of their own to ask for metrics: report writes them into its log. */
export const nightlyMetric = (
  name: keyof Omit<typeof NIGHTLY_METRICS, "namespace" | "service">,
  options: cloudwatch.MetricOptions,
): cloudwatch.Metric =>
  new cloudwatch.Metric({
    namespace: NIGHTLY_METRICS.namespace,
    metricName: NIGHTLY_METRICS[name],
    dimensionsMap: { service: NIGHTLY_METRICS.service },
    ...options,
  });

const FIVE_MINUTES = Duration.minutes(5);

export class Observability extends Construct {
  readonly alarms: RunbookAlarm[] = [];
  private readonly props: ObservabilityProps;

  constructor(scope: Construct, id: string, props: ObservabilityProps) {
    super(scope, id);
    this.props = props;
    this.letAlarmsPublish();
    this.addRunAlarms();
    if (props.guard) this.addGuardAlarms(props.guard);
    if (props.imageBuild) this.addImageAlarm(props.imageBuild);
    if (props.nightlyUndelivered) this.addNightlyAlarms(props.nightlyUndelivered);
  }

  private add(id: string, props: Omit<RunbookAlarmProps, "topic">): void {
    this.alarms.push(new RunbookAlarm(this, id, { ...props, topic: this.props.topic }));
  }

  private addRunAlarms(): void {
    const { stateMachine, functions, undelivered, failed } = this.props;
    const sum = { period: FIVE_MINUTES, statistic: "Sum" };
    this.add("RunFailed", {
      meaning: "A run failed or ran out of its time.",
      metric: sumOfSparse("runs failed or timed out", {
        failed: stateMachine.metricFailed(sum),
        timedOut: stateMachine.metricTimedOut(sum),
      }),
      threshold: 1,
      ...despiteDelay(1),
    });
    this.add("UploadUndelivered", {
      meaning: "The event of an uploaded dataset.json did not reach start-run for a day.",
      metric: deadLetters(undelivered, FIVE_MINUTES),
      threshold: 1,
    });
    this.add("StartFailed", {
      meaning: "start-run failed three times on the event of an upload or of a night: no run was started.",
      metric: deadLetters(failed, FIVE_MINUTES),
      threshold: 1,
    });
    this.add("FunctionsThrottled", {
      meaning: "Lambda refused calls of a function for want of concurrency.",
      metric: sumOfSparse(
        "calls throttled",
        Object.fromEntries(
          Object.entries(functions).map(([verb, each]) => [metricId(verb), each.metricThrottles(sum)]),
        ),
      ),
      threshold: 1,
      ...despiteDelay(3), // Step Functions and EventBridge try again: what lasts needs a person
    });
  }

  /** Without the guard nothing stops a job past its cap but the service's own time limits. */
  private addGuardAlarms(guard: lambda.IFunction): void {
    this.add("GuardFailing", {
      meaning: "The cost guard failed twice in a row: jobs past their cap or without progress are not stopped.",
      metric: guard.metricErrors({ period: Duration.minutes(15), statistic: "Sum" }),
      threshold: 1,
      periods: 2,
    });
    this.add("GuardSilent", {
      meaning: "The cost guard has not run for an hour.",
      metric: guard.metricInvocations({ period: Duration.minutes(30), statistic: "Sum" }),
      threshold: 1,
      comparison: cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
      periods: 2,
      missingData: cloudwatch.TreatMissingData.BREACHING,
    });
  }

  /** Nothing waits for a build: without the alarm, a failed one would first be seen by jobs that cannot pull. */
  private addImageAlarm(project: codebuild.IProject): void {
    this.add("ImageBuildFailed", {
      meaning: "A build of the container image failed: jobs of this version cannot pull it.",
      metric: project.metricFailedBuilds({ period: FIVE_MINUTES, statistic: "Sum" }),
      threshold: 1,
    });
  }

  /** A night is one value: between nights there is none, and the alarm stays as that night left it. */
  private addNightlyAlarms(undelivered: sqs.IQueue): void {
    const night = { period: Duration.hours(1), statistic: "Maximum" };
    const untilNextNight = { missingData: cloudwatch.TreatMissingData.IGNORE };
    this.add("NightlySlower", {
      meaning: `A row of the nightly benchmark is ${REGRESSION.speedFallPercent} % or more slower than the median of the last ${REGRESSION.baselineNights} nights.`,
      metric: nightlyMetric("speedFallPercent", night),
      threshold: REGRESSION.speedFallPercent,
      ...untilNextNight,
    });
    this.add("NightlyDiceLower", {
      meaning: `The Dice, or of a classification the AUC, of a row of the nightly benchmark is ${REGRESSION.diceFall} or more below the median of the last ${REGRESSION.baselineNights} nights.`,
      metric: nightlyMetric("diceFall", night),
      threshold: REGRESSION.diceFall,
      ...untilNextNight,
    });
    this.add("NightlyRowsMissing", {
      meaning: "A row that earlier nights of the benchmark measured was not measured.",
      metric: nightlyMetric("rowsMissing", night),
      threshold: 1,
      ...untilNextNight,
    });
    this.add("NightlyAbsent", {
      meaning: "No night of the benchmark has measured anything for 30 hours.",
      metric: nightlyMetric("rows", { period: Duration.hours(6), statistic: "Maximum" }),
      threshold: 1,
      comparison: cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
      periods: 5,
      missingData: cloudwatch.TreatMissingData.BREACHING,
    });
    this.add("NightlyUndelivered", {
      meaning: "The schedule could not hand a night's start to start-run.",
      metric: deadLetters(undelivered, FIVE_MINUTES),
      threshold: 1,
    });
  }

  /** A topic whose policy says anything (enforceSSL does) loses the default one, under which CloudWatch may publish. */
  private letAlarmsPublish(): void {
    const { topic } = this.props;
    const cloudWatch = new iam.ServicePrincipal("cloudwatch.amazonaws.com");
    const ofThisAccount = { StringEquals: { "aws:SourceAccount": Aws.ACCOUNT_ID } };
    topic.addToResourcePolicy(
      new iam.PolicyStatement({
        sid: "AlarmsPublish",
        principals: [cloudWatch],
        actions: ["sns:Publish"],
        resources: [topic.topicArn],
        conditions: ofThisAccount,
      }),
    );
  }
}

/**
 * The sum of metrics of which some say nothing while nothing happens. CloudWatch's user guide, "Using math expressions
 * with CloudWatch metrics", has a missing value count as 0 in a sum; FILL says so itself, and holds for a metric that has
 * never had a value too.
 */
const sumOfSparse = (label: string, usingMetrics: Record<string, cloudwatch.IMetric>): cloudwatch.MathExpression =>
  new cloudwatch.MathExpression({
    label,
    expression: Object.keys(usingMetrics)
      .map((id) => `FILL(${id}, 0)`)
      .join(" + "),
    usingMetrics,
    period: FIVE_MINUTES,
  });

/** FILL's own advice there: a value that comes late is 0 in the newest period, so that one period may say nothing. */
const despiteDelay = (breaching: number) => ({ breaching, periods: breaching + 1 });

/** CloudWatch takes letters, digits and underscores, the first a small letter. */
const metricId = (verb: string) => verb.replaceAll("-", "_");
