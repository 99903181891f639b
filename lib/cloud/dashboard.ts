// One page for whoever runs the platform: nights over time, runs, what waits and what is wrong.
import { Duration } from "aws-cdk-lib";
import * as cloudwatch from "aws-cdk-lib/aws-cloudwatch";
import type * as lambda from "aws-cdk-lib/aws-lambda";
import type * as sfn from "aws-cdk-lib/aws-stepfunctions";
import { Construct } from "constructs";
import { NIGHTLY_METRICS } from "../contracts/night.ts";
import { nightlyMetric } from "./observability.ts";

export interface DashboardProps {
  readonly stateMachine: sfn.IStateMachine;
  readonly functions: Readonly<Record<string, lambda.IFunction>>;
  readonly alarms: cloudwatch.IAlarm[];
  /** Whether there is a nightly benchmark to show.
   * @default false */
  readonly nightly?: boolean;
}

const HALF = 12;
const DAY = Duration.days(1);

export class Dashboard extends Construct {
  readonly dashboard: cloudwatch.Dashboard;

  constructor(scope: Construct, id: string, props: DashboardProps) {
    super(scope, id);
    this.dashboard = new cloudwatch.Dashboard(this, "Dashboard", { defaultInterval: Duration.days(30) });
    this.dashboard.addWidgets(new cloudwatch.AlarmStatusWidget({ title: "Alarms", width: 24, alarms: props.alarms }));
    if (props.nightly) this.addNights();
    this.addRuns(props);
  }

  /** Every row that a night measured is a line: a search finds those that do not exist yet. */
  private addNights(): void {
    const { namespace, volumesPerSecond, dice, auc } = NIGHTLY_METRICS;
    const search = (title: string, ...of: string[]) =>
      new cloudwatch.GraphWidget({
        title,
        width: HALF,
        height: 8,
        left: of.map(
          (metric) =>
            new cloudwatch.SearchExpression({
              expression: `SEARCH('{${namespace},dataset,row,service} MetricName="${metric}"', 'Average')`,
              period: DAY,
            }),
        ),
        leftYAxis: { showUnits: false },
      });
    this.dashboard.addWidgets(search("Nightly: volumes/s", volumesPerSecond), search("Nightly: Dice, AUC", dice, auc));
    const falls = { period: DAY, statistic: "Maximum" };
    this.dashboard.addWidgets(
      new cloudwatch.GraphWidget({
        title: "Nightly: the worst row against the median of the nights before",
        width: 24,
        left: [nightlyMetric("speedFallPercent", { ...falls, label: "volumes/s, % below" })],
        right: [nightlyMetric("diceFall", { ...falls, label: "Dice or AUC, below" })],
      }),
    );
  }

  private addRuns({ stateMachine, functions }: DashboardProps): void {
    const daily = { period: DAY, statistic: "Sum" };
    this.dashboard.addWidgets(
      new cloudwatch.GraphWidget({
        title: "Runs a day",
        width: HALF,
        left: [
          stateMachine.metricStarted({ ...daily, label: "started" }),
          stateMachine.metricSucceeded({ ...daily, label: "succeeded" }),
          stateMachine.metricFailed({ ...daily, label: "failed" }),
          stateMachine.metricTimedOut({ ...daily, label: "timed out" }),
          stateMachine.metricAborted({ ...daily, label: "cancelled" }),
        ],
      }),
      new cloudwatch.GraphWidget({
        title: "Errors of functions a day",
        width: HALF,
        left: Object.entries(functions).map(([label, each]) => each.metricErrors({ ...daily, label })),
      }),
    );
  }
}
