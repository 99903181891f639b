// An alarm that a person can act on: it has a heading of its own in docs/runbook.md and tells a topic.
import type { Duration } from "aws-cdk-lib";
import * as cloudwatch from "aws-cdk-lib/aws-cloudwatch";
import * as actions from "aws-cdk-lib/aws-cloudwatch-actions";
import type * as sns from "aws-cdk-lib/aws-sns";
import type { Construct } from "constructs";

export interface RunbookAlarmProps {
  /** One sentence: what has happened when it goes off. */
  readonly meaning: string;
  readonly metric: cloudwatch.IMetric;
  readonly threshold: number;
  /** @default - at or above the threshold */
  readonly comparison?: cloudwatch.ComparisonOperator;
  /** Periods of the metric that are looked at.
   * @default 1 */
  readonly periods?: number;
  /** So many of them have to breach.
   * @default - all */
  readonly breaching?: number;
  /** @default - notBreaching: silence is health */
  readonly missingData?: cloudwatch.TreatMissingData;
  readonly topic: sns.ITopic;
}

/**
 * Where the runbook says what to do: a path and no URL, since nobody knows where a team keeps its copy. The heading of an
 * alarm is its construct's id; Markdown's anchor is that in lower case.
 */
const runbook = (id: string): string =>
  `Runbook: docs/runbook.md#${id.toLowerCase()} in the repository that voxelburst was deployed from.`;

export class RunbookAlarm extends cloudwatch.Alarm {
  constructor(scope: Construct, id: string, props: RunbookAlarmProps) {
    super(scope, id, {
      alarmDescription: `${props.meaning} ${runbook(id)}`,
      metric: props.metric,
      threshold: props.threshold,
      comparisonOperator: props.comparison ?? cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
      evaluationPeriods: props.periods ?? 1,
      ...(props.breaching === undefined ? {} : { datapointsToAlarm: props.breaching }),
      treatMissingData: props.missingData ?? cloudwatch.TreatMissingData.NOT_BREACHING,
    });
    const action = new actions.SnsAction(props.topic);
    this.addAlarmAction(action);
    // Whoever was woken wants to know that it is over.
    this.addOkAction(action);
  }
}

/** Messages that nobody could deliver or handle: a dead-letter queue that is not empty. */
export const deadLetters = (
  queue: { metricApproximateNumberOfMessagesVisible(options?: cloudwatch.MetricOptions): cloudwatch.Metric },
  period: Duration,
): cloudwatch.Metric => queue.metricApproximateNumberOfMessagesVisible({ period, statistic: "Maximum" });
