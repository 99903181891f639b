// What a platform team runs the deployment by, on the synthesised stack: alarms, runbook, schedule, dashboard, outputs.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Template } from "aws-cdk-lib/assertions";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { JOB_ENDPOINTS, nightlyEvent, OUTPUTS, STACKS, strategy } from "../../lib/contracts/index.ts";
import { voxelburstApp } from "../../lib/stacks/voxelburst-app.ts";
import { type MathAlarmProperties, type PeriodValues, statesOfMath } from "./alarm-states.ts";
import { readRunbook } from "./runbook.ts";

type Resources = Record<string, { Type: string; Properties: Record<string, never>; DeletionPolicy?: string }>;

let outdir: string;
let workflow: Template;
let network: Template;
beforeAll(() => {
  outdir = mkdtempSync(path.join(tmpdir(), "voxelburst-operations-"));
  const voxelburst = {
    schedule: { dataset: "hippocampus", timeZone: "Europe/Berlin" },
    image: { source: "codebuild" },
  };
  // Nothing here looks into the functions' code.
  const app = voxelburstApp({ outdir, context: { voxelburst, "aws:cdk:bundling-stacks": [] } });
  const { stacks } = app.synth();
  const of = (name: string) => Template.fromJSON(stacks.find(({ stackName }) => stackName === name)!.template);
  [workflow, network] = [of(STACKS.workflow), of(STACKS.network)];
}, 180_000);
afterAll(() => rmSync(outdir, { recursive: true }));

const found = (template: Template, type: string) => template.findResources(type) as unknown as Resources;
const properties = (type: string) => Object.values(found(workflow, type)).map((each) => each.Properties as never);

interface Alarm {
  AlarmDescription: string;
  AlarmActions: unknown[];
  OKActions: unknown[];
  TreatMissingData: string;
}
const alarms = () => properties("AWS::CloudWatch::Alarm") as Alarm[];
const anchorOf = ({ AlarmDescription }: Alarm) =>
  /Runbook: docs\/runbook\.md#(\S+) in the repository that voxelburst was deployed from\.$/.exec(AlarmDescription)?.[1];

describe("the runbook", () => {
  test("has a heading for every alarm, which links to it, and none for anything else", () => {
    const linked = alarms().map(anchorOf);
    expect(linked).not.toContain(undefined);
    expect(linked.toSorted()).toEqual(
      readRunbook()
        .map(({ anchor }) => anchor)
        .sort(),
    );
  });

  test.each(readRunbook())("says of $anchor what it means, what to look at and what to do", ({ parts }) => {
    expect(parts.map(({ title }) => title)).toEqual(["Description", "Investigation", "Resolution"]);
    for (const { text } of parts) expect(text.length).toBeGreaterThan(60);
  });
});

describe("alarms", () => {
  test("tell the topic when they go off and when it is over", () => {
    const [topic] = Object.keys(found(workflow, "AWS::SNS::Topic"));
    for (const alarm of alarms())
      for (const actions of [alarm.AlarmActions, alarm.OKActions]) expect(actions).toEqual([{ Ref: topic }]);
  });

  test("may publish to the topic: its policy lets CloudWatch in, for this account alone", () => {
    const [policy] = properties("AWS::SNS::TopicPolicy") as { PolicyDocument: { Statement: object[] } }[];
    expect(policy!.PolicyDocument.Statement).toContainEqual(
      expect.objectContaining({
        Effect: "Allow",
        Principal: { Service: "cloudwatch.amazonaws.com" },
        Action: "sns:Publish",
        Condition: { StringEquals: { "aws:SourceAccount": { Ref: "AWS::AccountId" } } },
      }),
    );
  });

  test("watch every dead-letter queue of the stack", () => {
    const queues = Object.keys(found(workflow, "AWS::SQS::Queue"));
    const watched = JSON.stringify(alarms());
    expect(queues.length).toBeGreaterThanOrEqual(3);
    for (const queue of queues) expect(watched, queue).toContain(`"Fn::GetAtt":["${queue}","QueueName"]`);
  });

  test("are fed by queues that SQS encrypts: no producer needs rights on a key to put a letter there", () => {
    for (const [queue, { Properties }] of Object.entries(found(workflow, "AWS::SQS::Queue"))) {
      expect(Properties, queue).toMatchObject({ SqsManagedSseEnabled: true });
      expect(Properties, queue).not.toHaveProperty("KmsMasterKeyId");
    }
    const policies = JSON.stringify(
      Object.entries(found(workflow, "AWS::IAM::Policy")).filter(([name]) => name.startsWith("NightlyRole")),
    );
    expect(policies).toContain('"kms:Decrypt"');
    expect(policies).not.toContain("kms:GenerateDataKey");
  });

  test("tell of a build of the image that failed, as CodeBuild counts it", () => {
    const failed = (alarms() as (Alarm & object)[]).find((alarm) => anchorOf(alarm) === "imagebuildfailed");
    expect(failed).toMatchObject({
      Namespace: "AWS/CodeBuild",
      MetricName: "FailedBuilds",
      Dimensions: [{ Name: "ProjectName", Value: expect.anything() }],
      Statistic: "Sum",
      Threshold: 1,
      ComparisonOperator: "GreaterThanOrEqualToThreshold",
      TreatMissingData: "notBreaching",
    });
  });

  describe("on a sum of metrics", () => {
    /** By their headings. */
    const sums = () =>
      Object.fromEntries(
        (alarms() as (Alarm & MathAlarmProperties)[])
          .filter(({ Metrics }) => Metrics !== undefined)
          .map((alarm) => [anchorOf(alarm)!, alarm]),
      );
    const metricsOf = ({ Metrics }: MathAlarmProperties) => Metrics.filter(({ MetricStat }) => MetricStat);
    const times = <T>(count: number, value: T): T[] => Array.from({ length: count }, () => value);

    test("are those of failed runs and of throttled calls, of every function", () => {
      const { runfailed, functionsthrottled, ...others } = sums();
      expect(others).toEqual({});
      // Whoever aborts a run knows.
      expect(metricsOf(runfailed!).map(({ MetricStat }) => MetricStat!.Metric.MetricName)).toEqual([
        "ExecutionsFailed",
        "ExecutionsTimedOut",
      ]);
      const throttled = metricsOf(functionsthrottled!).map(({ MetricStat }) => MetricStat!.Metric);
      expect(throttled.map(({ MetricName }) => MetricName)).toEqual(throttled.map(() => "Throttles"));
      const functions = Object.keys(found(workflow, "AWS::Lambda::Function"));
      for (const id of functions) expect(JSON.stringify(throttled), id).toContain(`"Ref":"${id}"`);
      // An alarm's expression may name so many.
      for (const alarm of Object.values(sums())) expect(metricsOf(alarm).length).toBeLessThanOrEqual(10);
    });

    test.each([
      ["runfailed", 1],
      ["functionsthrottled", 3],
    ])(
      "%s: each of its metrics alone sets it off after %i periods, while all others say nothing",
      (anchor, periods) => {
        const alarm = sums()[anchor]!;
        for (const { Id } of metricsOf(alarm)) {
          const states = (values: PeriodValues[]) => statesOfMath(alarm, values);
          expect(states(times(periods, { [Id]: [1] })).at(-1), Id).toBe("ALARM");
          expect(states(times(periods - 1, { [Id]: [5] })), Id).not.toContain("ALARM");
          expect(states(times(periods + 2, { [Id]: [0] })), Id).not.toContain("ALARM");
          // What comes late is not there yet in the newest period.
          expect(states([...times(periods, { [Id]: [1] }), {}]).at(-1), Id).toBe("ALARM");
          expect(states([...times(periods, { [Id]: [1] }), {}, {}]).at(-1), Id).toBe("OK");
        }
        expect(statesOfMath(alarm, times(periods + 2, {}))).not.toContain("ALARM");
      },
    );
  });

  test("of what must happen go off when nothing does", () => {
    const bySilence = alarms().filter(({ TreatMissingData }) => TreatMissingData === "breaching");
    expect(bySilence.map(anchorOf).sort()).toEqual(["guardsilent", "nightlyabsent"]);
  });
});

describe("the nightly schedule", () => {
  test("sends start-run an event that its contract takes, with the scheduled time as the night", () => {
    const [schedule] = properties("AWS::Scheduler::Schedule") as {
      ScheduleExpression: string;
      ScheduleExpressionTimezone: string;
      Target: { Arn: unknown; Input: string; DeadLetterConfig: object; RetryPolicy: object };
    }[];
    expect(schedule).toMatchObject({
      ScheduleExpression: "cron(0 2 * * ? *)",
      ScheduleExpressionTimezone: "Europe/Berlin",
      Target: {
        Arn: { "Fn::GetAtt": [expect.stringMatching(/^TriggerFunction/), "Arn"] },
        DeadLetterConfig: { Arn: expect.anything() },
      },
    });
    const input = JSON.parse(schedule!.Target.Input);
    expect(input.night).toBe("<aws.scheduler.scheduled-time>");
    // What Scheduler puts there, as its guide has it.
    const parsed = nightlyEvent.parse({ ...input, night: "2026-11-24T02:00:00Z" });
    expect(parsed).toMatchObject({ dataset: "hippocampus", recipe: { strategies: expect.arrayContaining(["fp32"]) } });
    // The whole ladder: without its engines, start-run would take the fastest alone.
    expect(parsed.recipe).toMatchObject({
      strategies: strategy.options,
      engines: ["torch", "inductor", "onnxruntime", "tensorrt"],
    });
  });
});

test("report may write nights, and nothing of another dataset's or run's but reports", () => {
  const policies = Object.entries(found(workflow, "AWS::IAM::Policy")).filter(([name]) =>
    name.startsWith("ReportFunction"),
  );
  const statements = policies.flatMap(
    ([, { Properties }]) =>
      (Properties.PolicyDocument as unknown as { Statement: { Action: string | string[]; Resource: unknown }[] })
        .Statement,
  );
  const puts = statements.filter(({ Action }) => JSON.stringify(Action).includes("s3:PutObject"));
  const suffixes = JSON.stringify(puts.map(({ Resource }) => Resource)).match(/"\/[^"]*"/g);
  expect(suffixes?.toSorted()).toEqual(['"/nightly/*/*"', '"/runs/*/report/*"']);
});

test("the dashboard shows volumes/s and Dice of every night's rows, and the alarms", () => {
  const [dashboard] = properties("AWS::CloudWatch::Dashboard") as { DashboardBody: unknown }[];
  const body = JSON.stringify(dashboard!.DashboardBody).replaceAll("\\", "");
  for (const metric of ["VolumesPerSecond", "Dice"])
    expect(body).toContain(`SEARCH('{Voxelburst,dataset,row,service} MetricName="${metric}"', 'Average')`);
  expect(body).toContain('"type":"alarm"');
});

test("the outputs are those that the command line finds the deployment by", () => {
  const outputs = Object.keys(workflow.toJSON().Outputs);
  expect(outputs).toEqual(expect.arrayContaining(Object.values(OUTPUTS)));
});

test("the network has the endpoints that doctor asks an existing one for", () => {
  const names = Object.values(found(network, "AWS::EC2::VPCEndpoint")).map(({ Properties }) => {
    const service = JSON.stringify(Properties.ServiceName);
    return JOB_ENDPOINTS.findLast((name) => service.includes(`.${name}"`));
  });
  expect(names).toEqual(expect.arrayContaining([...JOB_ENDPOINTS]));
});
