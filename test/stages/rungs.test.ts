// The rungs that a deployment's configuration becomes, stage by stage.
import type { Stack } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import type * as sfn from "aws-cdk-lib/aws-stepfunctions";
import jsonata from "jsonata";
import { describe, expect, it } from "vitest";
import { trainingLadder } from "../../lambdas/plan/place.ts";
import {
  type DeploymentInput,
  type Machine,
  mostUsdPerHour,
  reserveInput,
  rungKind,
  SAGEMAKER_MOST_PER_EC2,
} from "../../lib/contracts/index.ts";
import { expressionOf } from "../../lib/local/asl/jsonata-evaluate.ts";
import { voxelburstApp } from "../../lib/stacks/voxelburst-app.ts";
import type { RungData } from "../../lib/stages/rung.ts";
import type { JobStage } from "../../lib/stages/stage-context.ts";
import { TRANSFORM_AMI } from "../../lib/stages/transform-job-task.ts";

const STAGES = ["Ingest", "Preprocess", "Train", "Compile", "Infer"] as const;

function laddersOf(voxelburst: DeploymentInput): Record<(typeof STAGES)[number], readonly RungData[]> {
  const app = voxelburstApp({ context: { "aws:cdk:bundling-stacks": [], voxelburst } });
  const stack = app.node.findChild("VoxelburstWorkflow").node;
  return Object.fromEntries(
    STAGES.map((stage) => [stage, (stack.findChild(stage) as unknown as JobStage).rungs]),
  ) as ReturnType<typeof laddersOf>;
}
const names = (rungs: readonly RungData[]) => rungs.map(({ name }) => name);

describe("the default deployment", () => {
  const ladders = laddersOf({});

  it("tries Spot and then On-Demand, on the fleets' own queues", () => {
    expect(names(ladders.Preprocess)).toEqual(["spot-p5.4xlarge", "on-demand-p5.4xlarge"]);
    expect(new Set(ladders.Preprocess.map(({ queue }) => queue)).size).toBe(2);
    // One type, one size, one definition.
    expect(new Set(ladders.Preprocess.map(({ definition }) => definition)).size).toBe(1);
    expect(names(ladders.Infer)).toEqual(names(ladders.Compile));
  });

  it("ingests on Spot CPUs, and On-Demand where Spot has none: one definition, reserved at the dearest of the types", () => {
    expect(names(ladders.Ingest)).toEqual(["spot-cpu", "on-demand-cpu"]);
    expect(new Set(ladders.Ingest.map(({ queue }) => queue)).size).toBe(2);
    for (const key of ["definition", "instanceType", "childrenPerInstance"] as const)
      expect(new Set(ladders.Ingest.map((rung) => rung[key])).size, key).toBe(1);
  });

  it("trains on SageMaker, and on Batch over EFA for a recipe that asks for it, never on Spot there", () => {
    expect(ladders.Train.map(({ name, isPreferred }) => [name, isPreferred])).toEqual([
      ["spot-ml.p5.4xlarge", true],
      ["on-demand-ml.p5.4xlarge", true],
      ["on-demand-p5.4xlarge-cluster", false],
    ]);
  });

  it("names its rungs as the ledger takes them, each once in its ladder", () => {
    for (const [stage, rungs] of Object.entries(ladders)) {
      expect(new Set(names(rungs)).size, stage).toBe(rungs.length);
      for (const { name, kind } of rungs) {
        expect(reserveInput.shape.rung.safeParse(name).success, name).toBe(true);
        expect(rungKind.options).toContain(kind);
      }
    }
  });
});

describe("a price that the deployment gives", () => {
  const ladders = laddersOf({
    region: "us-east-1",
    zones: ["us-east-1a"],
    fleets: [
      {
        rung: "reservation",
        instanceType: "p5.48xlarge",
        reservationId: "cr-0123456789abcdef0",
        capacityBlock: true,
        usdPerHour: 0.01,
      },
      { rung: "on-demand", instanceType: "p5.48xlarge" },
    ],
  });
  const priceOf = (rungs: readonly RungData[], name: string) => {
    const { service, instanceType, usdPerHour } = rungs.find((rung) => rung.name === name)!;
    return mostUsdPerHour(service === "batch" ? "ec2" : "sagemaker", instanceType, usdPerHour);
  };

  it("is its fleet's, not the type's: a block paid in advance makes nothing on demand cheaper", () => {
    expect(priceOf(ladders.Infer, "reservation-p5.48xlarge")).toBe(0.01);
    expect(priceOf(ladders.Train, "reservation-p5.48xlarge-cluster")).toBe(0.01);
    const onDemand = mostUsdPerHour("ec2", "p5.48xlarge");
    expect(onDemand).toBeGreaterThan(50);
    expect(priceOf(ladders.Infer, "on-demand-p5.48xlarge")).toBe(onDemand);
    expect(priceOf(ladders.Train, "on-demand-p5.48xlarge-cluster")).toBe(onDemand);
    expect(priceOf(ladders.Train, "on-demand-ml.p5.48xlarge")).toBeGreaterThan(onDemand);
  });

  it("makes SageMaker no cheaper than the table does, and stands in for it where the table has none", () => {
    const cheap = laddersOf({ fleets: [{ rung: "on-demand", instanceType: "p5.4xlarge", usdPerHour: 1 }] });
    expect(priceOf(cheap.Train, "on-demand-ml.p5.4xlarge")).toBe(mostUsdPerHour("sagemaker", "p5.4xlarge"));
    const unlisted = laddersOf({ fleets: [{ rung: "on-demand", instanceType: "p5e.48xlarge", usdPerHour: 50 }] });
    expect(priceOf(unlisted.Train, "on-demand-ml.p5e.48xlarge")).toBeCloseTo(50 * SAGEMAKER_MOST_PER_EC2);
  });
});

describe("trainings", () => {
  it("ask for no larger volume than a type's own drives hold", () => {
    const { Train } = laddersOf({ fleets: [{ rung: "on-demand", instanceType: "g6e.xlarge" }] });
    expect(Train[0]?.ResourceConfig).toMatchObject({ InstanceType: "ml.g6e.xlarge", VolumeSizeInGB: 250 });
  });

  const plan = "arn:aws:sagemaker:us-east-1:123456789012:training-plan/p5en";

  it("begin with a training plan, which has no warm pool of its own; On-Demand has one, and Spot none", () => {
    const { Train } = laddersOf({
      fleets: [
        { rung: "spot", instanceType: "p5en.48xlarge" },
        { rung: "on-demand", instanceType: "p5en.48xlarge" },
      ],
      training: { trainingPlanArn: plan, planInstanceType: "p5en.48xlarge", warmPoolSeconds: 900, nodes: 2 },
    });
    expect(names(Train)).toEqual([
      "reservation-ml.p5en.48xlarge-plan",
      "spot-ml.p5en.48xlarge",
      "on-demand-ml.p5en.48xlarge",
      "on-demand-p5en.48xlarge-cluster",
    ]);
    const [planned, spot, onDemand] = Train;
    expect(planned?.ResourceConfig).toEqual({
      InstanceType: "ml.p5en.48xlarge",
      VolumeSizeInGB: 500,
      TrainingPlanArn: plan,
    });
    expect(spot?.ResourceConfig).not.toHaveProperty("KeepAlivePeriodInSeconds");
    expect(onDemand).toMatchObject({ ResourceConfig: { KeepAlivePeriodInSeconds: 900 }, keepAliveSeconds: 900 });
    expect(Train.map(({ isForSeveralNodes }) => isForSeveralNodes)).toEqual([true, false, true, true]);
    expect(planned?.Environment).toEqual({ FI_PROVIDER: "efa", FI_EFA_USE_HUGE_PAGE: "0" });
  });

  it("are planned for the rungs that the state machine then tries, in that order", async () => {
    const configuration: DeploymentInput = {
      fleets: [
        { rung: "spot", instanceType: "p5en.48xlarge" },
        { rung: "on-demand", instanceType: "p5.48xlarge" },
        { rung: "smaller-gpu", instanceType: "g6e.xlarge" },
      ],
      training: { trainingPlanArn: plan, planInstanceType: "p5en.48xlarge", nodes: 2 },
    };
    const app = voxelburstApp({ context: { "aws:cdk:bundling-stacks": [], voxelburst: configuration } });
    const stack = app.node.findChild("VoxelburstWorkflow") as Stack;
    const { rungs } = stack.node.findChild("Train") as unknown as JobStage;
    const [json] = Object.values(Template.fromStack(stack).findResources("AWS::Lambda::Function")).flatMap(
      ({ Properties }) => Properties.Environment?.Variables?.VOXELBURST_MACHINE ?? [],
    );
    const machine: Machine = JSON.parse(json);
    const state = app.node.findAll().find(({ node }) => node.id === "TrainRungs") as sfn.Pass;
    const { trainRungs } = (state.toStateJson() as { Assign: Record<string, string> }).Assign;
    const expression = jsonata(expressionOf(trainRungs)!);
    for (const kinds of [undefined, ["on-demand", "reservation"], ["spot"], ["smaller-gpu", "spot"]] as const)
      for (const trainOn of [undefined, "batch", "sagemaker"] as const)
        for (const nodes of [1, 2]) {
          const variables = { plan: { rungs: kinds, trainOn }, training: { nodes }, ladders: { train: rungs } };
          const tried: RungData[] = await expression.evaluate(undefined, variables);
          const recipe = { capacity: { rungs: kinds && [...kinds], training: trainOn, pricedAs: "p5.4xlarge" } };
          const planned = trainingLadder(machine, recipe).filter((rung) => nodes === 1 || rung.isForSeveralNodes);
          const shown = (all: readonly { kind: string; instanceType: string; backend?: string }[]) =>
            all.map(({ kind, instanceType, backend }) => `${kind} ${instanceType} ${backend}`);
          expect(shown(planned), JSON.stringify([kinds, trainOn, nodes])).toEqual(shown(tried));
        }
  });

  it("take a Capacity Block through Batch whatever is preferred: SageMaker cannot use it", () => {
    const { Train } = laddersOf({
      region: "us-east-1",
      zones: ["us-east-1a"],
      fleets: [
        {
          rung: "reservation",
          instanceType: "p5.48xlarge",
          reservationId: "cr-0123456789abcdef0",
          capacityBlock: true,
        },
        { rung: "on-demand", instanceType: "p5.48xlarge" },
      ],
    });
    expect(Train.map(({ name, isPreferred }) => [name, isPreferred])).toEqual([
      ["reservation-p5.48xlarge-cluster", true],
      ["on-demand-ml.p5.48xlarge", true],
      ["on-demand-p5.48xlarge-cluster", false],
    ]);
  });

  it("prefer Batch where the deployment does", () => {
    const { Train } = laddersOf({
      fleets: [{ rung: "on-demand", instanceType: "p5.48xlarge" }],
      training: { backend: "batch" },
    });
    expect(Train.map(({ name, isPreferred }) => [name, isPreferred])).toEqual([
      ["on-demand-p5.48xlarge-cluster", true],
      ["on-demand-ml.p5.48xlarge", false],
    ]);
  });

  it("are refused where they could run nowhere: multi-node jobs with Spot fleets alone", () => {
    const spotAlone: DeploymentInput = {
      fleets: [{ rung: "spot", instanceType: "p5.48xlarge" }],
      training: { backend: "batch" },
    };
    expect(() => laddersOf(spotAlone)).toThrow(/No fleet can train: training.backend is batch/);
  });

  it("set up no EFA where the type has none", () => {
    const { Train } = laddersOf({ fleets: [{ rung: "on-demand", instanceType: "g6e.4xlarge" }] });
    expect(Train[0]).toMatchObject({ Environment: {}, isForSeveralNodes: false });
  });
});

describe("transform", () => {
  const transform = { enabled: true, instanceType: "g5.4xlarge", maxNodes: 3 } as const;

  it("is a smaller GPU beside p5, in front of the arrays, on an AMI that names its driver", () => {
    const { Infer } = laddersOf({ transform });
    expect(names(Infer)).toEqual(["smaller-gpu-g5.4xlarge-transform", "spot-p5.4xlarge", "on-demand-p5.4xlarge"]);
    expect(Infer[0]).toMatchObject({
      service: "transform",
      TransformResources: {
        InstanceType: "ml.g5.4xlarge",
        InstanceCount: 3,
        TransformAmiVersion: "al2-ami-sagemaker-batch-gpu-535",
      },
    });
  });

  it("is On-Demand where the fleets have its GPU, so that every engine can infer there", () => {
    const { Infer } = laddersOf({ fleets: [{ rung: "on-demand", instanceType: "g5.4xlarge" }], transform });
    expect(names(Infer)).toEqual(["on-demand-g5.4xlarge-transform", "on-demand-g5.4xlarge"]);
  });

  it("has a driver that CUDA 12 runs on, and names it in its AMI", () => {
    expect(TRANSFORM_AMI.driver).toBeGreaterThanOrEqual(525);
    expect(TRANSFORM_AMI.version.endsWith(`-${TRANSFORM_AMI.driver}`)).toBe(true);
  });
});
