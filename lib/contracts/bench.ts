// docs/benchmarks/*.json: what `voxelburst bench` measured, on which hardware, with which commit and command.
import * as z from "zod";
import { count, engine, enginePrecision, isoTime, positive, shapeZyx, strategy } from "./primitives.ts";

/** null and absent both read "not measured": never a copy or an estimate. */
const measured = z.number().min(0).nullish();

export const peer = z.enum(["nnunet", "monai"]);
export const augmentation = z.enum(["recipe", "mlperf"]);

export const benchRow = z.strictObject({
  kind: z.enum(["training", "engine", "command", "peer", "profile"]),
  peer: peer.optional(),
  does: z
    .string()
    .optional()
    .describe("of a peer or of a whole command: what it did; ours and theirs of one wording are compared"),
  strategy: strategy.optional(),
  without: z.string().optional().describe("of an ablation: the fast path that was left out"),
  engine: engine.optional(),
  fold: z.string().optional(),
  augmentation: augmentation.optional(),
  precision: enginePrecision.optional(),
  loader: z.string().optional(),
  timed: z.string().optional().describe("what the clock was around"),
  batch: count.nullish(),
  patch: shapeZyx.optional(),
  channels: count.optional(),
  warmUpSteps: count.optional(),
  warmUpSeconds: measured,
  steps: count.optional().describe("measured ones"),
  calls: count.optional().describe("of an engine: measured ones"),
  repeats: count.optional().describe("rounds, interleaved with the other rows; figures are their medians"),
  spread: measured.describe("of the speed over the rounds: (largest - smallest) / median"),
  gpus: count.optional().describe("of ddp: GPUs at once, on a CPU processes; the batch is of each"),
  patchesPerSecond: measured,
  patchesPerSecondPerGpu: measured,
  scalingEfficiency: measured.describe("patches/s a GPU / those of one GPU alone, in the same run"),
  aloneP50Ms: measured.describe("the step of fused on every GPU at once, each for itself"),
  allReduceMs: measured.describe("to sum a step's gradients over the GPUs while nothing else runs"),
  exposedMs: measured.describe("p50Ms less aloneP50Ms: what the sharing adds to a step"),
  overlapShare: measured.describe("of allReduceMs, what the step hides: 1 - exposedMs / allReduceMs"),
  windowsPerSecond: measured,
  volumesPerSecond: measured.describe(
    "training: patches/s x voxels of a patch / voxels of the median case; engine: file to mask",
  ),
  residentPatchesPerSecond: measured.describe("the same step on one batch that stays on the device"),
  loadingRatio: measured.describe("median step with loading / on a resident batch"),
  dice: measured,
  diceByClass: z.record(z.string(), z.number()).optional(),
  p50Ms: measured,
  p95Ms: measured,
  gpuBusyPercent: measured,
  watts: measured,
  teraflopPerPatch: measured,
  teraflopPerWindow: measured,
  teraflopPerSecond: measured,
  peakShare: measured.describe("of the matrix product measured in the same process"),
  peakMemoryMiB: measured,
  buildSeconds: measured,
  lossAfter: z.number().nullish(),
  graph: z.boolean().optional().describe("whether the step was one CUDA graph"),
  usdPer1000Volumes: measured,
  stepMs: measured,
  idleMs: measured,
  groupsMs: z.record(z.string(), z.number()).optional(),
  kernels: z.array(z.strictObject({ name: z.string(), ms: z.number(), launches: z.number() })).optional(),
  fallbacks: z.array(z.string()).optional(),
  versions: z.record(z.string(), z.string()).optional(),
  note: z.string().optional(),
});

export const benchFailure = z.strictObject({
  row: z.string(),
  code: z.string(),
  message: z.string(),
  remedy: z.string(),
});

export const bench = z.strictObject({
  schema: z.literal(1),
  what: z.string(),
  command: z.string(),
  commit: z.string().describe("of the software; -dirty where files differed from it"),
  version: z.string(),
  date: isoTime,
  hardware: z.string().describe("GPU or processor"),
  cpus: count,
  versions: z.record(z.string(), z.string()),
  matrixTeraflops: z.record(z.string(), positive).optional().describe("TFLOP/s of a large product, by type"),
  teraflopForward: measured.describe("of a patch through the net's convolutions"),
  teraflopTraining: measured,
  pricedAs: z
    .strictObject({ instanceType: z.string(), usdPerHour: z.number(), date: z.string(), source: z.string() })
    .optional(),
  rows: z.array(benchRow),
  failed: z.array(benchFailure).default([]),
  notes: z.array(z.string()).default([]),
});

export type BenchRow = z.infer<typeof benchRow>;
export type Bench = z.infer<typeof bench>;
export type Peer = z.infer<typeof peer>;
