import { describe, expect, it } from "vitest";
import { placeOf } from "../../../lambdas/plan/place.ts";
import { noRung } from "../../../lambdas/plan/rungs.ts";
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

const sageMaker = { backend: "sagemaker", isPreferred: true } as const;
const batch = { backend: "batch", isForSeveralNodes: true } as const;
/** As examples/p5en-training-plan.json has it. */
const p5en = onAws({
  instanceType: "p5.4xlarge",
  gpus: 1,
  nodes: 2,
  training: [
    { kind: "reservation", instanceType: "p5en.48xlarge", ...sageMaker, isForSeveralNodes: true },
    { kind: "spot", instanceType: "p5.4xlarge", ...sageMaker },
    { kind: "on-demand", instanceType: "p5.4xlarge", ...sageMaker, isForSeveralNodes: true },
    { kind: "on-demand", instanceType: "p5.4xlarge", ...batch },
  ],
});
/** As examples/p5-capacity-block.json has it. */
const block = onAws({
  nodes: 2,
  rungs: ["reservation", "on-demand", "smaller-gpu"],
  training: [
    { kind: "reservation", instanceType: "p5.48xlarge", ...batch, isPreferred: true },
    { kind: "on-demand", instanceType: "p5.48xlarge", ...batch, isPreferred: true },
    { kind: "on-demand", instanceType: "p5.48xlarge", backend: "sagemaker", isForSeveralNodes: true },
    { kind: "smaller-gpu", instanceType: "p5.4xlarge", ...batch, isPreferred: true },
    { kind: "smaller-gpu", instanceType: "p5.4xlarge", backend: "sagemaker", isForSeveralNodes: true },
  ],
});
const planned = async (machine: Machine, given: RecipeInput) => {
  const { output, plan } = await (await Run.of({ records, recipe: given })).plan(machine);
  const train = plan.estimate.stages.find(({ stage }) => stage === "train")!;
  return { output, notes: plan.notes.join(" "), train, usdPerHour: (60 * train.usd) / train.minutes };
};

describe("nodes of a training", () => {
  const place = (gpus: number, machine: Machine, nodes?: number) => {
    const { node: _, ...rest } = placeOf("ddp", gpus, machine, recipe.parse({ capacity: { nodes } }));
    return rest;
  };

  it("are as many as the deployment allows, or fewer where the recipe asks for fewer", () => {
    expect(place(64, onAws()).gpus).toBe(8);
    expect(place(64, onAws({ nodes: 4 })).gpus).toBe(32);
    expect(place(64, onAws({ nodes: 4 }), 2).gpus).toBe(16);
    expect(place(64, onAws({ nodes: 4 }), 64).gpus).toBe(32);
  });

  it("are whole: each of them starts a process a GPU", () => {
    const machine = onAws({ nodes: 2 });
    expect(place(12, machine)).toEqual({ gpus: 8, nodes: 1 });
    expect(place(16, machine)).toEqual({ gpus: 16, nodes: 2 });
    expect(place(4, machine)).toEqual({ gpus: 4, nodes: 1 });
    expect(place(4, onAws({ gpus: 0 }))).toEqual({ gpus: 0, nodes: 1 });
  });

  it("are several only where they have more GPUs than the one that is tried first", () => {
    const [, , small] = p5en.training!;
    const large = { kind: "spot", instanceType: "p5.48xlarge", ...sageMaker } as const;
    expect(place(16, { ...p5en, training: [large, small!] })).toEqual({ gpus: 8, nodes: 1 });
  });

  it("reach the state machine with all of their GPUs, when the batch has a patch for each", async () => {
    const { output } = await planned(onAws({ nodes: 2 }), { strategies: "ddp", plan: { batch: 16 } });
    expect(output.trainings).toMatchObject([{ strategy: "ddp", gpus: 16, nodes: 2 }]);
  });
});

describe("a training", () => {
  it("is planned for the GPUs of its first rung, which ddp takes when the recipe names no strategy", async () => {
    const { output, notes } = await planned(p5en, { plan: { batch: 16 } });
    expect(output.trainings).toMatchObject([{ strategy: "ddp", gpus: 16, nodes: 2 }]);
    expect(notes).not.toContain("ddp");
  });

  it("has as few GPUs as the batch has patches, and a note says what stays idle", async () => {
    const { output, notes } = await planned(p5en, { strategies: "ddp", plan: { batch: 2 } });
    expect(output.trainings).toMatchObject([{ gpus: 2 }]);
    expect(output.trainings[0]).not.toHaveProperty("nodes");
    expect(notes).toContain("ddp uses 2 of 16 GPUs");
  });

  it("is estimated at its rung's price, each node; a price of the deployment's own stands before the table's", async () => {
    const given: RecipeInput = { strategies: "ddp", plan: { batch: 16 } };
    expect((await planned(p5en, given)).usdPerHour).toBeCloseTo(2 * priceOf("p5en.48xlarge").usdPerHour, -1);
    const [first] = p5en.training!;
    const own = { ...p5en, training: [{ ...first!, instanceType: "p5e.48xlarge", usdPerHour: 90 } as const] };
    expect((await planned(own, given)).usdPerHour).toBeCloseTo(180, -1);
  });

  it("that may have Spot alone is of one instance, since none there takes several, at its price; a note says so", async () => {
    const { output, notes, usdPerHour } = await planned(p5en, {
      strategies: "ddp",
      plan: { batch: 8 },
      capacity: { rungs: ["spot"] },
    });
    expect(output).toMatchObject({ go: true, trainings: [{ gpus: 1 }] });
    expect(output.trainings[0]).not.toHaveProperty("nodes");
    expect(usdPerHour).toBeCloseTo(priceOf("p5.4xlarge").usdPerHour, 0);
    expect(notes).toContain("No rung that this run may use takes a training of several instances");
  });

  it("is of the recipe's first kind and of its backend", async () => {
    const onDemand = await planned(p5en, { plan: { batch: 8 }, capacity: { rungs: ["on-demand", "reservation"] } });
    expect(onDemand.output.trainings).toMatchObject([{ strategy: "ddp", gpus: 2, nodes: 2 }]);
    expect(onDemand.usdPerHour).toBeCloseTo(2 * priceOf("p5.4xlarge").usdPerHour, 0);
    const onBatch = await planned(p5en, { plan: { batch: 8 }, capacity: { training: "batch" } });
    expect(onBatch.output.trainings).toMatchObject([{ strategy: "ddp", gpus: 2, nodes: 2 }]);
  });

  it("is refused before anything is paid for where no rung has the recipe's kind and backend", async () => {
    const { output } = await planned(p5en, { capacity: { rungs: ["spot"], training: "batch" } });
    expect(output).toMatchObject({
      go: false,
      refusal: {
        code: "NoCapacity",
        message: expect.stringMatching(
          /^No rung is left for training: capacity.rungs is spot and capacity.training is batch; .* reservation p5en.48xlarge on sagemaker, .* on-demand p5.4xlarge on batch \(if it is named\)\.$/,
        ),
      },
    });
  });

  it("is no rung of the other stages: a recipe that names it alone is told so", async () => {
    const { output } = await planned(p5en, { capacity: { rungs: ["reservation"] } });
    expect(output.refusal).toMatchObject({
      code: "NoCapacity",
      message: expect.stringContaining("reservation, which this deployment has for training alone"),
      remedy: expect.stringContaining("spot, on-demand"),
    });
    const both = await planned(p5en, { capacity: { rungs: ["reservation", "spot"] } });
    expect(both.output).toMatchObject({ go: true, rungs: ["reservation", "spot"] });
  });

  const full: RecipeInput = { strategies: "ddp", plan: { batch: 128, patch: [128, 128, 128] } };

  it("has its batch fitted to the GPUs that it is planned for, and a rung that could not hold it is named", async () => {
    const { output, notes } = await planned(block, full);
    expect(output).toMatchObject({ go: true, trainings: [{ gpus: 16, nodes: 2 }] });
    expect(notes).toMatch(
      /A training that falls to smaller-gpu p5.4xlarge would run out of memory there: 64 patches a GPU need about \d+\.\d GiB and a GPU has 72\.0 to give/,
    );
    expect(notes).not.toContain("falls to on-demand");
  });

  it("is told of no rung that the recipe leaves out, and of none that holds the batch", async () => {
    const without = await planned(block, { ...full, capacity: { rungs: ["reservation", "on-demand"] } });
    expect(without.notes).not.toContain("run out of memory");
    const small = await planned(block, { strategies: "ddp", plan: { batch: 16, patch: [64, 64, 64] } });
    expect(small.notes).not.toContain("run out of memory");
  });

  it("is refused where its own GPUs do not hold their share, in their words", async () => {
    const { output, notes } = await planned(block, { ...full, plan: { ...full.plan, batch: 512 } });
    expect(output.refusal).toMatchObject({ code: "MemoryTooSmall", message: expect.stringContaining("72.0 GiB") });
    expect(notes).not.toContain("falls to reservation");
  });

  it("keeps a batch that the other stages' GPU could not hold", async () => {
    const { output } = await planned(p5en, { strategies: "ddp", plan: { batch: 32, patch: [128, 128, 128] } });
    expect(output).toMatchObject({ go: true, trainings: [{ gpus: 16, nodes: 2 }] });
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
