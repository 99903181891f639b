// What a recipe leaves open and the machine decides: strategies, engines, precision, budget.
import type { EngineName, Machine, Network, Plan, Recipe, Strategy } from "../../lib/contracts/index.ts";
import { type Place, placeOf } from "./place.ts";
import { isResnet } from "./resnet.ts";
import { isSwin } from "./swin.ts";
import { REFERENCE_WIDTH } from "./topology.ts";

export interface Refusal {
  code: string;
  message: string;
  remedy: string;
}

export interface Choices {
  strategies: Strategy[];
  engines: EngineName[];
  precision: Plan["precision"];
  optimizer: Plan["optimizer"];
  budget: Plan["budget"];
  refusal?: Refusal;
  notes: string[];
}

/** Ten minutes on a processor bring a small dataset to a usable Dice; more belongs on a GPU. */
const CPU_MINUTES = 10;
/**
 * What training is planned for where the recipe leaves it open: nnU-Net on a GPU, and without one what learns most in
 * ten minutes of two cores. Measured there on Task04 (fold1, width 16, batch 2, after 320 steps): AdamW 0.79 Dice of
 * validation patches, nnU-Net's SGD 0.07; at width 32 and nnU-Net's batch of 7 the minutes hold 100 steps.
 */
export interface Scale {
  width: number;
  /** What nnU-Net's rules plan the patch for. */
  memoryGiB: number;
  /** The batch that they give may not pass it. */
  maxBatch: number;
  optimizer: Plan["optimizer"];
}
const GPU_SCALE: Scale = { width: REFERENCE_WIDTH, memoryGiB: 8, maxBatch: Number.POSITIVE_INFINITY, optimizer: "sgd" };
const CPU_SCALE: Scale = { width: 16, memoryGiB: 1, maxBatch: 2, optimizer: "adamw" };
/** MONAI's default and what its heads divide; transformers are trained with AdamW everywhere (recipe.md 9.2). */
const SWIN_WIDTH = { gpu: 24, cpu: 12 };

/** MONAI's width of a ResNet-18 on a GPU; batches in which batch norm has something to average over. */
const RESNET_GPU_SCALE: Scale = { width: 64, memoryGiB: 8, maxBatch: 16, optimizer: "adamw" };
const RESNET_CPU_SCALE: Scale = { width: 16, memoryGiB: 1, maxBatch: 8, optimizer: "adamw" };

export function scaleOf(machine: Machine, model: Network["model"]): Scale {
  const scale = machine.gpus > 0 ? GPU_SCALE : CPU_SCALE;
  if (isResnet(model)) return machine.gpus > 0 ? RESNET_GPU_SCALE : RESNET_CPU_SCALE;
  if (!isSwin(model)) return scale;
  return { ...scale, width: machine.gpus > 0 ? SWIN_WIDTH.gpu : SWIN_WIDTH.cpu, optimizer: "adamw" };
}

/** recipe.md 8.1's "standard" budget: 100 of nnU-Net's epochs, within 0.3 points of its 1,000. */
const GPU_STEPS = 25_000;

/** Fastest first, as measured on an H100 (docs/benchmarks): what runs when the recipe names no engine. */
const ENGINES_BY_SPEED: Record<"cpu" | "gpu", readonly EngineName[]> = {
  cpu: ["onnxruntime", "torch"],
  gpu: ["triton", "tensorrt", "inductor", "onnxruntime", "torch"],
};

/** The engine's kernels are of one model's layers. */
const TRITON_MODEL = "unet3d";

export function choose(recipe: Recipe, machine: Machine): Choices {
  const notes: string[] = [];
  const { gpus } = mostOfDdp(recipe, machine);
  const strategies = [...new Set(recipe.strategies ?? [gpus > 1 ? ("ddp" as const) : ("fused" as const)])];
  if (strategies.includes("ddp") && gpus < 2)
    notes.push(`The strategy ddp has ${gpus === 1 ? "one GPU" : "no GPU"} here: it can be no faster than fused.`);

  return {
    strategies,
    engines: enginesOf(recipe, machine),
    precision: precisionOf(recipe, machine, notes),
    optimizer: recipe.train.optimizer ?? scaleOf(machine, recipe.model.name).optimizer,
    budget: budgetOf(recipe, machine),
    refusal: refuseEngines(recipe, machine),
    notes,
  };
}

/** What the recipe names, or the fastest of the machine's. */
function enginesOf(recipe: Recipe, machine: Machine): EngineName[] {
  const available = ENGINES_BY_SPEED[machine.gpus > 0 ? "gpu" : "cpu"].filter(
    (name) => machine.engines.includes(name) && (name !== "triton" || recipe.model.name === TRITON_MODEL),
  );
  return [...new Set(recipe.engines ?? available.slice(0, 1))];
}

/** EngineUnavailable where machine or model cannot have an engine: known from the recipe alone, before anything starts. */
export function refuseEngines(recipe: Recipe, machine: Machine): Refusal | undefined {
  const engines = enginesOf(recipe, machine);
  if (engines.includes("triton") && recipe.model.name !== TRITON_MODEL)
    return {
      code: "EngineUnavailable",
      message: `The recipe asks for the engine triton, whose kernels are of the model ${TRITON_MODEL} alone; its model is ${recipe.model.name}.`,
      remedy: "Name inductor or tensorrt in `engines`.",
    };
  const missing = engines.filter((name) => !machine.engines.includes(name));
  if (engines.length > 0 && missing.length === 0) return undefined;
  const has = machine.engines.join(", ") || "none";
  return {
    code: "EngineUnavailable",
    message:
      missing.length > 0
        ? `The recipe asks for the engine ${missing.join(" and ")}, which this machine does not have; it has ${has}.`
        : `No engine can run here; this machine has ${has}.`,
    remedy: `Install it (\`voxelburst doctor\` says how), or name in \`engines\` what is there.`,
  };
}

/** What ddp has when the batch has a patch for every GPU. */
export const mostOfDdp = (recipe: Recipe, machine: Machine): Place =>
  placeOf("ddp", Number.POSITIVE_INFINITY, machine, recipe);

function precisionOf(recipe: Recipe, machine: Machine, notes: string[]): Plan["precision"] {
  const wanted = recipe.train.precision;
  const native = machine.gpus > 0 ? "fp16" : "fp32";
  if (machine.bf16 === false && (wanted ?? "bf16") === "bf16") {
    notes.push(
      `${wanted ? "The recipe asks for bf16" : "The default precision is bf16"}, which is not native to this ${machine.gpus > 0 ? "GPU" : "processor"} (emulated it is many times slower): ${native} stands in.`,
    );
    return native;
  }
  return wanted ?? "bf16";
}

/** Steps win over minutes. A budget in minutes stays one here: train turns it into steps once, after warm-up. */
function budgetOf(recipe: Recipe, machine: Machine): Plan["budget"] {
  const { steps, minutes } = recipe.train;
  if (steps !== undefined) return { steps };
  if (minutes !== undefined) return { minutes };
  return machine.gpus > 0 ? { steps: GPU_STEPS } : { minutes: CPU_MINUTES };
}

/** What a strategy trains in: fp32 is what its name says, the others take the plan's precision. */
export const precisionOfStrategy = (strategy: Strategy, precision: Plan["precision"]): Plan["precision"] =>
  strategy === "fp32" ? "fp32" : precision;
