import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { App } from "aws-cdk-lib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as z from "zod";
import { parseDeployment, readDeployment } from "../../lib/cloud/settings.ts";
import { deployment } from "../../lib/contracts/deployment.ts";

const examples = new URL("../../examples/", import.meta.url);
const read = (given: unknown) => parseDeployment(given, "`voxelburst` in cdk.json");

describe("the deployment's configuration", () => {
  it("needs nothing: {} is Spot, then On-Demand, with caps on dollars and data that stays", () => {
    const config = read({});
    expect(config.fleets.map(({ rung, instanceType }) => `${rung} ${instanceType}`)).toEqual([
      "spot p5.4xlarge",
      "on-demand p5.4xlarge",
    ]);
    expect(config).toMatchObject({
      budgets: { maxUsdPerRun: 100, maxUsdPerMonth: 1_000 },
      removalPolicy: "retain",
      training: { backend: "sagemaker", nodes: 1 },
      transform: { enabled: false },
      image: { source: "asset" },
    });
    expect(config.schedule).toBeUndefined();
  });

  it("is read from an object of cdk.json and from the text of -c", () => {
    expect(read({ ingest: { maxVcpus: 2 } }).ingest.maxVcpus).toBe(2);
    expect(read('{"removalPolicy":"destroy"}').removalPolicy).toBe("destroy");
  });

  it("describes every option", () => {
    const undescribed: string[] = [];
    const walk = (json: z.core.JSONSchema.BaseSchema, at: string) => {
      const branches = json.oneOf ?? json.anyOf ?? (json.items ? [json.items as z.core.JSONSchema.BaseSchema] : []);
      for (const branch of branches) walk(branch as z.core.JSONSchema.BaseSchema, at);
      for (const [name, property] of Object.entries(json.properties ?? {})) {
        const option = property as z.core.JSONSchema.BaseSchema;
        const isDescribedInside = option.properties ?? option.oneOf ?? option.items;
        if (!option.description && !isDescribedInside && !("const" in option)) undescribed.push(`${at}${name}`);
        walk(option, `${at}${name}.`);
      }
    };
    walk(z.toJSONSchema(deployment, { io: "input", unrepresentable: "any" }), "");
    expect(undescribed).toEqual([]);
  });

  it.each([
    [{ gpuType: "p5" }, "gpuType is a field that is not known; allowed: the fields region, zones, vpc, fleets"],
    [
      { fleets: [{ rung: "spot", instanceType: "p3.2xlarge" }] },
      'fleets[0].instanceType is "p3.2xlarge"; allowed: one of "p4d.24xlarge"',
    ],
    [{ fleets: [{ rung: "cheap" }] }, 'fleets[0].rung is "cheap"; allowed: one of "reservation", "spot", "on-demand"'],
    [{ fleets: [] }, "fleets is []; allowed: at least 1 items"],
    [
      { fleets: [{ rung: "spot", instanceType: "p5e.48xlarge" }] },
      "fleets[0].usdPerHour is nothing; allowed: a price, since the table has none for p5e.48xlarge",
    ],
    [
      { fleets: [{ rung: "reservation", instanceType: "p5.48xlarge", reservationId: "block" }] },
      'fleets[0].reservationId is "block"; allowed: the id of a Capacity Reservation or Capacity Block',
    ],
    [
      { fleets: [{ rung: "reservation", instanceType: "p5.48xlarge", reservationId: "cr-0a1b2c3d4e5f60718" }] },
      "zones is nothing; allowed: the zone of the reservation first",
    ],
    [
      {
        fleets: [
          { rung: "spot", instanceType: "p5.4xlarge" },
          { rung: "spot", instanceType: "p5.4xlarge" },
        ],
      },
      "one fleet a rung and type",
    ],
    [
      { fleets: [{ rung: "spot", instanceType: "p5.4xlarge", waitSeconds: 60 }] },
      "waitSeconds is 60; allowed: at least 600",
    ],
    [{ ingest: { maxVcpus: 1.5 } }, "ingest.maxVcpus is 1.5; allowed: a whole number"],
    [{ zones: ["us-east-1a"] }, "a zone of `region`, which has to be given with it"],
    [{ region: "us-east-1", zones: ["eu-west-1a"] }, 'zones[0] is "eu-west-1a"; allowed: a zone of `region`'],
    [{ vpc: { use: "existing", vpcId: "vpc-0a1b2c3d", subnets: [] } }, "vpc.subnets is []; allowed: at least 1 items"],
    [
      { training: { backend: "batch", nodes: 2 }, fleets: [{ rung: "spot", instanceType: "p5.48xlarge" }] },
      "training.nodes is 2; allowed: at most the maxNodes of a fleet with EFA that is not on Spot",
    ],
    [{ training: { warmPoolSeconds: 21_601 } }, "training.warmPoolSeconds is 21601; allowed: at most 21600"],
    [
      { training: { trainingPlanArn: "plan" } },
      'training.trainingPlanArn is "plan"; allowed: the ARN of a SageMaker training plan',
    ],
    [
      { training: { trainingPlanArn: "arn:aws:sagemaker:us-east-1:111122223333:training-plan/a" } },
      "training.planInstanceType is nothing; allowed: trainingPlanArn and planInstanceType together",
    ],
    [
      { transform: { instanceType: "p5.48xlarge" } },
      'transform.instanceType is "p5.48xlarge"; allowed: one of "g5.4xlarge"',
    ],
    [
      { schedule: { dataset: "ref", cron: "0 2 * * *" } },
      'schedule.cron is "0 2 * * *"; allowed: EventBridge Scheduler\'s cron of once a day',
    ],
    [{ schedule: { dataset: "ref", recipe: { foldCount: 1 } } }, "schedule.recipe.foldCount is 1; allowed: at least 2"],
    [{ budgets: { maxUsdPerRun: -1 } }, "budgets.maxUsdPerRun is -1; allowed: more than 0"],
    [{ notifications: { emails: ["nobody"] } }, 'notifications.emails[0] is "nobody"'],
    [{ notifications: { httpsUrls: ["http://example.org"] } }, 'notifications.httpsUrls[0] is "http://example.org"'],
    [{ retention: { logDays: 2 } }, "retention.logDays is 2; allowed: one of 1, 3, 5"],
    [{ keys: { dataKeyArn: "alias/mine" } }, 'keys.dataKeyArn is "alias/mine"; allowed: the ARN of a KMS key'],
    [{ removalPolicy: "keep" }, 'removalPolicy is "keep"; allowed: one of "retain", "destroy"'],
    [
      { image: { source: "ecr", uri: "voxelburst:latest" } },
      'image.uri is "voxelburst:latest"; allowed: an image in ECR',
    ],
    [{ vpc: { use: "new", cidr: "999.0.0.0/16" } }, 'vpc.cidr is "999.0.0.0/16"; allowed: an IPv4 block'],
    [{ vpc: { use: "new", cidr: "10.0.1.7/16" } }, "allowed: an IPv4 block whose address has no bit behind its length"],
    [{ region: "us-east-1", zones: ["us-east-1a", "us-east-1a"] }, "each zone once; us-east-1a stands twice"],
    [{ schedule: { dataset: "ref", timeZone: "Mars/Base" } }, 'schedule.timeZone is "Mars/Base"; allowed: an IANA'],
    [{ schedule: { dataset: "ref", cron: "cron(99 99 * * ? *)" } }, 'schedule.cron is "cron(99 99 * * ? *)"'],
    [{ schedule: { dataset: "ref", cron: "cron(0 2 * * * *)" } }, 'schedule.cron is "cron(0 2 * * * *)"'],
    // NightlyAbsent would go off every weekend.
    [{ schedule: { dataset: "ref", cron: "cron(0 2 ? * MON-FRI *)" } }, 'schedule.cron is "cron(0 2 ? * MON-FRI *)"'],
    [{ tags: { "aws:team": "x" } }, 'a key that does not begin with "aws:"'],
    [{ tags: { "voxelburst:run": "x" } }, 'a key that does not begin with "voxelburst:"'],
    [{ tags: { application: "mine" } }, 'tags.application is "mine"; allowed: another key'],
    [{ tags: { Application: "mine" } }, 'tags.Application is "mine"; allowed: another key'],
    [
      { region: "us-east-1", keys: { dataKeyArn: "arn:aws:kms:eu-west-1:111122223333:key/a" } },
      "allowed: something in `region`, which is us-east-1",
    ],
    [
      {
        region: "us-east-1",
        image: { source: "ecr", uri: "111122223333.dkr.ecr.eu-west-1.amazonaws.com/voxelburst:1" },
      },
      "allowed: something in `region`, which is us-east-1",
    ],
    [
      {
        region: "us-east-1",
        vpc: {
          use: "existing",
          vpcId: "vpc-0a1b2c3d",
          subnets: [{ subnetId: "subnet-0a1b2c3d", zone: "eu-west-1a", routeTableId: "rtb-0a1b2c3d", addresses: 100 }],
        },
      },
      'vpc.subnets[0].zone is "eu-west-1a"; allowed: a zone of `region`',
    ],
    [
      { training: { nodes: 4 }, fleets: [{ rung: "on-demand", instanceType: "g6e.xlarge" }] },
      "training.nodes is 4; allowed: 1 without a fleet with EFA",
    ],
    [
      {
        training: {
          trainingPlanArn: "arn:aws:sagemaker:us-east-1:111122223333:training-plan/a",
          planInstanceType: "p5e.48xlarge",
        },
      },
      'training.planInstanceType is "p5e.48xlarge"; allowed: a type that the price table has',
    ],
    [[], "is []; allowed: a value of type object"],
    ["{", "is not JSON"],
  ])("refuses %j, naming the option, what was got and what is allowed", (given, message) => {
    expect(() => read(given)).toThrow(message);
  });
});

it.each(["cron(0 2 * * ? *)", "cron(59 23 ? * * *)"])("takes the schedule %s", (cron) => {
  expect(read({ schedule: { dataset: "ref", cron } }).schedule!.cron).toBe(cron);
});

describe("-c config=", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), "voxelburst-config-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));
  const readWith = (context: Record<string, unknown>) => readDeployment(new App({ context }));

  it("names a file", () => {
    const file = path.join(folder, "team.json");
    writeFileSync(file, '{"budgets":{"maxUsdPerRun":7}}');
    expect(readWith({ config: file }).budgets.maxUsdPerRun).toBe(7);
  });

  it("names the file in an error, and refuses one that is not there", () => {
    const file = path.join(folder, "wrong.json");
    writeFileSync(file, '{"budget":7}');
    expect(() => readWith({ config: file })).toThrow("wrong.json: budget is a field that is not known");
    expect(() => readWith({ config: path.join(folder, "none.json") })).toThrow("none.json cannot be read");
  });

  it("is not given beside `voxelburst`, since one of them would be ignored", () => {
    expect(() => readWith({ config: "a.json", voxelburst: {} })).toThrow("is given twice");
  });
});

describe("the examples", () => {
  it.each(readdirSync(examples).filter((name) => name.endsWith(".json")))("%s is a configuration", (name) => {
    expect(() => read(readFileSync(new URL(name, examples), "utf8"))).not.toThrow();
  });

  it("are the four that the documentation promises", () => {
    const types = Object.fromEntries(
      readdirSync(examples)
        .filter((name) => name.endsWith(".json"))
        .map((name) => [name, read(readFileSync(new URL(name, examples), "utf8"))]),
    );
    expect(Object.keys(types).sort()).toEqual([
      "p4d-spot.json",
      "p5-capacity-block.json",
      "p5en-training-plan.json",
      "small-lab-g6e.json",
    ]);
    expect(
      types["small-lab-g6e.json"]!.fleets.every((each) => each.instanceType.startsWith("g6e.") && each.maxNodes === 1),
    ).toBe(true);
    expect(types["p4d-spot.json"]!.fleets[0]).toMatchObject({ rung: "spot", instanceType: "p4d.24xlarge" });
    expect(types["p5-capacity-block.json"]!.fleets[0]).toMatchObject({
      instanceType: "p5.48xlarge",
      capacityBlock: true,
    });
    expect(types["p5en-training-plan.json"]!.training).toMatchObject({ planInstanceType: "p5en.48xlarge" });
  });
});
