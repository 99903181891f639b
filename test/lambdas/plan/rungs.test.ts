import { describe, expect, it } from "vitest";
import { clusterOf, leastOf, nodesOf, noRung } from "../../../lambdas/plan/rungs.ts";
import { keys, type Machine, priceOf, type RecipeInput, recipe } from "../../../lib/contracts/index.ts";
import { h100, ids, laptop, Run, record } from "./fixture.ts";

const records = ids(20).map((id) => record(id));
const onAws = (changes: Partial<Machine> = {}): Machine => ({
  ...h100,
  where: "aws",
  instanceType: "p5.48xlarge",
  gpus: 8,
  rungs: ["spot", "on-demand"],
  ...changes,
});

describe("nodes of a training", () => {
  it("are as many as the deployment allows, or fewer where the recipe asks for fewer", () => {
    const nodes = (machine: Machine, asked?: number) =>
      clusterOf(machine, recipe.parse(asked === undefined ? {} : { capacity: { nodes: asked } })).gpus;
    expect(nodes(onAws())).toBe(8);
    expect(nodes(onAws({ nodes: 4 }))).toBe(32);
    expect(nodes(onAws({ nodes: 4 }), 2)).toBe(16);
    expect(nodes(onAws({ nodes: 4 }), 64)).toBe(32);
  });

  it("are whole: each of them starts a process a GPU", () => {
    expect(nodesOf(12, onAws())).toEqual({ gpus: 8, nodes: 1 });
    expect(nodesOf(16, onAws())).toEqual({ gpus: 16, nodes: 2 });
    expect(nodesOf(4, onAws())).toEqual({ gpus: 4, nodes: 1 });
    expect(nodesOf(0, onAws({ gpus: 0 }))).toEqual({ gpus: 0, nodes: 1 });
  });

  it("reach the state machine with all of their GPUs, when the batch has a patch for each", async () => {
    const run = await Run.of({ records, recipe: { strategies: "ddp", plan: { batch: 16 } } });
    const { output } = await run.plan(onAws({ nodes: 2 }));
    expect(output.trainings).toMatchObject([{ strategy: "ddp", gpus: 16, nodes: 2 }]);
  });

  describe("on an instance that training prefers to the other stages'", () => {
    const plan = {
      instanceType: "p5en.48xlarge",
      gpus: 8,
      gpuName: "H200 141 GB",
      gpuMemoryGiB: 141,
      memoryGiB: 2048,
      rungs: ["reservation", "spot"],
    } as const;
    const machine = onAws({ instanceType: "p5.4xlarge", gpus: 1, nodes: 2, training: plan });

    it("are planned for its GPUs, which ddp then takes when the recipe names no strategy", async () => {
      const run = await Run.of({ records, recipe: { plan: { batch: 16 } } });
      const { output, plan: document } = await run.plan(machine);
      expect(output.trainings).toMatchObject([{ strategy: "ddp", gpus: 16, nodes: 2 }]);
      expect(document.notes.join(" ")).not.toContain("ddp");
    });

    it("are one with as few GPUs as the batch has patches, and a note says what stays idle", async () => {
      const run = await Run.of({ records, recipe: { strategies: "ddp", plan: { batch: 2 } } });
      const { output, plan: document } = await run.plan(machine);
      expect(output.trainings).toMatchObject([{ gpus: 2 }]);
      expect(output.trainings[0]).not.toHaveProperty("nodes");
      expect(document.notes).toContainEqual(expect.stringContaining("ddp uses 2 of 16 GPUs"));
    });

    it("are estimated at its price, each of them; a price of the deployment's own stands before the table's", async () => {
      const run = await Run.of({ records, recipe: { strategies: "ddp", plan: { batch: 16 } } });
      const trainOf = async (of: Machine) =>
        (await run.plan(of)).plan.estimate.stages.find(({ stage }) => stage === "train")!;
      const { usd, minutes } = await trainOf(machine);
      expect(usd).toBeCloseTo((2 * minutes * priceOf("p5en.48xlarge").usdPerHour) / 60, 0);
      const own = await trainOf({ ...machine, training: { ...plan, instanceType: "p5e.48xlarge", usdPerHour: 90 } });
      expect(own.usd).toBeCloseTo((2 * own.minutes * 90) / 60, 0);
    });

    it("fit a batch to the lesser of the two types: a training may fall to the other", () => {
      expect(leastOf(machine)).toMatchObject({ gpus: 1, gpuMemoryGiB: h100.gpuMemoryGiB });
      expect(leastOf({ ...machine, training: { ...plan, gpuMemoryGiB: 40 } })).toMatchObject({ gpuMemoryGiB: 40 });
    });

    it("are no rung of the other stages: a recipe that names it alone is told so", async () => {
      const planned = async (rungs: ("reservation" | "spot")[]) =>
        (await (await Run.of({ records, recipe: { capacity: { rungs } } })).plan(machine)).output;
      expect((await planned(["reservation"])).refusal).toMatchObject({
        code: "NoCapacity",
        message: expect.stringContaining("reservation, which this deployment has for training alone"),
        remedy: expect.stringContaining("spot, on-demand"),
      });
      expect(await planned(["reservation", "spot"])).toMatchObject({ go: true, rungs: ["reservation", "spot"] });
    });
  });
});

describe("the ladder of a plan", () => {
  it("is the recipe's, and the deployment's where the recipe says nothing", async () => {
    const silent = (await (await Run.of({ records })).plan(onAws())).output;
    expect(silent).not.toHaveProperty("rungs");
    expect(silent).not.toHaveProperty("trainOn");
    const run = await Run.of({ records, recipe: { capacity: { rungs: ["on-demand", "spot"], training: "batch" } } });
    expect((await run.plan(onAws())).output).toMatchObject({ rungs: ["on-demand", "spot"], trainOn: "batch" });
  });

  it("is refused before anything is paid for when the deployment has none of its rungs", async () => {
    const run = await Run.of({ records, recipe: { capacity: { rungs: "reservation" } } });
    const { output } = await run.plan(onAws());
    expect(output).toMatchObject({ go: false, refusal: { code: "NoCapacity" } });
    expect(noRung(recipe.parse({ capacity: { rungs: "spot" } }), onAws())).toBeUndefined();
    expect(noRung(recipe.parse({}), onAws())).toBeUndefined();
  });
});

describe("the history of an execution", () => {
  const whole: RecipeInput = {
    folds: "all",
    foldCount: 20,
    strategies: ["fp32", "amp", "dali", "fused", "ddp"],
    engines: ["torch", "inductor", "onnxruntime", "tensorrt"],
  };

  it("refuses a run that could pass it, with what is allowed, before anything is paid for", async () => {
    const { output } = await (await Run.of({ records, recipe: whole })).plan(onAws());
    expect(output).toMatchObject({
      go: false,
      refusal: {
        code: "RunTooLarge",
        message: expect.stringMatching(/^100 trainings with 160 engines can make \d+ events .* 20000 are allowed/),
        remedy: expect.stringContaining("fewer folds"),
      },
    });
  });

  it("holds the whole ladder on five folds, down four rungs", async () => {
    const { output } = await (await Run.of({ records, recipe: { ...whole, foldCount: 5 } })).plan(
      onAws({ mostRungs: 4 }),
    );
    expect(output).toMatchObject({ go: true });
  });

  it("is no matter of one machine", async () => {
    const { output } = await (await Run.of({ records, recipe: whole })).plan(onAws({ where: "local" }));
    expect(output).toMatchObject({ go: true });
  });
});

describe("time limits of jobs", () => {
  it("follow from the estimate on AWS, above the slack of a start and far below what a job may take at most", async () => {
    const { output, plan } = await (await Run.of({ records })).plan(onAws());
    const { seconds } = output.preprocess;
    const [engine] = output.trainings[0]!.engines;
    for (const limit of [seconds, engine!.compileSeconds, engine!.inferSeconds]) {
      expect(limit).toBeGreaterThanOrEqual(1_800);
      expect(limit).toBeLessThan(14_400);
    }
    const estimated = plan.estimate.stages.find(({ stage }) => stage === "preprocess")!.minutes * 60;
    expect(seconds).toBe(Math.ceil(4 * estimated + 1_800));
  });

  it("are none on one machine, where nothing costs", async () => {
    const { output } = await (await Run.of({ records })).plan(laptop);
    expect(output.preprocess).not.toHaveProperty("seconds");
    expect(output.trainings[0]!.engines[0]).not.toHaveProperty("inferSeconds");
  });
});

describe("the input of a transform job", () => {
  it("is an object a shard, written where the deployment transforms", async () => {
    const run = await Run.of({ records });
    const { output } = await run.plan(onAws({ transform: true }));
    const [training] = output.trainings;
    const [engine] = training!.engines;
    const taskId = `infer-${engine!.name}`;
    const prefix = run.uri(keys.transformLines(run.request.runId, taskId));
    const shards = await run.store.list(prefix);
    expect(shards.map(({ key }) => key)).toEqual(
      Array.from({ length: engine!.inferShards }, (_, shard) => `${shard}.jsonl`),
    );
    const first = await run.store.get(run.uri(keys.transformShard(run.request.runId, taskId, 0)));
    expect(new TextDecoder().decode(first)).toBe('{"shard":0}\n');
    expect(engine!.inferSeconds).toBeLessThanOrEqual(3_600);
  });
});
