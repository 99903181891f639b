// Every configuration that we ship, synthesised: CDK's rules, cdk-nag's, cfn-lint's and asl-validator's find nothing.
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import aslValidator from "asl-validator";
import { App, Stack, Validations } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import * as s3 from "aws-cdk-lib/aws-s3";
import { AwsSolutionsChecks, HIPAASecurityChecks } from "cdk-nag";
import type { IConstruct } from "constructs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { idleCosts, templatesIn } from "../../lib/cloud/idle-costs.ts";
import { readDeployment } from "../../lib/cloud/settings.ts";
import { PRICES_REGION } from "../../lib/contracts/prices.ts";
import { voxelburstApp } from "../../lib/stacks/voxelburst-app.ts";
import { idleTable, optionsTable, quotaTable, withTables } from "./deploy-tables.ts";

const root = path.resolve(import.meta.dirname, "../..");
const examples = readdirSync(path.join(root, "examples")).filter((name) => name.endsWith(".json"));
const CONFIGURATIONS = ["no configuration", ...examples];

interface Synthesised {
  app: App;
  outdir: string;
  /** Of a processor: what else the machine does meanwhile does not count. */
  seconds: number;
  error?: unknown;
}
interface Report {
  pluginReports: {
    pluginName: string;
    violations: { ruleName: string; violatingConstructs: { constructPath: string }[] }[];
  }[];
}

/** With both packs beside CDK's own rules, for which cdk.json makes a finding an error. */
function synthesise(configuration: string): Synthesised {
  const outdir = mkdtempSync(path.join(tmpdir(), "voxelburst-example-"));
  const context: Record<string, unknown> = { "aws:cdk:bundling-stacks": [] }; // test/synth/synth.test.ts bundles
  if (configuration.endsWith(".json")) context.config = path.join(root, "examples", configuration);
  const started = process.cpuUsage();
  const app = voxelburstApp({ outdir, context });
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app), new HIPAASecurityChecks(app));
  let error: unknown;
  try {
    app.synth();
  } catch (thrown) {
    error = thrown;
  }
  const { user, system } = process.cpuUsage(started);
  return { app, outdir, seconds: (user + system) / 1e6, error };
}

function findingsIn(outdir: string): string[] {
  const { pluginReports } = JSON.parse(readFileSync(path.join(outdir, "validation-report.json"), "utf8")) as Report;
  return pluginReports.flatMap(({ pluginName, violations }) =>
    violations.flatMap(({ ruleName, violatingConstructs }) =>
      violatingConstructs.map(({ constructPath }) => `${pluginName} ${ruleName} at ${constructPath}`),
    ),
  );
}

const templateFilesIn = (outdir: string): string[] =>
  readdirSync(outdir)
    .filter((name) => name.endsWith(".template.json"))
    .map((name) => path.join(outdir, name));

const synthesised = new Map<string, Synthesised>();
afterAll(() => {
  for (const { outdir } of synthesised.values()) rmSync(outdir, { recursive: true });
}, 60_000);

describe.each(CONFIGURATIONS)("with %s", (configuration) => {
  const of = () => synthesised.get(configuration)!;
  beforeAll(() => {
    synthesised.set(configuration, synthesise(configuration));
  }, 300_000);

  it("synthesis takes less than a minute", () => {
    expect(of().seconds).toBeLessThan(60);
  });

  it("nothing is left to acknowledge for CDK's own rules, AwsSolutions and HIPAA.Security", () => {
    const { region = PRICES_REGION } = readDeployment(of().app);
    // What an example cannot know: who deploys it renews the prices of its region.
    const ofPrices = "Construct Annotations Annotation::voxelburst:pricesOfAnotherRegion at VoxelburstWorkflow/Ledger";
    expect(findingsIn(of().outdir)).toEqual(region === PRICES_REGION ? [] : [ofPrices]);
    expect(of().error).toBeUndefined();
  });

  it("what was acknowledged, was so below a stack and with a reason", () => {
    const acknowledged = of()
      .app.node.findAll()
      .flatMap((node: IConstruct) =>
        node.node.metadata
          .filter(({ type }) => type === Validations.ACKNOWLEDGED_RULES_METADATA_KEY)
          .flatMap(({ data }) => Object.entries(data as Record<string, string>).map(([id, why]) => ({ node, id, why })))
          // CDK acknowledges some of its own rules itself, such as a Vpc's zones by name.
          .filter(({ id }) => /AwsSolutions|HIPAA/.test(id)),
      );
    expect(acknowledged.length).toBeGreaterThan(20);
    for (const { node, id, why } of acknowledged) {
      expect(node instanceof App || node instanceof Stack, `${id} at ${node.node.path}`).toBe(false);
      expect(why.length, `${id} at ${node.node.path}`).toBeGreaterThan(15);
    }
  });

  it("the state machine is valid to asl-validator, with all of its references resolved", () => {
    const machines = templateFilesIn(of().outdir)
      .flatMap((file) => Object.values<Resource>(JSON.parse(readFileSync(file, "utf8")).Resources))
      .filter(({ Type }) => Type === "AWS::StepFunctions::StateMachine");
    expect(machines).toHaveLength(1);
    const definition = JSON.parse(resolved(machines[0]!.Properties.DefinitionString));
    expect(aslValidator(definition)).toMatchObject({ isValid: true, errors: [] });
  });
});

it("the engine triton is offered where no rung and no transform has a GPU that is too old for it", () => {
  const offers = (configuration: string) =>
    templateFilesIn(synthesised.get(configuration)!.outdir).some((file) =>
      Object.values<Resource>(JSON.parse(readFileSync(file, "utf8")).Resources).some(({ Properties }) =>
        String(Properties?.Environment?.Variables?.VOXELBURST_MACHINE).includes('"triton"'),
      ),
    );
  expect(Object.fromEntries(examples.map((each) => [each, offers(each)]))).toMatchObject({
    "p4d-spot.json": false,
    "p5-capacity-block.json": true,
  });
});

interface Resource {
  Type: string;
  Properties: { DefinitionString: unknown; Environment?: { Variables?: Record<string, unknown> } };
}

/** The text of a reference, with a plausible value for what is known only when it is deployed. */
function resolved(value: unknown): string {
  if (typeof value === "string") return value.replaceAll(/\$\{AWS::\w+\}/g, "us-east-1");
  const [[intrinsic, argument]] = Object.entries(value as Record<string, unknown>) as [[string, unknown]];
  if (intrinsic === "Fn::Join") {
    const [separator, parts] = argument as [string, unknown[]];
    return parts.map(resolved).join(separator);
  }
  if (intrinsic === "Fn::Sub") return resolved(argument);
  if (intrinsic === "Ref" && argument === "AWS::Partition") return "aws";
  return "arn:aws:service:us-east-1:111122223333:resource";
}

describe("cfn-lint", () => {
  const command = path.join(root, ".venv/bin/cfn-lint");

  it.skipIf(!existsSync(command))(
    "has no error on any template of any configuration",
    () => {
      const templates = CONFIGURATIONS.flatMap((each) => templateFilesIn(synthesised.get(each)!.outdir));
      expect(templates.length).toBeGreaterThanOrEqual(4 * CONFIGURATIONS.length);
      const { stdout, stderr } = spawnSync(command, ["--format", "json", "--", ...templates], {
        encoding: "utf8",
        maxBuffer: 2 ** 28,
      });
      expect(stderr).toBe("");
      const matches = JSON.parse(stdout || "[]") as { Level: string; Message: string; Filename: string }[];
      expect(matches.filter(({ Level }) => Level === "Error")).toEqual([]);
    },
    600_000,
  );
});

describe("docs/deploy.md", () => {
  it("has the tables that follow from the options, the examples and their templates (`npx vitest -u` writes them)", async () => {
    const file = path.join(root, "docs/deploy.md");
    const configurations = Object.fromEntries(
      CONFIGURATIONS.map((each) => [each.replace(".json", ""), readDeployment(synthesised.get(each)!.app)]),
    );
    const costs = CONFIGURATIONS.map((each) => [
      each.replace(".json", ""),
      idleCosts(templatesIn(synthesised.get(each)!.outdir)),
    ]);
    const tables = {
      options: optionsTable(),
      quotas: quotaTable(configurations),
      idle: idleTable(Object.fromEntries(costs)),
    };
    await expect(withTables(readFileSync(file, "utf8"), tables)).toMatchFileSnapshot(file);
  });
});

describe("the rules themselves", () => {
  it("find a bucket that nobody encrypted or acknowledged", () => {
    const outdir = mkdtempSync(path.join(tmpdir(), "voxelburst-control-"));
    try {
      const app = new App({ outdir, context: { "@aws-cdk/core:validateAgainstDefaultRules": true } });
      new s3.CfnBucket(new Stack(app, "Control"), "Bucket");
      Validations.of(app).addPlugins(new AwsSolutionsChecks(app), new HIPAASecurityChecks(app));
      expect(() => app.synth()).toThrow();
      const findings = findingsIn(outdir);
      expect(findings).toContain("AwsSolutions AwsSolutions-S1 at Control/Bucket");
      expect(findings).toContain("HIPAA.Security HIPAA.Security-S3BucketLoggingEnabled at Control/Bucket");
    } finally {
      rmSync(outdir, { recursive: true });
    }
  });
});

interface Policy {
  PolicyDocument: { Statement: { Action: string | string[]; Resource: unknown }[] };
}

it("a state machine with a training plan may train on the plan and on the capacity behind it", () => {
  const training = templateFilesIn(synthesised.get("p5en-training-plan.json")!.outdir)
    .flatMap((file) => Object.values<Resource>(JSON.parse(readFileSync(file, "utf8")).Resources))
    .filter(({ Type }) => Type === "AWS::IAM::Policy")
    .flatMap(({ Properties }) => (Properties as unknown as Policy).PolicyDocument.Statement)
    .filter(({ Action }) => [Action].flat().includes("sagemaker:CreateTrainingJob"))
    .flatMap(({ Resource: resources }) => [resources].flat().map(resolved));
  // SageMaker's page "IAM for SageMaker training plans".
  for (const kind of ["training-job/train-", "training-plan/", "reserved-capacity/"])
    expect(
      training.some((resource) => resource.includes(kind)),
      kind,
    ).toBe(true);
});

it("plan is told of training's rungs, of which a training plan is the first", () => {
  const [machine] = templateFilesIn(synthesised.get("p5en-training-plan.json")!.outdir)
    .flatMap((file) => Object.values<Resource>(JSON.parse(readFileSync(file, "utf8")).Resources))
    .flatMap(({ Properties }) => (Properties?.Environment?.Variables?.VOXELBURST_MACHINE as string) ?? []);
  expect(JSON.parse(machine!)).toMatchObject({
    instanceType: "p5.4xlarge",
    gpus: 1,
    nodes: 2,
    rungs: ["spot", "on-demand"],
    training: [
      {
        kind: "reservation",
        instanceType: "p5en.48xlarge",
        backend: "sagemaker",
        isPreferred: true,
        isForSeveralNodes: true,
      },
      { kind: "spot", instanceType: "p5.4xlarge", backend: "sagemaker", isPreferred: true },
      {
        kind: "on-demand",
        instanceType: "p5.4xlarge",
        backend: "sagemaker",
        isPreferred: true,
        isForSeveralNodes: true,
      },
      { kind: "on-demand", instanceType: "p5.4xlarge", backend: "batch", isForSeveralNodes: true },
    ],
  });
});

it("plan is told of a fleet's own price, also of training's rungs", () => {
  const context = {
    "aws:cdk:bundling-stacks": [],
    voxelburst: {
      fleets: [
        { rung: "spot", instanceType: "g6e.xlarge", usdPerHour: 1.5 },
        { rung: "on-demand", instanceType: "p5e.48xlarge", usdPerHour: 90 },
        { rung: "smaller-gpu", instanceType: "p5.48xlarge" },
      ],
      training: { nodes: 2 },
    },
  };
  const stack = voxelburstApp({ context }).node.findChild("VoxelburstWorkflow") as Stack;
  const [machine] = Object.values<Resource>(Template.fromStack(stack).toJSON().Resources).flatMap(
    ({ Properties }) => (Properties?.Environment?.Variables?.VOXELBURST_MACHINE as string) ?? [],
  );
  expect(JSON.parse(machine!)).toMatchObject({
    instanceType: "g6e.xlarge",
    usdPerHour: 1.5,
    training: expect.arrayContaining([expect.objectContaining({ instanceType: "p5e.48xlarge", usdPerHour: 90 })]),
  });
});

describe("the environment of a function", () => {
  const MOST_BYTES = 4_096; // Lambda's quota, of all names and values together
  const fleetsOf = (types: readonly string[]) => ({
    "aws:cdk:bundling-stacks": [],
    voxelburst: {
      fleets: types.flatMap((instanceType) =>
        ["on-demand", "smaller-gpu"].map((rung) => ({ rung, instanceType, usdPerHour: 123.456 })),
      ),
    },
  });

  it("is within Lambda's quota in every configuration", () => {
    const sizes = CONFIGURATIONS.flatMap((each) => templateFilesIn(synthesised.get(each)!.outdir)).flatMap(sizesIn);
    expect(sizes.length).toBeGreaterThan(20);
    expect(Math.max(...sizes)).toBeLessThan(MOST_BYTES);
  });

  it("is so with the most rungs that plan can be told of; more fleets are refused by name", () => {
    const types = ["p5.4xlarge", "p5.48xlarge", "p5e.48xlarge", "p5en.48xlarge", "g6e.xlarge"];
    const stack = voxelburstApp({ context: fleetsOf(types) }).node.findChild("VoxelburstWorkflow") as Stack;
    const sizes = Object.values<Resource>(Template.fromStack(stack).toJSON().Resources).flatMap(sizeOf);
    expect(Math.max(...sizes)).toBeGreaterThan(2_500);
    expect(Math.max(...sizes)).toBeLessThan(MOST_BYTES);
    const more = [...types, "g6e.4xlarge", "g6e.48xlarge", "g5.4xlarge", "g5.48xlarge"];
    expect(() => voxelburstApp({ context: fleetsOf(more) })).toThrow(/18 fleets give training 36 rungs/);
  });

  function sizesIn(file: string): number[] {
    return Object.values<Resource>(JSON.parse(readFileSync(file, "utf8")).Resources).flatMap(sizeOf);
  }

  function sizeOf({ Type, Properties }: Resource): number[] {
    if (Type !== "AWS::Lambda::Function") return [];
    const variables = Object.entries(Properties.Environment?.Variables ?? {});
    return [variables.reduce((sum, [name, value]) => sum + name.length + resolved(value).length, 0)];
  }
});
