// What an account has to have by itself, as moto answers for one: the role of Spot, and SageMaker's own log groups.
import {
  CloudWatchLogsClient,
  CreateLogGroupCommand,
  DeleteLogGroupCommand,
  PutRetentionPolicyCommand,
} from "@aws-sdk/client-cloudwatch-logs";
import { CreateRoleCommand, IAMClient } from "@aws-sdk/client-iam";
import { afterEach, describe, expect, test, vi } from "vitest";
import { look } from "../../lib/aws/check.ts";
import { sageMakerLogChecks } from "../../lib/aws/sagemaker-logs.ts";
import { spotRoleChecks } from "../../lib/aws/service-roles.ts";
import { volumeKeyChecks } from "../../lib/aws/volume-key.ts";
import { type DeploymentInput, deployment } from "../../lib/contracts/index.ts";
import { useMoto } from "./moto.ts";
import { RecordedAws } from "./recorded.ts";

useMoto();

describe("the role of Spot", () => {
  test("is missed in an account that never used Spot, with the command that makes it, and then found", async () => {
    const [missing] = await spotRoleChecks();
    expect(missing).toMatchObject({
      state: "warning",
      found: "the account has no AWSServiceRoleForEC2Spot",
      remedy: expect.stringContaining("`aws iam create-service-linked-role --aws-service-name spot.amazonaws.com`"),
    });
    // Not by CreateServiceLinkedRole, for which moto makes a role of another name.
    await new IAMClient({}).send(
      new CreateRoleCommand({
        RoleName: "AWSServiceRoleForEC2Spot",
        Path: "/aws-service-role/spot.amazonaws.com/",
        AssumeRolePolicyDocument: JSON.stringify({
          Version: "2012-10-17",
          Statement: [{ Effect: "Allow", Principal: { Service: "spot.amazonaws.com" }, Action: "sts:AssumeRole" }],
        }),
      }),
    );
    expect(await spotRoleChecks()).toEqual([{ name: "Spot role", state: "ok", found: "AWSServiceRoleForEC2Spot" }]);
  });

  test("that may not be looked at is said so, and not taken for missing", async () => {
    const aws = new RecordedAws();
    vi.stubEnv("AWS_ENDPOINT_URL_IAM", await aws.start());
    aws.answers.GetRole = { __type: "AccessDenied", message: "not authorized to perform: iam:GetRole" };
    const [check] = await look("Spot role", () => spotRoleChecks());
    expect(check).toMatchObject({ state: "warning", found: expect.stringContaining("iam:GetRole") });
    expect(check?.remedy).not.toContain("create-service-linked-role");
    aws.stop();
  });
});

describe("the key of the instances' volumes", () => {
  // moto cannot be asked for it.
  const checkOf = async (key: string) => {
    const aws = new RecordedAws();
    vi.stubEnv("AWS_ENDPOINT_URL_EC2", await aws.start());
    aws.answers.GetEbsDefaultKmsKeyId = `<GetEbsDefaultKmsKeyIdResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><kmsKeyId>${key}</kmsKeyId></GetEbsDefaultKmsKeyIdResponse>`;
    try {
      return (await volumeKeyChecks("123456789012"))[0];
    } finally {
      aws.stop();
    }
  };

  test.each(["alias/aws/ebs", "arn:aws:kms:us-east-1:123456789012:alias/aws/ebs"])("is AWS's own: %s", async (key) => {
    expect(await checkOf(key)).toMatchObject({ state: "ok" });
  });

  test.each(["arn:aws:kms:us-east-1:123456789012:key/1234abcd", "alias/company/aws/ebs"])(
    "is a customer's, which the roles that start instances may not use by themselves: %s",
    async (key) => {
      const check = await checkOf(key);
      expect(check).toMatchObject({ state: "warning", found: expect.stringContaining(key) });
      expect(check?.remedy).toContain(
        `aws kms create-grant --key-id ${key} --grantee-principal arn:aws:iam::123456789012:`,
      );
      expect(check?.remedy).toMatch(/AWSServiceRoleForAutoScaling .*CreateGrant`.*AWSServiceRoleForEC2Spot/);
    },
  );
});

describe("SageMaker's own log groups", () => {
  const TRAINING = "/aws/sagemaker/TrainingJobs";
  const TRANSFORM = "/aws/sagemaker/TransformJobs";
  const KEY = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
  const checksOf = (input: DeploymentInput) => sageMakerLogChecks(deployment.parse(input));
  const logs = () => new CloudWatchLogsClient({});
  afterEach(async () => {
    for (const logGroupName of [TRAINING, TRANSFORM])
      await logs()
        .send(new DeleteLogGroupCommand({ logGroupName }))
        .catch(() => undefined);
  });

  test("are those of the jobs that the deployment asks SageMaker for", async () => {
    const names = async (input: DeploymentInput) => (await checksOf(input)).map(({ name }) => name);
    const fleets = [{ rung: "on-demand", instanceType: "g5.4xlarge" }] as const;
    expect(await names({})).toEqual([`log group ${TRAINING}`]);
    expect(await names({ transform: { enabled: true } })).toEqual([`log group ${TRAINING}`, `log group ${TRANSFORM}`]);
    expect(await names({ fleets: [...fleets], training: { backend: "batch" } })).toEqual([]);
  });

  test("are to be made before SageMaker makes them, with our key and retention", async () => {
    const [check] = await checksOf({ keys: { logKeyArn: KEY }, retention: { logDays: 90 } });
    expect(check).toMatchObject({ state: "warning", found: expect.stringContaining("not there yet") });
    expect(check?.remedy).toContain(`\`aws logs create-log-group --log-group-name ${TRAINING} --kms-key-id ${KEY}\``);
    expect(check?.remedy).toContain(
      `\`aws logs put-retention-policy --log-group-name ${TRAINING} --retention-in-days 90\``,
    );
  });

  test("without key or retention are a warning with what they lack, and good with both", async () => {
    const transform = { transform: { enabled: true } };
    // A group whose name only begins so is another's.
    await logs().send(new CreateLogGroupCommand({ logGroupName: `${TRAINING}-of-others`, kmsKeyId: KEY }));
    await logs().send(new CreateLogGroupCommand({ logGroupName: TRAINING }));
    await logs().send(new CreateLogGroupCommand({ logGroupName: TRANSFORM, kmsKeyId: KEY }));
    const [training, transforms] = await checksOf(transform);
    expect(training).toMatchObject({ state: "warning", found: "no key, no retention" });
    expect(training?.remedy).toMatch(/associate-kms-key .*voxelburst: log groups.* put-retention-policy .* 365`\.$/);
    expect(transforms).toMatchObject({ state: "warning", found: "no retention" });
    expect(transforms?.remedy).not.toContain("kms");

    // moto knows no AssociateKmsKey.
    await logs().send(new DeleteLogGroupCommand({ logGroupName: TRAINING }));
    await logs().send(new CreateLogGroupCommand({ logGroupName: TRAINING, kmsKeyId: KEY }));
    for (const logGroupName of [TRAINING, TRANSFORM])
      await logs().send(new PutRetentionPolicyCommand({ logGroupName, retentionInDays: 30 }));
    for (const check of await checksOf(transform))
      expect(check).toMatchObject({ state: "ok", found: `kept 30 days, encrypted with ${KEY}` });
  });
});
