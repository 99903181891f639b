// What a function may do with jobs: find them, stop them, see when they last said something.
import { ArnFormat, Stack } from "aws-cdk-lib";
import * as iam from "aws-cdk-lib/aws-iam";
import type * as logs from "aws-cdk-lib/aws-logs";
import { SAGEMAKER_LOGS } from "../contracts/sagemaker-logs.ts";
import { acknowledgeWildcards } from "./acknowledge.ts";

const WHY_LISTS = "the service has no resources for its lists, and none that are known before a job exists";
const WHY_JOBS = "a job gets its name and id after the deployment";

/** Jobs are found by name, described and stopped: all that settling a reservation takes. */
export function allowJobs(role: iam.Role): void {
  const stack = Stack.of(role);
  const arn = (service: string, resource: string, resourceName: string) =>
    stack.formatArn({ service, resource, resourceName });
  const allow = (actions: string[], resources: string[]) =>
    role.addToPolicy(new iam.PolicyStatement({ actions, resources }));
  allow(["batch:ListJobs", "batch:DescribeJobs"], ["*"]);
  // Not narrowed by a tag: whether an array's children carry their parent's is not documented, and a guard that cannot
  // stop a job is worse than one that could stop another team's.
  allow(["batch:TerminateJob"], [arn("batch", "job", "*")]);
  allow(["sagemaker:ListTrainingJobs", "sagemaker:ListTransformJobs"], ["*"]);
  // Names that the state machine gives: other teams' trainings are not stopped from here.
  allow(["sagemaker:DescribeTrainingJob", "sagemaker:StopTrainingJob"], [arn("sagemaker", "training-job", "train-*")]);
  allow(
    ["sagemaker:DescribeTransformJob", "sagemaker:StopTransformJob"],
    [arn("sagemaker", "transform-job", "infer-*")],
  );
  acknowledgeWildcards(role, [
    ["*", WHY_LISTS],
    [/:(job|training-job|transform-job)\//, WHY_JOBS],
  ]);
}

/** When a job wrote its last line, in the log group of Batch's jobs or in SageMaker's own. */
export function allowLastLines(role: iam.Role, jobLogs: logs.ILogGroup): void {
  const stack = Stack.of(role);
  const sageMakers = Object.values(SAGEMAKER_LOGS).map((resourceName) =>
    stack.formatArn({
      service: "logs",
      resource: "log-group",
      resourceName,
      arnFormat: ArnFormat.COLON_RESOURCE_NAME,
    }),
  );
  role.addToPolicy(
    new iam.PolicyStatement({
      actions: ["logs:GetLogEvents"],
      resources: [jobLogs.logGroupArn, ...sageMakers.map((group) => `${group}:log-stream:*`)],
    }),
  );
  role.addToPolicy(
    new iam.PolicyStatement({
      actions: ["logs:DescribeLogStreams"],
      resources: sageMakers.map((group) => `${group}:*`),
    }),
  );
  acknowledgeWildcards(role, [
    [/log-stream:\*$|(Training|Transform)Jobs:\*$/, WHY_JOBS],
    [/Logs/, "a job's log stream gets its name with the job"],
  ]);
}
