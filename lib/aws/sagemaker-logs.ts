// SageMaker's own log groups: the service makes them, one an account, so that no template of ours may own them and give
// them what lib/cloud/log-groups.ts gives the app's. Batch's /aws/batch/job gets nothing: every job definition names the
// app's group.
import { CloudWatchLogsClient, DescribeLogGroupsCommand, type LogGroup } from "@aws-sdk/client-cloudwatch-logs";
import type { Deployment } from "../contracts/deployment.ts";
import { SAGEMAKER_LOGS } from "../contracts/sagemaker-logs.ts";
import { type Check, ok, warn } from "./check.ts";

/** @returns undefined while there is none of exactly that name */
export async function findLogGroup(client: CloudWatchLogsClient, name: string): Promise<LogGroup | undefined> {
  const { logGroups = [] } = await client.send(new DescribeLogGroupsCommand({ logGroupNamePrefix: name }));
  return logGroups.find(({ logGroupName }) => logGroupName === name);
}

export async function sageMakerLogChecks(
  config: Deployment,
  client: CloudWatchLogsClient = new CloudWatchLogsClient({}),
): Promise<Check[]> {
  const { training, transform, retention, keys } = config;
  const groups = [
    ...(training.backend === "sagemaker" ? [SAGEMAKER_LOGS.training] : []),
    ...(transform.enabled ? [SAGEMAKER_LOGS.transform] : []),
  ];
  const checks: Check[] = [];
  for (const group of groups) {
    const found = await findLogGroup(client, group);
    const name = `log group ${group}`;
    const aws = (command: string, options: string) => `\`aws logs ${command} --log-group-name ${group} ${options}\``;
    const key = `--kms-key-id ${keys.logKeyArn ?? '<ARN of the key "voxelburst: log groups">'}`;
    const keep = aws("put-retention-policy", `--retention-in-days ${retention.logDays}`);
    if (!found) {
      const remedy = `SageMaker makes it with its first job, with neither: before that, ${aws("create-log-group", key)} and ${keep}.`;
      checks.push(warn(name, "not there yet: no key, no retention", remedy));
      continue;
    }
    const lacks = [
      !found.kmsKeyId && { what: "no key", remedy: aws("associate-kms-key", key) },
      !found.retentionInDays && { what: "no retention", remedy: keep },
    ].filter((one) => one !== false);
    checks.push(
      lacks.length > 0
        ? warn(name, lacks.map(({ what }) => what).join(", "), `${lacks.map(({ remedy }) => remedy).join(" and ")}.`)
        : ok(name, `kept ${found.retentionInDays} days, encrypted with ${found.kmsKeyId}`),
    );
  }
  return checks;
}
