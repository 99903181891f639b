// Buckets, keys and logs: what a deployment may choose of them, and who may use them.
import { readFileSync } from "node:fs";
import { App, Stack } from "aws-cdk-lib";
import { Match, Template } from "aws-cdk-lib/assertions";
import * as logs from "aws-cdk-lib/aws-logs";
import { describe, expect, it } from "vitest";
import { keepLogs } from "../../lib/cloud/log-groups.ts";
import { Notifications } from "../../lib/cloud/notifications.ts";
import { Storage } from "../../lib/cloud/storage.ts";
import { type DeploymentInput, deployment } from "../../lib/contracts/deployment.ts";

const { context } = JSON.parse(readFileSync(new URL("../../cdk.json", import.meta.url), "utf8"));
context["@aws-cdk/core:validateAgainstDefaultRules"] = false; // test/synth has CDK validate whole apps

function storageOf(input: DeploymentInput): Template {
  const config = deployment.parse(input);
  const app = new App({ context });
  const stack = new Stack(app, "Storage");
  const { key, logKey } = new Storage(stack, "Storage", { deployment: config });
  new Notifications(stack, "Notifications", { encryptionKey: key, targets: config.notifications });
  new logs.LogGroup(stack, "Group", { retention: logs.RetentionDays.ONE_DAY });
  keepLogs(app, logKey, config);
  return Template.fromStack(stack);
}

const KEYS = {
  dataKeyArn: "arn:aws:kms:us-east-1:111122223333:key/11111111-2222-3333-4444-555555555555",
  logKeyArn: "arn:aws:kms:us-east-1:111122223333:key/11111111-2222-3333-4444-666666666666",
};

describe("the artefacts bucket", () => {
  it("expires what later runs can make again, and keeps models, engines and what belongs to a run", () => {
    const template = storageOf({ retention: { outputDays: 12, noncurrentDays: 34 } });
    const [artefacts] = Object.entries(template.findResources("AWS::S3::Bucket")).filter(([id]) =>
      id.startsWith("StorageArtefacts"),
    );
    const rules = artefacts![1].Properties.LifecycleConfiguration.Rules as Record<string, unknown>[];
    const expiring = rules.filter(({ ExpirationInDays }) => ExpirationInDays !== undefined);
    expect(expiring.map(({ Prefix, ExpirationInDays }) => [Prefix, ExpirationInDays])).toEqual([
      ["ingest/", 12],
      ["preprocess/", 12],
      ["infer/", 12],
    ]);
    expect(rules).toContainEqual(
      expect.objectContaining({
        NoncurrentVersionExpiration: { NoncurrentDays: 34 },
        AbortIncompleteMultipartUpload: { DaysAfterInitiation: 7 },
      }),
    );
  });
});

describe("access logs", () => {
  it("go to a bucket with S3's own keys, which is the only kind that S3 delivers to, and expire", () => {
    const template = storageOf({ retention: { accessLogDays: 77 } });
    const buckets = Object.entries(template.findResources("AWS::S3::Bucket"));
    const [id, { Properties }] = buckets.find(([name]) => name.startsWith("StorageAccessLogs"))!;
    const [rule] = Properties.BucketEncryption.ServerSideEncryptionConfiguration;
    expect(rule.ServerSideEncryptionByDefault.SSEAlgorithm).toBe("AES256");
    expect(Properties.LifecycleConfiguration.Rules[0].ExpirationInDays).toBe(77);
    for (const [name, bucket] of buckets)
      if (name !== id) expect(bucket.Properties.LoggingConfiguration.DestinationBucketName).toEqual({ Ref: id });
  });
});

describe("keys", () => {
  it("of our own rotate, and admit the services that deliver to the encrypted topic and log groups, and no other", () => {
    const template = storageOf({});
    template.resourceCountIs("AWS::KMS::Key", 2);
    template.allResourcesProperties("AWS::KMS::Key", { EnableKeyRotation: true });
    const statementFor = (service: unknown, condition: unknown) =>
      template.hasResourceProperties("AWS::KMS::Key", {
        KeyPolicy: {
          Statement: Match.arrayWith([
            Match.objectLike({ Effect: "Allow", Principal: { Service: service }, ...(condition as object) }),
          ]),
        },
      });
    statementFor(["budgets.amazonaws.com", "cloudwatch.amazonaws.com", "costalerts.amazonaws.com"], {
      Action: ["kms:Decrypt", "kms:GenerateDataKey"],
      Condition: { StringEquals: { "aws:SourceAccount": { Ref: "AWS::AccountId" } } },
    });
    statementFor(
      { "Fn::Join": ["", ["logs.", { Ref: "AWS::Region" }, ".amazonaws.com"]] },
      { Condition: { ArnLike: { "kms:EncryptionContext:aws:logs:arn": Match.anyValue() } } },
    );
    expect(JSON.stringify(template.findResources("AWS::KMS::Key"))).not.toContain("events.amazonaws.com");
  });

  it("that exist are used, and none is made", () => {
    const template = storageOf({ keys: KEYS });
    template.resourceCountIs("AWS::KMS::Key", 0);
    template.hasResourceProperties("AWS::SecretsManager::Secret", { KmsKeyId: KEYS.dataKeyArn });
    template.hasResourceProperties("AWS::Logs::LogGroup", { KmsKeyId: KEYS.logKeyArn });
    template.hasResourceProperties("AWS::SNS::Topic", { KmsMasterKeyId: KEYS.dataKeyArn });
  });
});

describe("log groups", () => {
  it("are encrypted and kept as long as the configuration says, whatever the construct said", () => {
    storageOf({ retention: { logDays: 731 } }).allResourcesProperties("AWS::Logs::LogGroup", {
      KmsKeyId: Match.anyValue(),
      RetentionInDays: 731,
    });
  });
});

describe("removal", () => {
  it.each([
    ["retain", "Retain"],
    ["destroy", "Delete"],
  ] as const)("%s is of buckets, keys, secret and logs alike", (removalPolicy, policy) => {
    const template = storageOf({ removalPolicy });
    for (const type of ["AWS::S3::Bucket", "AWS::KMS::Key", "AWS::SecretsManager::Secret", "AWS::Logs::LogGroup"])
      template.allResources(type, { DeletionPolicy: policy });
  });
});

describe("notifications", () => {
  it("reach every address and endpoint that is named", () => {
    const template = storageOf({
      notifications: { emails: ["a@example.org", "b@example.org"], httpsUrls: ["https://example.org/hook"] },
    });
    const subscriptions = Object.values(template.findResources("AWS::SNS::Subscription")).map(
      ({ Properties: { Protocol, Endpoint } }) => `${Protocol} ${Endpoint}`,
    );
    expect(subscriptions.sort()).toEqual([
      "email a@example.org",
      "email b@example.org",
      "https https://example.org/hook",
    ]);
  });
});
