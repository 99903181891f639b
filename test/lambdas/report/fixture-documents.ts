// The documents of a run that are the same whatever happened: plan, case records, hosts.
import {
  type CaseRecord,
  compileTaskId,
  type EngineName,
  type Host,
  hashOf,
  inferTaskId,
  keys,
  type Plan,
  type PlanOutput,
  type Strategy,
  trainTaskId,
} from "../../../lib/contracts/index.ts";

export interface FixtureOptions {
  where?: "local" | "aws";
  folds?: string[];
  strategies?: Strategy[];
  engines?: EngineName[];
  validationCases?: number;
  classes?: string[];
  gpu?: boolean;
  previewSize?: number;
  name?: string;
}

export const RUN_ID = "phantoms-0123456789ab-1";

export function caseIds(options: Required<FixtureOptions>): string[] {
  return Array.from({ length: options.validationCases * 2 }, (_, at) => `case-${String(at).padStart(3, "0")}`);
}

export function hostOf(
  options: Required<FixtureOptions>,
  packages: Record<string, string>,
  fallbacks: string[] = [],
): Host {
  return options.gpu
    ? {
        backend: "cuda",
        device: "NVIDIA H100 80GB HBM3",
        devices: 1,
        cpus: 16,
        versions: { python: "3.11.2", cuda: "13.0", ...packages },
        fallbacks,
      }
    : {
        backend: "cpu",
        device: "AMD EPYC 9R14 96-Core Processor",
        devices: 0,
        cpus: 2,
        versions: { python: "3.11.2", ...packages },
        fallbacks,
      };
}

export function recordOf(caseId: string): CaseRecord {
  const file = `ingest/${hashOf(caseId)}/image.nii.gz`;
  return {
    schema: 1,
    caseId,
    caseHash: hashOf(caseId),
    split: "training",
    source: { kind: "nifti" },
    prefix: `ingest/${hashOf(caseId)}/`,
    images: [file],
    shapeZyx: [40, 64, 64],
    spacingMmZyx: [2, 1, 1],
    affine: [
      [1, 0, 0, 0],
      [0, 1, 0, 0],
      [0, 0, 2, 0],
      [0, 0, 0, 1],
    ],
    dtype: "int16",
    nonzeroBoxZyx: [
      [0, 40],
      [0, 64],
      [0, 64],
    ],
    channels: [{ count: 10, mean: 0, std: 1, min: -1, max: 1, quantiles: new Array(401).fill(0) }],
    sha256: { [file]: hashOf(file) },
    bytes: 1000,
    warnings:
      caseId === "case-003" || caseId === "case-005"
        ? [{ code: "SmallStructure", message: "The lesion has fewer than 30 voxels." }]
        : [],
  };
}

export function planOf(options: Required<FixtureOptions>): Plan {
  const { folds, validationCases, classes, where } = options;
  const ids = caseIds(options);
  const stage = (name: Plan["estimate"]["stages"][number]["stage"], minutes: number, memoryGiB: number) => ({
    stage: name,
    minutes,
    memoryGiB,
    usd: where === "aws" ? minutes * 0.07 : 0,
    equivalentUsd: minutes * 0.07,
  });
  const trainings = folds.length * options.strategies.length;
  const stages = [
    stage("ingest", 0.4, 0.5),
    stage("preprocess", 0.6, 1),
    stage("train", 5.5 * trainings, 3),
    stage("compile", 0.3 * trainings * options.engines.length, 2),
    stage("infer", 0.3 * trainings * options.engines.length, 2),
  ];
  return {
    schema: 1,
    runId: RUN_ID,
    version: "0.1.0",
    dataset: {
      name: options.name,
      channels: ["CT"],
      labels: [{ value: 0, name: "background" }, ...classes.map((name, at) => ({ value: at + 1, name }))],
    },
    cases: { training: ids.length, test: 0, quarantined: 2 },
    spacingMmZyx: [2, 1, 1],
    medianShapeZyx: [40, 64, 64],
    transpose: [0, 1, 2],
    patch: [32, 64, 64],
    batch: 2,
    network: {
      model: "unet3d",
      inputChannels: 1,
      outputClasses: classes.length + 1,
      features: [16, 32, 64],
      strides: [
        [1, 1, 1],
        [2, 2, 2],
        [2, 2, 2],
      ],
      kernels: [
        [3, 3, 3],
        [3, 3, 3],
        [3, 3, 3],
      ],
      deepSupervisionWeights: [0.67, 0.33],
    },
    normalisation: [{ scheme: "ct", clipLow: -100, clipHigh: 300, mean: 80, std: 60 }],
    batchDice: true,
    dummy2d: false,
    precision: "bf16",
    optimizer: "sgd",
    seed: 0,
    budget: { steps: 1200 },
    infer: { overlap: 0.5, mirroring: false, nsdToleranceMm: 1 },
    folds: folds.map((name, at) => {
      const validation = ids.filter((_, index) => (index + at) % 2 === 0).slice(0, validationCases);
      return { name, train: ids.filter((id) => !validation.includes(id)), validation };
    }),
    overrides: ["model.width", "train.steps"],
    notes: ["The batch is 2: the patch fills the planned memory."],
    estimate: {
      minutes: stages.reduce((sum, entry) => sum + entry.minutes, 0),
      usd: stages.reduce((sum, entry) => sum + entry.usd, 0),
      equivalentUsd: stages.reduce((sum, entry) => sum + entry.equivalentUsd, 0),
      pricedAs: {
        instanceType: "p5.4xlarge",
        usdPerHour: 4.2,
        date: "2026-02-01",
        source: "AWS price list, us-east-1",
      },
      stages,
    },
    go: true,
  };
}

export function planOutputOf(options: Required<FixtureOptions>): PlanOutput {
  const { folds, strategies, engines, gpu } = options;
  return {
    go: true,
    planKey: keys.plan(RUN_ID),
    preprocess: { taskKey: keys.task(RUN_ID, "preprocess"), missing: caseIds(options).length, shards: 2 },
    trainConcurrency: 1,
    trainings: folds.flatMap((fold) =>
      strategies.map((strategy) => ({
        name: `${fold}-${strategy}`,
        fold,
        strategy,
        gpus: gpu ? 1 : 0,
        taskKey: keys.task(RUN_ID, trainTaskId(fold, strategy)),
        trainHash: hashOf([fold, strategy]),
        trained: false,
        maxSeconds: 3600,
        engines: engines.map((engine) => ({
          name: `${fold}-${strategy}-${engine}`,
          engine,
          compileTaskKey: keys.task(RUN_ID, compileTaskId(fold, strategy, engine)),
          compiled: false,
          inferTaskKey: keys.task(RUN_ID, inferTaskId(fold, strategy, engine)),
          inferShards: 2,
        })),
      })),
    ),
  };
}
