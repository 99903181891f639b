// What still bills, from recorded answers of CloudFormation, EC2 and SageMaker before and after `cdk destroy`.
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { stillBilling } from "../../lib/aws/bills.ts";
import { main } from "../../lib/cli/main.ts";
import { motoEnvironment } from "./moto.ts";
import { RecordedAws } from "./recorded.ts";

const cloudFormation = (action: string, body: string) =>
  `<${action}Response xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><${action}Result>${body}</${action}Result></${action}Response>`;
const ec2 = (action: string, body: string) =>
  `<${action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">${body}</${action}Response>`;

interface Resource {
  name: string;
  type: string;
  status?: string;
  kept?: boolean;
  image?: object;
}

const RESOURCES: Resource[] = [
  { name: "Data", type: "AWS::S3::Bucket", kept: true },
  { name: "Key", type: "AWS::KMS::Key", kept: true },
  { name: "Alarm", type: "AWS::CloudWatch::Alarm" },
  { name: "Role", type: "AWS::IAM::Role" },
];

let aws: RecordedAws;
beforeEach(async () => {
  aws = new RecordedAws();
  for (const [name, value] of Object.entries(motoEnvironment(await aws.start()))) vi.stubEnv(name, value);
  Object.assign(aws.answers, {
    DescribeInstances: ec2("DescribeInstances", "<reservationSet/>"),
    DescribeCapacityReservations: ec2("DescribeCapacityReservations", "<capacityReservationSet/>"),
    ListTrainingJobs: { TrainingJobSummaries: [] },
    ListTransformJobs: { TransformJobSummaries: [] },
    DescribeLogGroups: { logGroups: [] },
  });
});
afterEach(() => {
  aws.stop();
  vi.unstubAllEnvs();
});

const stackId = (stack: string, id: string) => `arn:aws:cloudformation:us-east-1:123456789012:stack/${stack}/${id}`;
const member = (stack: string, state: string, id: string) =>
  `<member><StackName>${stack}</StackName><StackId>${stackId(stack, id)}</StackId><StackStatus>${state}</StackStatus><CreationTime>2026-11-01T00:00:00Z</CreationTime>${state === "DELETE_COMPLETE" ? "<DeletionTime>2026-11-20T10:00:00Z</DeletionTime>" : ""}</member>`;
const listed = (resources: Resource[], isGone: boolean) =>
  cloudFormation(
    "ListStackResources",
    `<StackResourceSummaries>${resources
      .map(
        ({ name, type, kept }) =>
          `<member><LogicalResourceId>${name}</LogicalResourceId><PhysicalResourceId>${name.toLowerCase()}-1</PhysicalResourceId><ResourceType>${type}</ResourceType><ResourceStatus>${isGone ? (kept ? "DELETE_SKIPPED" : "DELETE_COMPLETE") : "CREATE_COMPLETE"}</ResourceStatus><LastUpdatedTimestamp>2026-11-01T00:00:00Z</LastUpdatedTimestamp></member>`,
      )
      .join("")}</StackResourceSummaries>`,
  );

/** The storage stack, as it is or as it was. */
function recordStack(status: "CREATE_COMPLETE" | "DELETE_COMPLETE", resources = RESOURCES): void {
  const isGone = status === "DELETE_COMPLETE";
  aws.answers.ListStacks = cloudFormation(
    "ListStacks",
    `<StackSummaries>${member("VoxelburstStorage", status, "1")}${member("Other", "CREATE_COMPLETE", "2")}</StackSummaries>`,
  );
  aws.answers.ListStackResources = listed(resources, isGone);
  const template = {
    Resources: Object.fromEntries(
      resources.map(({ name, type, kept, image }) => [
        name,
        { Type: type, ...(kept ? { DeletionPolicy: "Retain" } : {}), ...(image ? { Image: image } : {}) },
      ]),
    ),
  };
  aws.answers.GetTemplate = cloudFormation(
    "GetTemplate",
    `<TemplateBody>${JSON.stringify(template).replaceAll('"', "&quot;")}</TemplateBody>`,
  );
}

const named = (bills: Awaited<ReturnType<typeof stillBilling>>) => bills.map(({ id, goes }) => [id, goes]);

describe("what still bills", () => {
  test("while the stacks are there is told apart by what their templates keep", async () => {
    recordStack("CREATE_COMPLETE");
    expect(named(await stillBilling())).toEqual([
      ["data-1", false],
      ["key-1", false],
      ["alarm-1", true],
    ]);
    // Somebody else's is not looked at.
    expect(aws.inputsOf("ListStackResources")).toHaveLength(1);
  });

  test("is what each earlier deletion kept too, beside the stack that is there now", async () => {
    recordStack("CREATE_COMPLETE");
    aws.answers.ListStacks = cloudFormation(
      "ListStacks",
      `<StackSummaries>${member("VoxelburstStorage", "CREATE_COMPLETE", "3")}${member("VoxelburstStorage", "DELETE_COMPLETE", "2")}${member("VoxelburstStorage", "DELETE_COMPLETE", "1")}</StackSummaries>`,
    );
    const now: Resource[] = [{ name: "Alarm", type: "AWS::CloudWatch::Alarm" }];
    const earlier = (name: string): Resource[] => [{ name, type: "AWS::S3::Bucket", kept: true }];
    aws.answers.ListStackResources = ({ StackName }: Record<string, string>) =>
      StackName!.endsWith("/3")
        ? listed(now, false)
        : listed(earlier(StackName!.endsWith("/2") ? "Second" : "First"), true);
    const bills = await stillBilling();
    expect(named(bills)).toEqual([
      ["alarm-1", true],
      ["second-1", false],
      ["first-1", false],
    ]);
    expect(bills[2]!.why).toMatch(/deleted on 2026-11-20, if nobody has deleted it since$/);
  });

  test("is SageMaker's log groups, which no stack owns", async () => {
    aws.answers.ListStacks = cloudFormation("ListStacks", "<StackSummaries/>");
    // By prefix, another's is found too.
    aws.answers.DescribeLogGroups = ({ logGroupNamePrefix }: Record<string, string>) => ({
      logGroups: [
        ...(logGroupNamePrefix!.endsWith("TrainingJobs") ? [{ logGroupName: logGroupNamePrefix }] : []),
        { logGroupName: `${logGroupNamePrefix}-of-others` },
      ],
    });
    expect(named(await stillBilling())).toEqual([["/aws/sagemaker/TrainingJobs", false]]);
  });

  test("once they are gone is what their deletion left out", async () => {
    recordStack("DELETE_COMPLETE");
    expect(named(await stillBilling())).toEqual([
      ["data-1", false],
      ["key-1", false],
    ]);
  });

  test("outside of every stack is instances, reservations, jobs and warm pools", async () => {
    aws.answers.ListStacks = cloudFormation("ListStacks", "<StackSummaries/>");
    aws.answers.DescribeInstances = ec2(
      "DescribeInstances",
      "<reservationSet><item><instancesSet><item><instanceId>i-1</instanceId><instanceType>p5.48xlarge</instanceType><instanceState><name>running</name></instanceState></item></instancesSet></item></reservationSet>",
    );
    aws.answers.DescribeCapacityReservations = ec2(
      "DescribeCapacityReservations",
      "<capacityReservationSet><item><capacityReservationId>cr-1</capacityReservationId><instanceType>p5.48xlarge</instanceType><totalInstanceCount>2</totalInstanceCount></item></capacityReservationSet>",
    );
    aws.answers.ListTrainingJobs = ({ WarmPoolStatusEquals }: Record<string, string>) => ({
      TrainingJobSummaries: (WarmPoolStatusEquals ? ["train-warm"] : ["train-a", "somebody-elses"]).map((name) => ({
        TrainingJobName: name,
        TrainingJobArn: `arn:aws:sagemaker:us-east-1:123456789012:training-job/${name}`,
        CreationTime: 1,
        TrainingJobStatus: "InProgress",
      })),
    });
    expect(named(await stillBilling())).toEqual([
      ["i-1", true],
      ["cr-1", false],
      ["train-a", false],
      ["train-warm", false],
    ]);
    // Only instances that carry our tag.
    expect(aws.inputsOf("DescribeInstances")[0]).toMatchObject({
      "Filter.1.Name": "tag:application",
      "Filter.1.Value.1": "voxelburst",
    });
  });

  describe("in CDK's bootstrap repository", () => {
    const tag = "ab".repeat(32);
    const repository = "cdk-hnb659fds-container-assets-123456789012-us-east-1";
    // As `cdk synth` writes it into the job definition.
    const image = {
      "Fn::Sub": `\${AWS::AccountId}.dkr.ecr.\${AWS::Region}.\${AWS::URLSuffix}/cdk-hnb659fds-container-assets-\${AWS::AccountId}-\${AWS::Region}:${tag}`,
    };
    const withImage: Resource[] = [{ name: "Definition", type: "AWS::Batch::JobDefinition", image }];

    test.each(["CREATE_COMPLETE", "DELETE_COMPLETE"] as const)(
      "is the container image with its monthly price, and what else lies there (%s)",
      async (status) => {
        recordStack(status, withImage);
        aws.answers.DescribeImages = ({ nextToken }: Record<string, string>) =>
          nextToken
            ? { imageDetails: [{ imageTags: [tag], imageSizeInBytes: 21_500_000_000 }] }
            : {
                imageDetails: [{ imageTags: ["cd".repeat(32)], imageSizeInBytes: 20e9 }, { imageSizeInBytes: 1e9 }],
                nextToken: "more",
              };
        expect(await stillBilling()).toEqual([
          {
            what: "ECR image (CDK asset)",
            id: `${repository}:${tag}`,
            why: "2.15 USD a month for 21.5 GB; no stack owns it",
            goes: false,
          },
          {
            what: "ECR images (CDK assets), 2 others",
            id: repository,
            why: "2.10 USD a month for 21.0 GB; of earlier deployments, or of other CDK applications",
            goes: false,
          },
        ]);
        expect(aws.inputsOf("DescribeImages")[0]).toMatchObject({ repositoryName: repository });
      },
    );

    test("is nothing once that repository is gone", async () => {
      recordStack("DELETE_COMPLETE", withImage);
      aws.answers.DescribeImages = { __type: "RepositoryNotFoundException", message: "not there" };
      expect(await stillBilling()).toEqual([]);
    });
  });

  test("is what `destroy --verify` lists, without removing anything", async () => {
    recordStack("CREATE_COMPLETE");
    let out = "";
    const spy = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
      out += String(text);
      return true;
    });
    const code = await main(["destroy", "--verify"]).finally(() => spy.mockRestore());
    expect(code).toBe(0);
    expect(out).toMatch(/S3 Bucket +data-1 +STAYS +bills its objects/);
    expect(out).toMatch(/CloudWatch Alarm +alarm-1 +goes/);
    expect(out).toContain("2 things would still bill");
    expect(out).toContain("more than 90 days ago is not listed");
    expect(aws.calls.map(({ action }) => action).filter((action) => /Delete|Stop|Terminate/.test(action))).toEqual([]);
  });
});
