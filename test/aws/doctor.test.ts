// doctor's questions to AWS: those that moto answers for real, and recorded answers for what it does not know.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import {
  ingestTypeCheck,
  instanceTypeChecks,
  offeringChecks,
  reservationChecks,
  trainingPlanChecks,
} from "../../lib/aws/capacity.ts";
import { examineAccount } from "../../lib/aws/doctor.ts";
import { organizationChecks } from "../../lib/aws/organization.ts";
import { type DeploymentInput, deployment } from "../../lib/contracts/index.ts";
import { type Moto, motoEnvironment, startMoto } from "./moto.ts";
import { RecordedAws, useRecordedAws } from "./recorded.ts";

const configured = (input: DeploymentInput = {}) => deployment.parse(input);
const spot = (instanceType: "p5.48xlarge" | "p4d.24xlarge" | "g6e.4xlarge", maxNodes = 2) =>
  ({ rung: "spot", instanceType, maxNodes }) as const;

describe("against moto", () => {
  let moto: Moto;
  // moto has the defaults of quotas, and no list of those that were applied.
  const quotas = new RecordedAws();
  beforeAll(async () => {
    moto = await startMoto();
    quotas.answers.ListServiceQuotas = { Quotas: [] };
    await quotas.start();
  }, 90_000);
  afterAll(() => {
    moto?.stop();
    quotas.stop();
  });
  beforeEach(() => {
    const environment = { ...motoEnvironment(moto.url), AWS_ENDPOINT_URL_SERVICE_QUOTAS: quotas.url };
    for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
  });
  afterEach(() => vi.unstubAllEnvs());

  // moto reads its tables of instance types when it is first asked for one.
  test("identity, a wrong region and stacks are known of an empty account, and nothing throws", async () => {
    const checks = await examineAccount(configured({ region: "eu-west-1" }));
    expect(checks[0]).toMatchObject({ name: "identity", state: "ok", found: expect.stringContaining("123456789012") });
    expect(checks[1]).toMatchObject({ name: "region", state: "failed", remedy: expect.stringContaining("eu-west-1") });
    expect(checks[2]).toMatchObject({
      name: "prices",
      state: "warning",
      found: expect.stringMatching(/^of us-east-1, 20.*eu-west-1/),
      remedy: expect.stringContaining("voxelburst cost --refresh-prices eu-west-1"),
    });
    // Of a new account: Spot was never used in it, and SageMaker neither.
    for (const name of ["Spot role", "log group /aws/sagemaker/TrainingJobs"])
      expect(checks.find((check) => check.name === name)).toMatchObject({ state: "warning" });
    const stacks = checks.filter(({ name }) => name.startsWith("stack "));
    expect(stacks).toHaveLength(4);
    for (const stack of stacks) expect(stack).toMatchObject({ state: "warning", found: "not deployed" });
    for (const { state, remedy } of checks) if (state !== "ok") expect(remedy).toMatch(/\S{3}/);
  }, 180_000);

  test("ingest's types are there, or those are named that the region has not", async () => {
    expect(await ingestTypeCheck()).toMatchObject([{ state: "ok", found: expect.stringContaining("r6id.4xlarge") }]);
    const asked = new RecordedAws();
    vi.stubEnv("AWS_ENDPOINT_URL_EC2", await asked.start());
    const offered = ["m5d.4xlarge", "r5d.4xlarge"].map((type) => `<item><instanceType>${type}</instanceType></item>`);
    asked.answers.DescribeInstanceTypeOfferings = `<DescribeInstanceTypeOfferingsResponse><instanceTypeOfferingSet>${offered.join("")}</instanceTypeOfferingSet></DescribeInstanceTypeOfferingsResponse>`;
    expect(await ingestTypeCheck()).toMatchObject([
      { state: "warning", found: "the region has no m6id.4xlarge, r6id.4xlarge" },
    ]);
    asked.stop();
  });

  test("a type is offered in some zones of the region, and refused in a zone that has none", async () => {
    const [offered] = await offeringChecks(configured({ fleets: [spot("p4d.24xlarge")] }));
    expect(offered).toMatchObject({ state: "warning", found: expect.stringMatching(/us-east-1[a-f]/) });
    const zone = "us-east-1e"; // moto's table has no p4d there
    const [refused] = await offeringChecks(
      configured({ region: "us-east-1", zones: [zone], fleets: [spot("p4d.24xlarge")] }),
    );
    expect(refused).toMatchObject({ state: "failed", found: expect.stringContaining(`not ${zone}`) });
  });

  const plan = "arn:aws:sagemaker:us-east-1:123456789012:training-plan/h200";

  test("types of transforms and of a training plan are looked at as those of fleets are", async () => {
    const config = configured({
      fleets: [spot("p4d.24xlarge")],
      training: { trainingPlanArn: plan, planInstanceType: "p5en.48xlarge" },
      transform: { enabled: true, instanceType: "g6e.4xlarge" },
    });
    expect((await instanceTypeChecks(config)).map(({ name, state }) => [name, state])).toEqual([
      ["EC2's description of p4d.24xlarge", "ok"],
      ["EC2's description of g6e.4xlarge", "ok"],
      ["EC2's description of p5en.48xlarge", "ok"],
    ]);
    // The zone of a plan is the plan's own.
    expect((await offeringChecks(config)).map(({ name }) => name)).toEqual([
      "zones of p4d.24xlarge",
      "zones of g6e.4xlarge",
    ]);
    expect(
      (await instanceTypeChecks({ ...config, transform: { ...config.transform, enabled: false } })).map(
        ({ name }) => name,
      ),
    ).not.toContain("EC2's description of g6e.4xlarge");
  });

  test("a transform's type may be in any of the zones, and in none is a warning, since arrays stand behind it", async () => {
    const inZones = (...zones: string[]) =>
      offeringChecks(
        configured({
          region: "us-east-1",
          zones,
          fleets: [{ rung: "on-demand", instanceType: "p5.4xlarge" }],
          transform: { enabled: true, instanceType: "g6e.4xlarge" },
        }),
      );
    // moto's table has no g6e in these two.
    expect((await inZones("us-east-1e", "us-east-1f"))[1]).toMatchObject({
      name: "zones of g6e.4xlarge",
      state: "warning",
      remedy: expect.stringMatching(/us-east-1a.* arrays/),
    });
    expect((await inZones("us-east-1e", "us-east-1a"))[1]).toMatchObject({ state: "ok" });
  });

  test("a fleet without EFA may start in any of the zones, one with EFA in the first alone", async () => {
    const inZones = (rung: "spot" | "on-demand") =>
      offeringChecks(
        configured({
          region: "us-east-1",
          zones: ["us-east-1e", "us-east-1a"],
          fleets: [{ rung, instanceType: "p4d.24xlarge" }],
        }),
      );
    expect(await inZones("spot")).toMatchObject([{ state: "ok" }]);
    expect(await inZones("on-demand")).toMatchObject([
      { state: "failed", found: expect.stringContaining("not us-east-1e") },
    ]);
  });

  test("EC2's own description of a type agrees with the table that launch templates are made from", async () => {
    const checks = await instanceTypeChecks(configured({ fleets: [spot("p4d.24xlarge"), spot("g6e.4xlarge")] }));
    expect(checks.map(({ name, state, found }) => [name, state, found])).toEqual(
      expect.arrayContaining([
        ["EC2's description of p4d.24xlarge", "ok", expect.stringContaining("4 EFA interfaces")],
        ["EC2's description of g6e.4xlarge", "ok", expect.stringContaining("1 GPUs")],
      ]),
    );
  });
});

describe("the monitor of unusual costs", () => {
  const account = "123456789012";
  const asked = async (answer: object, input: DeploymentInput = {}) => {
    const aws = new RecordedAws();
    for (const [name, value] of Object.entries(motoEnvironment(await aws.start()))) vi.stubEnv(name, value);
    aws.answers.DescribeOrganization = answer;
    try {
      return await organizationChecks(configured(input), account);
    } finally {
      aws.stop();
      vi.unstubAllEnvs();
    }
  };
  const organizationOf = (MasterAccountId: string) => ({ Organization: { Id: "o-exampleorgid", MasterAccountId } });

  test.each([
    ["of an organization's member", organizationOf("999999999999"), {}, "failed", /member.* 999999999999/],
    [
      "of a member that has none",
      organizationOf("999999999999"),
      { budgets: { anomalyMonitor: false } },
      "ok",
      /false/,
    ],
    ["of the management account", organizationOf(account), {}, "ok", /management account/],
    ["of an account alone", { __type: "AWSOrganizationsNotInUseException" }, {}, "ok", /no organization/],
  ])("%s", async (_, answer, input, state, found) => {
    const [check] = await asked(answer, input);
    expect(check).toMatchObject({ name: "anomaly monitor", state, found: expect.stringMatching(found) });
    if (state === "failed") expect(check!.remedy).toMatch(/`budgets\.anomalyMonitor` to false/);
  });

  test("of an account that may not ask is no verdict", async () => {
    await expect(asked({ __type: "AccessDeniedException" })).rejects.toThrow();
  });
});

describe("a reservation", () => {
  const aws = useRecordedAws();

  const reserved = (fields: Record<string, string>) =>
    `<DescribeCapacityReservationsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><capacityReservationSet><item>${Object.entries(
      {
        capacityReservationId: "cr-0123456789abcdef0",
        instanceType: "p5.48xlarge",
        availabilityZone: "us-east-1a",
        totalInstanceCount: "2",
        availableInstanceCount: "1",
        state: "active",
        reservationType: "capacity-block",
        endDate: "2026-12-01T11:30:00.000Z",
        ...fields,
      },
    )
      .map(([name, value]) => `<${name}>${value}</${name}>`)
      .join("")}</item></capacityReservationSet></DescribeCapacityReservationsResponse>`;
  const config = () =>
    configured({
      region: "us-east-1",
      zones: ["us-east-1a"],
      fleets: [
        {
          rung: "reservation",
          instanceType: "p5.48xlarge",
          reservationId: "cr-0123456789abcdef0",
          capacityBlock: true,
        },
      ],
    });

  test.each([
    ["as configured", {}, "ok", /active, 1 of 2 p5.48xlarge free in us-east-1a, until 2026-12-01/],
    ["of another type", { instanceType: "p4d.24xlarge" }, "failed", /p4d/],
    ["in another zone", { availabilityZone: "us-east-1b" }, "failed", /us-east-1b/],
    ["that is no Capacity Block", { reservationType: "default" }, "failed", /active/],
    ["that has not begun", { state: "scheduled" }, "warning", /scheduled/],
  ])("%s", async (_, fields, state, found) => {
    aws().answers.DescribeCapacityReservations = reserved(fields as Record<string, string>);
    const [check] = await reservationChecks(config());
    expect(check).toMatchObject({ state, found: expect.stringMatching(found) });
  });

  test("that nobody knows", async () => {
    aws().answers.DescribeCapacityReservations =
      '<DescribeCapacityReservationsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><capacityReservationSet/></DescribeCapacityReservationsResponse>';
    expect(await reservationChecks(config())).toMatchObject([{ state: "failed" }]);
  });
});

describe("a type that the region does not have", () => {
  test("is named with its option, and the others are looked at all the same", async () => {
    const aws = new RecordedAws();
    for (const [name, value] of Object.entries(motoEnvironment(await aws.start()))) vi.stubEnv(name, value);
    aws.answers.DescribeInstanceTypes =
      '<DescribeInstanceTypesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><instanceTypeSet><item><instanceType>g5.4xlarge</instanceType><vCpuInfo><defaultVCpus>16</defaultVCpus></vCpuInfo><gpuInfo><gpus><item><count>1</count></item></gpus></gpuInfo></item></instanceTypeSet></DescribeInstanceTypesResponse>';
    const config = configured({
      fleets: [{ rung: "on-demand", instanceType: "g5.4xlarge" }],
      transform: { enabled: true, instanceType: "g6e.xlarge" },
    });
    expect(await instanceTypeChecks(config)).toMatchObject([
      { name: "EC2's description of g5.4xlarge", state: "ok" },
      {
        name: "EC2's description of g6e.xlarge",
        state: "failed",
        remedy: expect.stringContaining("`transform.instanceType`"),
      },
    ]);
    aws.stop();
    vi.unstubAllEnvs();
  });
});

describe("a training plan", () => {
  const aws = useRecordedAws();

  test.each([
    ["as configured", {}, {}, "ok", /^Active, 2 of 2 ml\.p5en\.48xlarge free in us-east-1a, until 2026-12-01/],
    ["of another type", {}, { InstanceType: "ml.p5.48xlarge" }, "failed", /ml\.p5\.48xlarge/],
    ["in a zone without a subnet", {}, { AvailabilityZone: "us-east-1c" }, "warning", /us-east-1c/],
    ["that has not begun", { Status: "Scheduled" }, {}, "warning", /^Scheduled/],
  ])("%s", async (_, fields, capacity, state, found) => {
    aws().answers.DescribeTrainingPlan = {
      Status: "Active",
      AvailableInstanceCount: 2,
      TotalInstanceCount: 2,
      EndTime: Date.UTC(2026, 11, 1, 11, 30) / 1000,
      ReservedCapacitySummaries: [
        { InstanceType: "ml.p5en.48xlarge", AvailabilityZone: "us-east-1a", TotalInstanceCount: 2, ...capacity },
      ],
      ...fields,
    };
    const [check] = await trainingPlanChecks(
      configured({
        region: "us-east-1",
        zones: ["us-east-1a", "us-east-1b"],
        training: {
          trainingPlanArn: "arn:aws:sagemaker:us-east-1:123456789012:training-plan/h200",
          planInstanceType: "p5en.48xlarge",
        },
      }),
    );
    expect(check).toMatchObject({ state, found: expect.stringMatching(found) });
    expect(aws().inputsOf("DescribeTrainingPlan")).toEqual([{ TrainingPlanName: "h200" }]);
  });
});
