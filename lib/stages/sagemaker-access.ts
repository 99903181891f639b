// What the state machine and SageMaker's execution roles may do.
import { ArnFormat, Stack } from "aws-cdk-lib";
import * as iam from "aws-cdk-lib/aws-iam";
import type * as kms from "aws-cdk-lib/aws-kms";
import type { Construct } from "constructs";
import { acknowledgeWildcards } from "../cloud/acknowledge.ts";
import { SAGEMAKER_LOGS } from "../contracts/sagemaker-logs.ts";

/** Verbs of a kind of job, and the rule by which Step Functions hears of its end. */
const KINDS = {
  "training-job": { noun: "TrainingJob", rule: "StepFunctionsGetEventsForSageMakerTrainingJobsRule" },
  "transform-job": { noun: "TransformJob", rule: "StepFunctionsGetEventsForSageMakerTransformJobsRule" },
} as const;

export const passRole = (role: iam.IRole): iam.PolicyStatement =>
  new iam.PolicyStatement({
    actions: ["iam:PassRole"],
    resources: [role.roleArn],
    conditions: { StringEquals: { "iam:PassedToService": "sagemaker.amazonaws.com" } },
  });

/**
 * What `.sync` needs: Step Functions' page "Integrating SageMaker".
 *
 * @param role - passed on to the job; a transform job has its model's
 * @param plans - ARNs of training plans that jobs may use, with the capacity behind them: SageMaker's page "IAM for
 *   SageMaker training plans"
 */
export function jobPolicies(
  scope: Construct,
  kind: keyof typeof KINDS,
  jobNamePrefix: string,
  role?: iam.IRole,
  plans: readonly string[] = [],
): iam.PolicyStatement[] {
  const stack = Stack.of(scope);
  const { noun, rule } = KINDS[kind];
  return [
    new iam.PolicyStatement({
      actions: [
        `sagemaker:Create${noun}`,
        `sagemaker:Describe${noun}`,
        `sagemaker:Stop${noun}`,
        "sagemaker:AddTags",
        "sagemaker:ListTags",
      ],
      resources: [stack.formatArn({ service: "sagemaker", resource: kind, resourceName: `${jobNamePrefix}*` })],
    }),
    ...(plans.length > 0
      ? [
          new iam.PolicyStatement({
            actions: [`sagemaker:Create${noun}`],
            resources: [
              ...plans,
              stack.formatArn({ service: "sagemaker", resource: "reserved-capacity", resourceName: "*" }),
            ],
          }),
        ]
      : []),
    ...(role ? [passRole(role)] : []),
    new iam.PolicyStatement({
      actions: ["events:PutTargets", "events:PutRule", "events:DescribeRule"],
      resources: [stack.formatArn({ service: "events", resource: "rule", resourceName: rule })],
    }),
  ];
}

/**
 * SageMaker's pages "CreateTrainingJob API: execution role permissions" and "CreateModel API: execution role
 * permissions", less what names a bucket or a repository.
 *
 * @param outputKey - what the job's output configuration names
 */
export function allowService(role: iam.Role, kind: keyof typeof SAGEMAKER_LOGS, outputKey: kms.IKey): void {
  const stack = Stack.of(role);
  const allow = (actions: string[], resources: string[], conditions?: Record<string, unknown>) =>
    role.addToPolicy(new iam.PolicyStatement({ actions, resources, ...(conditions ? { conditions } : {}) }));
  const namespace = SAGEMAKER_LOGS[kind];
  const logGroups = stack.formatArn({
    service: "logs",
    resource: "log-group",
    resourceName: `${namespace}*`,
    arnFormat: ArnFormat.COLON_RESOURCE_NAME,
  });
  allow(["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"], [logGroups]);
  // The service has no resources; the namespace narrows it.
  allow(["cloudwatch:PutMetricData"], ["*"], { StringEquals: { "cloudwatch:namespace": namespace } });
  // In a VPC, SageMaker makes a network interface for each instance with the rights of this role.
  const all = (resource: string) => stack.formatArn({ service: "ec2", resource, resourceName: "*" });
  allow(["ec2:CreateNetworkInterface"], ["network-interface", "subnet", "security-group"].map(all));
  allow(
    ["ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface", "ec2:DeleteNetworkInterfacePermission"],
    [all("network-interface")],
  );
  allow(["kms:Encrypt"], [outputKey.keyArn]);
  // These have no resource-level permissions.
  allow(
    [
      "ec2:DescribeNetworkInterfaces",
      "ec2:DescribeVpcs",
      "ec2:DescribeDhcpOptions",
      "ec2:DescribeSubnets",
      "ec2:DescribeSecurityGroups",
    ],
    ["*"],
  );
  acknowledgeWildcards(role, [
    ["*", "metrics and EC2's descriptions have no resources"],
    [logGroups, "SageMaker names its log groups after the jobs"],
    [
      /:ec2:.*:(network-interface|subnet|security-group)\/\*$/,
      "SageMaker makes interfaces in subnets that each job names",
    ],
  ]);
}
