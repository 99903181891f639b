import { describe, expect, it } from "vitest";
import { inferCase, keys, preprocessCase, type Training, trainCase } from "../../../lib/contracts/index.ts";
import { h100, ids, laptop, Run, record, temporaryFolder } from "./fixture.ts";

const records = ids(20).map((id) => record(id));
const cpu = (patch: Partial<typeof laptop> = {}) => ({ ...laptop, ...patch });

async function manifestOf(run: Run, taskId: string): Promise<unknown[]> {
  const bytes = await run.store.get(run.uri(keys.channelManifest(run.request.runId, taskId)));
  return JSON.parse(new TextDecoder().decode(bytes));
}

describe("plan", () => {
  it("writes a task, its cases and a channel manifest for every stage behind it", async () => {
    const run = await Run.of({ records: [...records, record("new_001", { split: "test" })] });
    const { output, plan } = await run.plan();
    expect(output).toMatchObject({ go: true, preprocess: { missing: 20, shards: 2 }, trainConcurrency: 1 });
    expect(plan.cases).toEqual({ training: 20, test: 1, quarantined: 0 });
    expect(output.trainings.map((training) => training.name)).toEqual(["fold0-fused"]);

    const { runId } = run.request;
    const preprocess = await run.task(output.preprocess.taskKey);
    expect(preprocess).toMatchObject({ stage: "preprocess", taskId: "preprocess", planKey: output.planKey });
    const arrays = await run.lines(keys.taskCases(runId, "preprocess"), preprocessCase);
    expect(arrays).toHaveLength(20);

    const [training] = output.trainings as [Training];
    const train = await run.task(training.taskKey);
    expect(train).toMatchObject({ stage: "train", fold: "fold0", strategy: "fused", gpus: 0 });
    expect(train.inputHash).toBe(training.trainHash);
    const trainCases = await run.lines(keys.taskCases(runId, "train-fold0-fused"), trainCase);
    expect(trainCases.filter((item) => item.part === "train")).toHaveLength(16);
    const prefixes = new Set(arrays.map((item) => item.outputPrefix));
    expect(trainCases.every((item) => prefixes.has(item.arraysPrefix))).toBe(true);
    const manifest = await manifestOf(run, "train-fold0-fused");
    expect(manifest[0]).toEqual({ prefix: `${run.artefactsUri}preprocess/` });
    expect(manifest.slice(1, 5)).toEqual(
      ["image.npy", "label.npy", "foreground.npz", "meta.json"].map(
        (file) => `${trainCases[0]!.arraysPrefix.replace("preprocess/", "")}${file}`,
      ),
    );
    expect(manifest).toHaveLength(1 + 4 * 20);

    const [engine] = training.engines;
    const compile = await run.task(engine!.compileTaskKey);
    expect(compile).toMatchObject({
      stage: "compile",
      engine: "onnxruntime",
      modelPrefix: `train/${training.trainHash}/`,
    });
    const judged = await run.lines(keys.taskCases(runId, "compile-fold0-fused-onnxruntime"), trainCase);
    expect(judged.filter((item) => item.part === "validation")).toHaveLength(4);
    // What 8 bits are calibrated on, and never the validation cases.
    expect(judged.filter((item) => item.part === "train")).toHaveLength(8);
    const infer = await run.task(engine!.inferTaskKey);
    expect(infer).toMatchObject({ stage: "infer", masksPrefix: `runs/${runId}/masks/fold0-fused-onnxruntime/` });
    expect(infer.stage === "infer" && compile.stage === "compile" && infer.enginePrefix === compile.outputPrefix).toBe(
      true,
    );
    const inferred = await run.lines(keys.taskCases(runId, "infer-fold0-fused-onnxruntime"), inferCase);
    expect(inferred.map((item) => item.part)).toEqual([...Array(4).fill("validation"), "test"]);
  });

  it("makes a training of every fold and strategy, with every engine on the weights of the last strategy", async () => {
    const run = await Run.of({
      records,
      recipe: { folds: ["fold0", "fold2"], strategies: ["dali", "fp32"], engines: ["onnxruntime", "torch"] },
    });
    const { output, plan } = await run.plan();
    expect(output.trainings.flatMap((training) => training.engines.map((engine) => engine.name))).toEqual([
      "fold0-dali-onnxruntime",
      "fold0-dali-torch",
      "fold0-fp32-onnxruntime",
      "fold2-dali-onnxruntime",
      "fold2-dali-torch",
      "fold2-fp32-onnxruntime",
    ]);
    expect(new Set(output.trainings.map((training) => training.trainHash)).size).toBe(4);
    expect(plan.folds.map((fold) => fold.name)).toEqual(["fold0", "fold2"]);
  });

  it("makes arrays of the cases that the chosen folds use, and of no others", async () => {
    const [a, b, c] = ids(3);
    const run = await Run.of({ records: records.slice(0, 3), splits: { fold1: { train: [a!], val: [b!] } } });
    await run.plan();
    const arrays = await run.lines(keys.taskCases(run.request.runId, "preprocess"), preprocessCase);
    expect(arrays.map((item) => item.caseId)).toEqual([a, b]);
    expect(arrays.map((item) => item.caseId)).not.toContain(c);
  });

  it("names what exists already, so that it is skipped", async () => {
    const run = await Run.of({ records });
    const { output } = await run.plan();
    const arrays = await run.lines(keys.taskCases(run.request.runId, "preprocess"), preprocessCase);
    for (const item of arrays.slice(5)) await run.putJson(keys.arraysMeta(item.outputHash), {});
    const [training] = output.trainings as [Training];
    await run.putJson(keys.outputResult(keys.output("train", training.trainHash)), {});
    const compile = await run.task(training.engines[0]!.compileTaskKey);
    if (compile.stage === "compile") await run.putJson(keys.outputResult(compile.outputPrefix), {});
    const again = (await run.plan()).output;
    expect(again.preprocess.missing).toBe(5);
    expect(again.trainings[0]).toMatchObject({ trained: true, engines: [{ compiled: true }] });
  });

  it("stays the same when planned twice", async () => {
    const run = await Run.of({ records });
    expect(await run.plan()).toEqual(await run.plan());
  });
});

describe("a corrected label redoes what it touches:", () => {
  interface Hashes {
    arrays: Map<string, string>;
    train: string;
    compile: string;
    infer: Map<string, string>;
  }
  const corrected = (id: string) =>
    ids(20).map((other) => record(other, other === id ? { content: "corrected", mean: 101 } : {}));

  async function hashes(records: Parameters<typeof Run.of>[0]["records"], channel = "MRI", nonce?: string) {
    const run = await Run.of({ records, dataset: { channels: [channel] }, request: nonce ? { nonce } : {} });
    const { output, plan } = await run.plan();
    const { runId } = run.request;
    const arrays = await run.lines(keys.taskCases(runId, "preprocess"), preprocessCase);
    const infer = await run.lines(keys.taskCases(runId, "infer-fold0-fused-onnxruntime"), inferCase);
    const all: Hashes = {
      arrays: new Map(arrays.map((item) => [item.caseId, item.outputHash])),
      train: output.trainings[0]!.trainHash,
      compile: (await run.task(output.trainings[0]!.engines[0]!.compileTaskKey)).inputHash,
      infer: new Map(infer.map((item) => [item.caseId, item.outputHash])),
    };
    return { ...all, fold: plan.folds[0]! };
  }
  const changed = (a: Map<string, string>, b: Map<string, string>) =>
    [...a.keys()].filter((id) => a.get(id) !== b.get(id));

  it("of a training case: its arrays, the training and all behind it", async () => {
    const before = await hashes(records);
    const id = before.fold.train[0]!;
    const after = await hashes(corrected(id));
    expect(changed(before.arrays, after.arrays)).toEqual([id]);
    expect(after.train).not.toBe(before.train);
    expect(after.compile).not.toBe(before.compile);
    expect(changed(before.infer, after.infer)).toEqual(before.fold.validation);
  });

  it("of a validation case: its arrays, the engine's parity and its own mask, not the training", async () => {
    const before = await hashes(records);
    const id = before.fold.validation[0]!;
    const after = await hashes(corrected(id));
    expect(changed(before.arrays, after.arrays)).toEqual([id]);
    expect(after.train).toBe(before.train);
    expect(after.compile).not.toBe(before.compile);
    expect(changed(before.infer, after.infer)).toEqual([id]);
  });

  it("of CT: every array, since nnU-Net clips by the whole dataset's foreground", async () => {
    const before = await hashes(records, "CT");
    const after = await hashes(corrected(before.fold.train[0]!), "CT");
    expect(changed(before.arrays, after.arrays)).toHaveLength(20);
  });

  it("and a nonce redoes everything that is timed", async () => {
    const before = await hashes(records);
    const after = await hashes(records, "MRI", "bench-1");
    expect(changed(before.arrays, after.arrays)).toHaveLength(20);
    expect(changed(before.infer, after.infer)).toHaveLength(4);
    expect(after.train).not.toBe(before.train);
    expect(after.compile).not.toBe(before.compile);
  });
});

describe("a setting redoes what it touches:", () => {
  const planned = async (recipe: Parameters<typeof Run.of>[0]["recipe"], machine = laptop) => {
    const run = await Run.of({ records, recipe });
    const { output } = await run.plan(machine);
    const [training] = output.trainings as [Training];
    const preprocess = await run.task(output.preprocess.taskKey);
    const compile = await run.task(training.engines[0]!.compileTaskKey);
    const infer = await run.task(training.engines[0]!.inferTaskKey);
    return [preprocess, training.trainHash, compile, infer].map((item) =>
      typeof item === "string" ? item : item.inputHash,
    );
  };
  // preprocess, train, compile, infer
  it.each([
    ["infer.overlap", { infer: { overlap: 0.25 } }, [false, false, true, true]],
    ["infer.mirroring", { infer: { mirroring: true } }, [false, false, true, true]],
    ["the engine", { engines: ["torch" as const] }, [false, false, true, true]],
    ["train.minutes", { train: { minutes: 3 } }, [false, true, true, true]],
    ["train.seed", { train: { seed: 7 } }, [false, true, true, true]],
    ["train.optimizer", { train: { optimizer: "sgd" as const } }, [false, true, true, true]],
    ["model.width", { model: { width: 24 } }, [false, true, true, true]],
    ["plan.spacingMm", { plan: { spacingMm: [1, 1, 2] as [number, number, number] } }, [true, true, true, true]],
    ["train.checkpointMinutes", { train: { checkpointMinutes: 9 } }, [false, false, false, false]],
    ["maxUsd", { maxUsd: 5 }, [false, false, false, false]],
  ])("%s", async (_, recipe, redone) => {
    const [before, after] = [await planned({}), await planned(recipe)];
    expect(before.map((hash, i) => hash !== after[i])).toEqual(redone);
  });

  it("ten minutes that are asked for are the ten minutes of the default", async () => {
    expect(await planned({ train: { minutes: 10 } })).toEqual(await planned({}));
  });

  it("the device: a rate that was measured on another one does not stand", async () => {
    const gpu = { ...laptop, gpus: 1, gpuName: "NVIDIA A100" };
    const recipe = { strategies: ["dali" as const], engines: ["onnxruntime" as const], train: { steps: 10 } };
    const [before, after] = [await planned(recipe), await planned(recipe, gpu)];
    expect(before.map((hash, i) => hash !== after[i])).toEqual([false, true, true, true]);
  });
});

describe("the defaults of a machine", () => {
  const chosen = async (machine: typeof laptop, recipe: Parameters<typeof Run.of>[0]["recipe"] = {}) => {
    const run = await Run.of({ records, recipe });
    const { output, plan } = await run.plan(machine);
    return { output, plan, training: output.trainings[0]! };
  };

  it("without a GPU are fused, ONNX Runtime and ten minutes", async () => {
    const { plan, training } = await chosen(laptop);
    expect([training.strategy, training.engines[0]!.engine, plan.budget, plan.precision]).toEqual([
      "fused",
      "onnxruntime",
      { minutes: 10 },
      "bf16",
    ]);
  });

  it("with a GPU are fused, the fastest engine that the machine and the model have, and 25,000 steps", async () => {
    const { plan, training } = await chosen(h100);
    expect([training.strategy, training.gpus, training.engines[0]!.engine, plan.budget]).toEqual([
      "fused",
      1,
      "tensorrt",
      { steps: 25_000 },
    ]);
    const without = await chosen({ ...h100, engines: ["torch", "inductor"] });
    expect(without.training.engines[0]!.engine).toBe("inductor");
    const newer = { ...h100, engines: [...h100.engines, "triton" as const] };
    expect((await chosen(newer)).training.engines[0]!.engine).toBe("triton");
    const other = await chosen(newer, { model: { name: "resenc-unet" } });
    expect(other.training.engines[0]!.engine).toBe("tensorrt");
  });

  it("with several GPUs are ddp over as many as the batch has patches for", async () => {
    const eight = { ...h100, gpus: 8, instanceType: "p5.48xlarge" };
    const narrow = await chosen(eight);
    expect(narrow.training).toMatchObject({ strategy: "ddp", gpus: 2 });
    expect(narrow.plan.notes).toContainEqual(expect.stringContaining("ddp uses 2 of 8 GPUs"));
    const wide = await chosen(eight, { plan: { batch: 16 } });
    expect(wide.training.gpus).toBe(8);
  });

  it("replace bf16 by fp32 where a processor has none, and say so", async () => {
    const { plan } = await chosen(cpu({ bf16: false }), { train: { precision: "bf16" } });
    expect(plan.precision).toBe("fp32");
    expect(plan.notes.join(" ")).toContain("The recipe asks for bf16, which is not native to this processor");
  });

  it("let steps win over minutes", async () => {
    expect((await chosen(laptop, { train: { minutes: 5, steps: 40 } })).plan.budget).toEqual({ steps: 40 });
  });
});

describe("no-go", () => {
  const refusal = async (machine: typeof laptop, recipe: Parameters<typeof Run.of>[0]["recipe"]) => {
    const run = await Run.of({ records, recipe });
    const { output, plan } = await run.plan(machine);
    expect(plan.go).toBe(output.go);
    expect(plan.refusal).toEqual(output.refusal);
    return output.refusal;
  };

  it("when an engine is asked for that is not there, by name", async () => {
    expect(await refusal(laptop, { engines: ["torch", "tensorrt"] })).toEqual({
      code: "EngineUnavailable",
      message: "The recipe asks for the engine tensorrt, which this machine does not have; it has torch, onnxruntime.",
      remedy: expect.stringContaining("doctor"),
    });
  });

  it("when the estimate passes maxUsd, with the estimate in the sentence", async () => {
    const refused = await refusal(h100, { maxUsd: 0.01 });
    expect(refused!.code).toBe("OverBudget");
    expect(refused!.message).toMatch(/^The run is estimated at \d+\.\d\d USD; maxUsd allows 0\.01\.$/);
    expect(await refusal(h100, { maxUsd: 1000 })).toBeUndefined();
  });

  it("never for dollars on one machine, where a run costs nothing", async () => {
    expect(await refusal(laptop, { maxUsd: 0 })).toBeUndefined();
  });

  it("when a batch that the recipe sets does not fit the memory", async () => {
    const refused = await refusal(cpu({ memoryGiB: 3 }), { plan: { batch: 64 } });
    expect(refused!.code).toBe("MemoryTooSmall");
    expect(refused!.message).toMatch(/^Training needs about \d+\.\d GiB at a batch of 64; this machine has 2\.7 GiB/);
  });
});

describe("overrides", () => {
  const thick = ids(40).map((id) => record(id, { shapeZyx: [60, 100, 100], spacingMmZyx: [1, 1, 1] }));

  it("reduce a planned batch to what the GPU holds, with a note", async () => {
    const run = await Run.of({ records: thick, recipe: { plan: { patch: [32, 48, 48] } } });
    const roomy = (await run.plan(h100)).plan;
    const tight = (await run.plan({ ...h100, gpuMemoryGiB: 2 })).plan;
    expect(tight.batch).toBeLessThan(roomy.batch);
    expect(tight.notes[0]).toContain(`The batch is ${tight.batch} where the rules give ${roomy.batch}`);
    expect(tight.go).toBe(true);
  });

  it("of spacing, patch, batch, width and memory are followed and named", async () => {
    const run = await Run.of({
      records: thick,
      recipe: {
        model: { width: 16 },
        plan: { spacingMm: [2, 1, 1], patch: [16, 64, 64], batch: 3, memoryGiB: 4 },
      },
    });
    const { plan } = await run.plan();
    expect(plan).toMatchObject({ spacingMmZyx: [2, 1, 1], patch: [16, 64, 64], batch: 3 });
    expect(plan.network.features[0]).toBe(16);
    expect(plan.overrides).toEqual([
      "model.width=16",
      "plan.memoryGiB=4",
      "plan.spacingMm=2, 1, 1",
      "plan.patch=16, 64, 64",
      "plan.batch=3",
    ]);
  });

  it("of a patch that its pooling does not divide are refused with the next one that fits", async () => {
    const run = await Run.of({ records: thick, recipe: { plan: { patch: [40, 100, 100] } } });
    await expect(run.plan()).rejects.toMatchObject({
      code: "PatchInvalid",
      message:
        "plan.patch is 40, 100, 100, whose pooling needs multiples of 8, 16, 16; the next larger patch is 40, 112, 112.",
    });
  });

  it("of a patch are in the image's axes, whatever axis comes first in the arrays", async () => {
    const sagittal = ids(10).map((id) => record(id, { shapeZyx: [200, 200, 20], spacingMmZyx: [1, 1, 5] }));
    const run = await Run.of({ records: sagittal, recipe: { plan: { patch: [64, 96, 16] } } });
    const { plan } = await run.plan();
    expect(plan.transpose).toEqual([2, 0, 1]);
    expect(plan.patch).toEqual([16, 64, 96]);
    expect(plan.spacingMmZyx).toEqual([1, 1, 5]);
    expect(plan.medianShapeZyx).toEqual([200, 200, 20]);
    expect(plan.network.kernels[0]).toEqual([1, 3, 3]);
    expect(plan.dummy2d).toBe(true);
  });
});

describe("what cannot be planned", () => {
  it("is a dataset without a usable case", async () => {
    const run = await Run.of({ records: [record("t", { split: "test" })], quarantined: ids(3) });
    await expect(run.plan()).rejects.toMatchObject({
      code: "NoUsableCase",
      message: "No training case is left: 3 are in quarantine (3 VoxelsNotFinite).",
    });
  });

  it("is a run whose ingest has not left every list", async () => {
    const run = await Run.of({ records, request: { ingestShards: 3 } });
    await expect(run.plan()).rejects.toMatchObject({ code: "IngestIncomplete" });
  });

  it("is a dataset of volumes that no network can halve", async () => {
    const run = await Run.of({ records: ids(4).map((id) => record(id, { shapeZyx: [5, 6, 7], foreground: 9 })) });
    await expect(run.plan()).rejects.toMatchObject({ code: "VolumesTooSmall" });
  });

  it("is a recipe that prices by an instance type without a price", async () => {
    const run = await Run.of({ records, recipe: { capacity: { pricedAs: "p9.huge" } } });
    await expect(run.plan()).rejects.toMatchObject({ code: "PriceUnknown", details: { field: "capacity.pricedAs" } });
  });
});

describe("a dataset that another run has planned", () => {
  it("shares its outputs: the second run finds the first one's arrays", async () => {
    const folder = temporaryFolder();
    const first = await Run.of({ records }, folder);
    await first.plan();
    const arrays = await first.lines(keys.taskCases(first.request.runId, "preprocess"), preprocessCase);
    for (const item of arrays) await first.putJson(keys.arraysMeta(item.outputHash), {});
    const second = await Run.of({ records, recipe: { train: { steps: 5 } } }, folder);
    expect(second.request.runId).not.toBe(first.request.runId);
    expect((await second.plan()).output.preprocess.missing).toBe(0);
  });
});
