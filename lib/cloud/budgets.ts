// AWS's own view of the bill, behind the ledger: it lags by hours, so that it tells people and stops nothing.
//
// Both look at what has the tag application=voxelburst, which an account's owner activates once as a cost-allocation tag
// (docs/deploy.md): no resource of CloudFormation can. Unverified on a real account.
import { Aws } from "aws-cdk-lib";
import * as budgets from "aws-cdk-lib/aws-budgets";
import * as ce from "aws-cdk-lib/aws-ce";
import * as iam from "aws-cdk-lib/aws-iam";
import type * as sns from "aws-cdk-lib/aws-sns";
import { Construct } from "constructs";

export interface BudgetsProps {
  readonly maxUsdPerMonth: number;
  /** An organization's member account may not create a monitor of a tag: its stack would be rolled back. */
  readonly anomalyMonitor: boolean;
  /** Encrypted with a key that admits both services (storage.ts). */
  readonly notifications: sns.Topic;
}

export const COST_TAG = { key: "application", value: "voxelburst" } as const;

/** Percent of the month's cap, of the actual bill and of what AWS expects it to become. */
const NOTICES = [
  { type: "ACTUAL", percent: 80 },
  { type: "ACTUAL", percent: 100 },
  { type: "FORECASTED", percent: 100 },
];
/** Of the month's cap, what a single anomaly has to come to before people are told. */
const ANOMALY_SHARE = 0.1;

export class Budgets extends Construct {
  constructor(scope: Construct, id: string, props: BudgetsProps) {
    super(scope, id);
    const { maxUsdPerMonth, notifications } = props;
    this.letPublish("BudgetsPublish", "budgets.amazonaws.com", notifications);
    new budgets.CfnBudget(this, "Month", {
      budget: {
        budgetType: "COST",
        timeUnit: "MONTHLY",
        budgetLimit: { amount: maxUsdPerMonth, unit: "USD" },
        costFilters: { TagKeyValue: [`user:${COST_TAG.key}$${COST_TAG.value}`] },
      },
      notificationsWithSubscribers: NOTICES.map(({ type, percent }) => ({
        notification: {
          notificationType: type,
          comparisonOperator: "GREATER_THAN",
          threshold: percent,
          thresholdType: "PERCENTAGE",
        },
        subscribers: [{ subscriptionType: "SNS", address: notifications.topicArn }],
      })),
    });
    if (props.anomalyMonitor) this.watchAnomalies(props);
  }

  /** AWS's page "Getting started with AWS Cost Anomaly Detection": monitors of tags are the management account's alone. */
  private watchAnomalies({ maxUsdPerMonth, notifications }: BudgetsProps): void {
    this.letPublish("AnomaliesPublish", "costalerts.amazonaws.com", notifications);
    // A monitor of services would be the account's only one.
    const monitor = new ce.CfnAnomalyMonitor(this, "Monitor", {
      monitorName: `${Aws.STACK_NAME}-cost`,
      monitorType: "CUSTOM",
      monitorSpecification: JSON.stringify({
        Tags: { Key: COST_TAG.key, Values: [COST_TAG.value], MatchOptions: ["EQUALS"] },
      }),
    });
    new ce.CfnAnomalySubscription(this, "Anomalies", {
      subscriptionName: `${Aws.STACK_NAME}-cost`,
      frequency: "IMMEDIATE", // the only one that topics can have
      monitorArnList: [monitor.attrMonitorArn],
      subscribers: [{ type: "SNS", address: notifications.topicArn }],
      thresholdExpression: JSON.stringify({
        Dimensions: {
          Key: "ANOMALY_TOTAL_IMPACT_ABSOLUTE",
          MatchOptions: ["GREATER_THAN_OR_EQUAL"],
          Values: [String(Math.max(1, Math.round(maxUsdPerMonth * ANOMALY_SHARE)))],
        },
      }),
    });
  }

  /** AWS's pages "Creating an Amazon SNS topic for budget notifications" and "... for anomaly notifications". */
  private letPublish(sid: string, service: string, topic: sns.Topic): void {
    topic.addToResourcePolicy(
      new iam.PolicyStatement({
        sid,
        principals: [new iam.ServicePrincipal(service)],
        actions: ["sns:Publish"],
        resources: [topic.topicArn],
        conditions: { StringEquals: { "aws:SourceAccount": Aws.ACCOUNT_ID } },
      }),
    );
  }
}
