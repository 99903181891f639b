// guard on Lambda, on a schedule: ports, metrics and notices; core.ts decides.
import { Logger } from "@aws-lambda-powertools/logger";
import { injectLambdaContext } from "@aws-lambda-powertools/logger/middleware";
import { Metrics, MetricUnit } from "@aws-lambda-powertools/metrics";
import { logMetrics } from "@aws-lambda-powertools/metrics/middleware";
import { PublishCommand, SNSClient } from "@aws-sdk/client-sns";
import middy from "@middy/core";
import { environment } from "../clients/environment.ts";
import { StepFunctionsExecutions } from "../clients/executions.ts";
import { BatchRecords, JobRecords } from "../clients/job-records.ts";
import { LastLines } from "../clients/last-lines.ts";
import { ledgerFromEnvironment } from "../clients/ledger-ports.ts";
import { logErrors } from "../clients/log-errors.ts";
import { SageMakerRecords } from "../clients/sagemaker-records.ts";
import { committedOfMonth } from "../ledger/core.ts";
import { guard, type Stopped, throwIfFailed } from "./core.ts";

const logger = new Logger();
const metrics = new Metrics({ namespace: "voxelburst", serviceName: "guard" });
const sns = new SNSClient({});
const topicArn = environment("VOXELBURST_TOPIC_ARN");
const executions = new StepFunctionsExecutions(environment("VOXELBURST_STATE_MACHINE_ARN"));
const lines = new LastLines();
const ports = {
  ...ledgerFromEnvironment(),
  jobs: new JobRecords(new BatchRecords(undefined, lines), new SageMakerRecords(undefined, lines)),
  isOpen: async (runId: string) => (await executions.state(runId)) === "open",
};

const tell = ({ runId, message }: Stopped) =>
  sns.send(
    new PublishCommand({
      TopicArn: topicArn,
      Subject: `${runId} was stopped`.slice(0, 100),
      Message: `${message} The guard stopped it. The run goes on to its report.`,
    }),
  );

export const handler = middy()
  .use(injectLambdaContext(logger))
  .use(logMetrics(metrics))
  .use(logErrors(logger))
  .handler(async () => {
    const report = await guard(ports);
    for (const { name, error } of report.failed) logger.error("look failed", { reservation: name, error });
    metrics.addMetric("LooksFailed", MetricUnit.Count, report.failed.length);
    const committedUsd = await committedOfMonth(Date.now(), ports);
    metrics.addMetric("JobsStopped", MetricUnit.Count, report.stopped.length);
    metrics.addMetric("Reservations", MetricUnit.Count, report.held);
    metrics.addMetric("CommittedUsdOfMonth", MetricUnit.NoUnit, committedUsd);
    const { stopped, settled, held } = report;
    logger.info("looked", { stopped, settled, held, committedUsd });
    for (const each of stopped) await tell(each);
    throwIfFailed(report);
    return { stopped, settled, held };
  });
