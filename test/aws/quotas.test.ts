// doctor's quotas: what a deployment can ask for at once, and what recorded answers of Service Quotas hold of it.
import { describe, expect, test } from "vitest";
import { trainConcurrency } from "../../lambdas/plan/shards.ts";
import { look } from "../../lib/aws/check.ts";
import { needsOf, quotaChecks } from "../../lib/aws/quotas.ts";
import { type DeploymentInput, deployment, type Machine, MOST_AT_ONCE } from "../../lib/contracts/index.ts";
import { useRecordedAws } from "./recorded.ts";

const configured = (input: DeploymentInput = {}) => deployment.parse(input);
const spot = (instanceType: "p5.48xlarge" | "p4d.24xlarge", maxNodes = 2) =>
  ({ rung: "spot", instanceType, maxNodes }) as const;
const onDemand = { rung: "on-demand", instanceType: "g5.4xlarge" } as const;

describe("quotas", () => {
  const aws = useRecordedAws();

  test("are needed for what all fleets can ask for at once, by EC2's families", () => {
    const config = configured({
      fleets: [
        spot("p5.48xlarge", 2),
        spot("p4d.24xlarge", 3),
        { rung: "on-demand", instanceType: "g6e.4xlarge", maxNodes: 4 },
        { rung: "on-demand", instanceType: "p5.48xlarge", maxNodes: 1 },
      ],
      ingest: { maxVcpus: 64 },
      training: { backend: "batch" },
    });
    expect(needsOf(config).map(({ quota, needed }) => [quota, needed])).toEqual([
      ["L-7212CCBC", 2 * 192 + 3 * 96], // Spot P
      ["L-DB2E81BA", 4 * 16], // On-Demand G and VT
      ["L-417A185B", 192], // On-Demand P
      ["L-34B43A08", 64], // Spot, standard
      ["L-1216C47A", 64], // On-Demand, standard
      ["L-B99A9384", 20], // Lambda's concurrent executions
    ]);
  });

  test("of a bought Capacity Block are none", () => {
    const config = configured({
      region: "us-east-1",
      zones: ["us-east-1a"],
      fleets: [
        {
          rung: "reservation",
          instanceType: "p5.48xlarge",
          maxNodes: 4,
          reservationId: "cr-0123456789abcdef0",
          capacityBlock: true,
        },
      ],
      training: { backend: "batch" },
    });
    expect(needsOf(config).map(({ quota }) => quota)).toEqual(["L-34B43A08", "L-1216C47A", "L-B99A9384"]);
  });

  test("that are too low or not there fail, with the quota's code and what to ask for", async () => {
    aws().answers.ListServiceQuotas = ({ ServiceCode, NextToken }: Record<string, string>) =>
      ServiceCode === "ec2"
        ? NextToken
          ? { Quotas: [{ QuotaCode: "L-34B43A08", Value: 640 }] }
          : { Quotas: [{ QuotaCode: "L-7212CCBC", Value: 0 }], NextToken: "more" }
        : { Quotas: [] };
    const checks = await quotaChecks(
      configured({
        fleets: [spot("p5.48xlarge"), { rung: "on-demand", instanceType: "g6e.4xlarge", maxNodes: 1 }],
      }),
    );
    const by = (name: string) => checks.find((check) => check.name.includes(name));
    expect(by("P instances, Spot")).toMatchObject({ state: "failed", found: "0 of the 384 needed" });
    expect(by("P instances, Spot")?.remedy).toContain("L-7212CCBC");
    expect(by("standard instances, Spot")).toMatchObject({ state: "ok" });
    expect(by("G instances, On-Demand")).toMatchObject({
      state: "failed",
      found: expect.stringContaining("not listed"),
    });
    expect(by("ml.p5.48xlarge for spot training jobs")).toMatchObject({ state: "failed" });
  });

  const sageMaker = (input: DeploymentInput) =>
    needsOf(configured(input))
      .filter(({ service }) => service === "sagemaker")
      .map(({ quota, needed, enough }) => [quota, enough?.least, needed]);

  test("of SageMaker are for the four trainings of a run at once, and do from one training on", () => {
    const both = { instanceType: "p5.48xlarge", maxNodes: 2 } as const;
    const fleets = [
      { rung: "spot", ...both },
      { rung: "on-demand", ...both },
      { rung: "on-demand", instanceType: "g6e.4xlarge" },
      { rung: "smaller-gpu", instanceType: "g6e.4xlarge" },
    ] as const;
    // Several nodes are for types with EFA that are not on Spot; two rungs of a type have one quota.
    expect(sageMaker({ fleets: [...fleets], training: { nodes: 3 } })).toEqual([
      ["ml.p5.48xlarge for spot training job usage", 1, 4],
      ["ml.p5.48xlarge for training job usage", 3, 12],
      ["ml.g6e.4xlarge for training job usage", 1, 4],
    ]);
    expect(sageMaker({ fleets: [...fleets], training: { backend: "batch" } })).toEqual([]);
  });

  test("of a warm pool are asked for where one is configured, which Spot has not", () => {
    expect(sageMaker({ training: { warmPoolSeconds: 600 } })).toEqual([
      ["ml.p5.4xlarge for spot training job usage", 1, 4],
      ["ml.p5.4xlarge for training job usage", 1, 4],
      ["ml.p5.4xlarge for training warm pool usage", 0, 4],
    ]);
  });

  test("of transforms are for every engine of every training at once, and do from one transform on", () => {
    expect(
      sageMaker({ training: { backend: "batch" }, transform: { enabled: true, maxNodes: 3 }, fleets: [onDemand] }),
    ).toEqual([["ml.g5.4xlarge for transform job usage", 3, 48]]);
  });

  test("are for as many trainings as plan lets work at once", () => {
    expect(trainConcurrency({ where: "aws" } as Machine, 100)).toBe(MOST_AT_ONCE);
  });

  test.each([
    [0, { state: "failed", found: "0 of the 8 needed" }],
    [1, { state: "failed", found: "1 of the 8 needed" }],
    [
      2,
      {
        state: "warning",
        found: "2 of the 8 needed",
        remedy: expect.stringMatching(/at least 8 .*sagemaker, L-1\)\. A run trains up to 4 at once, each on up to 2/),
      },
    ],
    [8, { state: "ok", found: "8, 8 needed" }],
  ])(
    "of SageMaker that hold %i of eight fail where no training fits, and warn where some do",
    async (Value, expected) => {
      const QuotaName = "ml.p5.48xlarge for training job usage";
      aws().answers.ListServiceQuotas = ({ ServiceCode }: Record<string, string>) => ({
        Quotas: ServiceCode === "sagemaker" ? [{ QuotaCode: "L-1", QuotaName, Value }] : [],
      });
      const checks = await quotaChecks(
        configured({ fleets: [{ rung: "on-demand", instanceType: "p5.48xlarge" }], training: { nodes: 2 } }),
      );
      expect(checks.find(({ name }) => name === "quota: ml.p5.48xlarge for training jobs")).toMatchObject(expected);
    },
  );

  test.each([
    [
      10,
      { state: "failed", found: "10 of the 20 needed", remedy: expect.stringMatching(/20 .*lambda, L-B99A9384\)\.$/) },
    ],
    [1000, { state: "ok", found: "1000, 20 needed" }],
  ])("of Lambda's concurrency is shown: %i", async (Value, expected) => {
    aws().answers.ListServiceQuotas = ({ ServiceCode }: Record<string, string>) => ({
      Quotas: ServiceCode === "lambda" ? [{ QuotaCode: "L-B99A9384", QuotaName: "Concurrent executions", Value }] : [],
    });
    const checks = await quotaChecks(configured());
    expect(checks.find(({ name }) => name.includes("concurrent executions"))).toMatchObject(expected);
  });

  test("that may not be looked at are a warning, and the rest is looked at all the same", async () => {
    aws().answers.ListServiceQuotas = {
      __type: "AccessDeniedException",
      message: "not authorized to ListServiceQuotas",
    };
    expect(await look("quotas", () => quotaChecks(configured()))).toMatchObject([
      { name: "quotas", state: "warning", found: expect.stringContaining("ListServiceQuotas") },
    ]);
  });
});
