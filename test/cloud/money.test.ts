// Ledger, guard, trigger and AWS's own budgets, as a deployment with caps of its own would have them.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { App, Stack } from "aws-cdk-lib";
import { Annotations, Match, Template } from "aws-cdk-lib/assertions";
import * as kms from "aws-cdk-lib/aws-kms";
import * as s3 from "aws-cdk-lib/aws-s3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Ledger } from "../../lib/cloud/ledger.ts";
import { deployment } from "../../lib/contracts/deployment.ts";
import { PRICES_REGION } from "../../lib/contracts/prices.ts";
import { voxelburstApp } from "../../lib/stacks/voxelburst-app.ts";

const outdir = mkdtempSync(path.join(tmpdir(), "voxelburst-money-"));
let template: Template;
beforeAll(() => {
  const app = voxelburstApp({
    outdir,
    context: {
      "aws:cdk:bundling-stacks": [],
      voxelburst: {
        budgets: { maxUsdPerRun: 42, maxUsdPerMonth: 314 },
        fleets: [{ rung: "on-demand", instanceType: "p5e.48xlarge", usdPerHour: 50, maxNodes: 1 }],
      },
    },
  });
  template = Template.fromJSON(app.synth().getStackByName("VoxelburstWorkflow").template);
}, 60_000);
afterAll(() => rmSync(outdir, { recursive: true }));

/** The environment of the function whose description begins so, with references written out. */
function environmentOf(verb: string): Record<string, string> {
  const found = Object.values(
    template.findResources("AWS::Lambda::Function", {
      Properties: { Description: Match.stringLikeRegexp(`^voxelburst ${verb}:`) },
    }),
  );
  expect(found).toHaveLength(1);
  return found[0]!.Properties.Environment.Variables;
}

/** A text with references in it: each becomes its name. */
const flat = (value: unknown): string => {
  if (typeof value === "string") return value;
  const join = (value as { "Fn::Join"?: [string, unknown[]] })["Fn::Join"];
  return join ? join[1].map(flat).join("") : String(Object.values(value as object)[0]);
};

describe("the ledger", () => {
  it("is encrypted with the data key, recoverable, and cannot be deleted by mistake", () => {
    template.hasResourceProperties("AWS::DynamoDB::Table", {
      KeySchema: [
        { AttributeName: "pk", KeyType: "HASH" },
        { AttributeName: "sk", KeyType: "RANGE" },
      ],
      SSESpecification: { SSEEnabled: true, SSEType: "KMS", KMSMasterKeyId: Match.anyValue() },
      PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
      DeletionProtectionEnabled: true,
      BillingMode: "PAY_PER_REQUEST",
    });
  });

  it.each(["reserve", "settle", "guard", "start-run", "report"])("tells %s the deployment's caps", (verb) => {
    const settings = JSON.parse(flat(environmentOf(verb).VOXELBURST_LEDGER));
    expect(settings).toEqual({
      table: expect.stringMatching(/^LedgerTable/),
      caps: { runUsd: 42, monthUsd: 314 },
    });
  });
});

describe("the price table", () => {
  const warningsFor = (region: string) => {
    const stack = new Stack(new App({ context: { "aws:cdk:bundling-stacks": [] } }), "Prices");
    const key = new kms.Key(stack, "Key");
    const bucket = new s3.Bucket(stack, "Bucket", { encryptionKey: key });
    const buckets = { data: bucket, artefacts: bucket, quarantine: bucket };
    const config = deployment.parse({ region });
    new Ledger(stack, "Ledger", { deployment: config, buckets, encryptionKey: key });
    return Annotations.fromStack(stack).findWarning("*", Match.anyValue());
  };

  it("of another region than the deployment's is warned of, with the command that renews it", () => {
    const [warning, ...others] = warningsFor("eu-central-1");
    expect(warning!.entry.data).toMatch(/of us-east-1 .*`voxelburst cost --refresh-prices eu-central-1`/);
    expect(others).toEqual([]);
    expect(warningsFor(PRICES_REGION)).toEqual([]);
  });
});

describe("the guard", () => {
  it("looks every five minutes, and a look that failed is not repeated", () => {
    template.hasResourceProperties("AWS::Events::Rule", {
      ScheduleExpression: "rate(5 minutes)",
      State: "ENABLED",
      Targets: [
        Match.objectLike({
          Arn: { "Fn::GetAtt": [Match.stringLikeRegexp("^GuardFunction"), "Arn"] },
          RetryPolicy: { MaximumRetryAttempts: 0 },
        }),
      ],
    });
    // Nor by Lambda, which would look twice again by itself.
    template.hasResourceProperties("AWS::Lambda::EventInvokeConfig", {
      FunctionName: { Ref: Match.stringLikeRegexp("^GuardFunction") },
      MaximumRetryAttempts: 0,
    });
  });
});

describe("the trigger", () => {
  it("has no secret in its environment, only where it is", () => {
    const environment = environmentOf("start-run");
    expect(JSON.stringify(environment)).not.toContain("resolve:secretsmanager");
    expect(environment.VOXELBURST_PSEUDONYM_KEY_ARN).toBeDefined();
  });

  it("remembers deliveries in a table of its own, for as long as each says", () => {
    template.hasResourceProperties("AWS::DynamoDB::Table", {
      KeySchema: [{ AttributeName: "id", KeyType: "HASH" }],
      TimeToLiveSpecification: { AttributeName: "expiration", Enabled: true },
    });
  });

  it("holds for ingest what the state machine will ask for, on the first rung", () => {
    const settings = JSON.parse(flat(environmentOf("start-run").VOXELBURST_INGEST));
    expect(settings).toMatchObject({
      rung: "spot-cpu",
      instanceType: "r6id.4xlarge",
      childrenPerInstance: 4,
      attempts: 3,
    });
  });
});

describe("ingest's containers", () => {
  it("get the key that patients are hashed with from the secret that start-run reads", () => {
    const definitions = Object.entries(template.findResources("AWS::Batch::JobDefinition")).filter(([name]) =>
      name.startsWith("Ingest"),
    );
    expect(definitions).toHaveLength(1);
    const [container] = definitions[0]![1].Properties.EcsProperties.TaskProperties[0].Containers;
    expect(container.Secrets).toEqual([
      { Name: "VOXELBURST_PSEUDONYM_KEY", ValueFrom: environmentOf("start-run").VOXELBURST_PSEUDONYM_KEY_ARN },
    ]);
  });
});

describe("AWS's own view of the bill", () => {
  it("is a budget of the month's cap, of what has the application's tag, with three notices", () => {
    template.hasResourceProperties("AWS::Budgets::Budget", {
      Budget: {
        BudgetType: "COST",
        TimeUnit: "MONTHLY",
        BudgetLimit: { Amount: 314, Unit: "USD" },
        CostFilters: { TagKeyValue: ["user:application$voxelburst"] },
      },
      NotificationsWithSubscribers: [
        ["ACTUAL", 80],
        ["ACTUAL", 100],
        ["FORECASTED", 100],
      ].map(([NotificationType, Threshold]) =>
        Match.objectLike({ Notification: Match.objectLike({ NotificationType, Threshold }) }),
      ),
    });
  });

  it("is an anomaly monitor of one's own, since an account has only one of services", () => {
    template.hasResourceProperties("AWS::CE::AnomalyMonitor", {
      MonitorType: "CUSTOM",
      MonitorSpecification: JSON.stringify({
        Tags: { Key: "application", Values: ["voxelburst"], MatchOptions: ["EQUALS"] },
      }),
    });
    template.hasResourceProperties("AWS::CE::AnomalySubscription", {
      Frequency: "IMMEDIATE",
      Subscribers: [Match.objectLike({ Type: "SNS" })],
    });
  });

  it("has no anomaly monitor where the account may not create one, and nobody publishes for it", () => {
    const app = voxelburstApp({
      outdir: mkdtempSync(path.join(outdir, "member-")),
      context: { "aws:cdk:bundling-stacks": [], voxelburst: { budgets: { anomalyMonitor: false } } },
    });
    const member = Template.fromJSON(app.synth().getStackByName("VoxelburstWorkflow").template);
    member.resourceCountIs("AWS::Budgets::Budget", 1);
    member.resourceCountIs("AWS::CE::AnomalyMonitor", 0);
    member.resourceCountIs("AWS::CE::AnomalySubscription", 0);
    const policies = JSON.stringify(member.findResources("AWS::SNS::TopicPolicy"));
    expect(policies).toContain("budgets.amazonaws.com");
    expect(policies).not.toContain("costalerts.amazonaws.com");
  });

  it("may reach the topic, for this account's sake alone", () => {
    for (const Service of ["budgets.amazonaws.com", "costalerts.amazonaws.com"])
      template.hasResourceProperties("AWS::SNS::TopicPolicy", {
        PolicyDocument: {
          Statement: Match.arrayWith([
            Match.objectLike({
              Effect: "Allow",
              Action: "sns:Publish",
              Principal: { Service },
              Condition: { StringEquals: { "aws:SourceAccount": { Ref: "AWS::AccountId" } } },
            }),
          ]),
        },
      });
  });
});
