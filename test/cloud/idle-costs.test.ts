import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { idleCosts, type Template, TIMER_METRICS, totalOf } from "../../lib/cloud/idle-costs.ts";

const aTemplate = (Resources: Template["Resources"]): Template => ({ Resources });
const costOf = (Resources: Template["Resources"]) => totalOf(idleCosts([aTemplate(Resources)]));

describe("what bills when idle", () => {
  it("counts an interface endpoint in each of its zones, and no gateway", () => {
    const endpoint = (VpcEndpointType: string) => ({
      Type: "AWS::EC2::VPCEndpoint",
      Properties: { VpcEndpointType, SubnetIds: ["a", "b"] },
    });
    expect(costOf({ One: endpoint("Interface"), Two: endpoint("Gateway") })).toBeCloseTo(2 * 730 * 0.01);
  });

  it("counts each metric of an alarm on an expression", () => {
    const Metrics = [{ Expression: "a/b" }, { MetricStat: {} }, { MetricStat: {} }];
    expect(
      costOf({
        Plain: { Type: "AWS::CloudWatch::Alarm", Properties: { MetricName: "Errors" } },
        Expression: { Type: "AWS::CloudWatch::Alarm", Properties: { Metrics } },
      }),
    ).toBeCloseTo(0.3);
  });

  const Targets = [{ Arn: { "Fn::GetAtt": ["Function", "Arn"] } }];
  const timed = (POWERTOOLS_SERVICE_NAME: string): Template["Resources"] => ({
    Function: {
      Type: "AWS::Lambda::Function",
      Properties: { MemorySize: 512, Environment: { Variables: { POWERTOOLS_SERVICE_NAME } } },
    },
    Timer: { Type: "AWS::Events::Rule", Properties: { ScheduleExpression: "rate(5 minutes)", Targets } },
  });

  it("counts the calls of a timer and the metrics that they write, and none of a rule that waits for an event", () => {
    const [metrics, calls, ...others] = idleCosts([
      aTemplate({
        ...timed("guard"),
        Upload: { Type: "AWS::Events::Rule", Properties: { EventPattern: {}, Targets } },
      }),
    ]);
    expect(others).toEqual([]);
    expect(metrics).toMatchObject({ what: "custom metrics that a timer writes", count: 4 });
    expect(metrics!.usdPerMonth).toBeCloseTo(1.2);
    expect(calls!.count).toBe(730 * 12);
    expect(calls!.usdPerMonth).toBeCloseTo(730 * 12 * (0.2e-6 + 0.5 * 0.0000133334));
  });

  it("refuses a function behind a timer whose metrics it does not know", () => {
    expect(() => costOf(timed("report"))).toThrow("does not know how many metrics report writes");
  });

  it("knows as many metrics of each as its handler writes", () => {
    for (const [verb, count] of Object.entries(TIMER_METRICS)) {
      const handler = readFileSync(new URL(`../../lambdas/${verb}/handler.ts`, import.meta.url), "utf8");
      expect(handler.match(/\baddMetric\("\w+"/g), verb).toHaveLength(count);
    }
  });

  it("adds up over the stacks, the dearest first", () => {
    const costs = idleCosts([
      aTemplate({ Secret: { Type: "AWS::SecretsManager::Secret" }, Key: { Type: "AWS::KMS::Key" } }),
      aTemplate({ Key: { Type: "AWS::KMS::Key" }, Bucket: { Type: "AWS::S3::Bucket" } }),
    ]);
    expect(costs).toEqual([
      { what: "KMS keys", count: 2, usdPerMonth: 2 },
      { what: "secrets", count: 1, usdPerMonth: 0.4 },
    ]);
  });

  it("refuses a kind of resource about which it knows nothing, so that none is forgotten", () => {
    expect(() => idleCosts([aTemplate({ Database: { Type: "AWS::RDS::DBInstance" } })])).toThrow(
      "does not know whether AWS::RDS::DBInstance (Database) bills when idle",
    );
  });

  it("refuses instances that stay when nobody runs anything", () => {
    const Properties = { ComputeResources: { MinvCpus: 16 } };
    expect(() => idleCosts([aTemplate({ Fleet: { Type: "AWS::Batch::ComputeEnvironment", Properties } })])).toThrow(
      "Fleet keeps instances when idle",
    );
  });
});
