// What a run will take: minutes, memory and dollars of each stage, from counted work and measured rates.
import {
  type CaseRecord,
  type Estimate,
  type Machine,
  type Plan,
  PRICES_DATE,
  PRICES_SOURCE,
  priceOf,
  type Recipe,
  type StageName,
} from "../../lib/contracts/index.ts";
import { product, type Triple, transposed } from "./arithmetic.ts";
import { CALIBRATION } from "./calibration.ts";
import { precisionOfStrategy } from "./choices.ts";
import { croppedShape } from "./fingerprint.ts";
import { resampledShape } from "./geometry.ts";
import {
  arraysGiB,
  compileMemoryGiB,
  inferMemoryGiB,
  ingestMemoryGiB,
  type PreparedSize,
  preprocessMemoryGiB,
  trainingMemoryGiB,
} from "./memory.ts";
import { isResnet } from "./resnet.ts";
import { featureMapElements, forwardOperations } from "./topology.ts";
import type { EngineWork, TrainingWork, Work } from "./work.ts";

export interface EstimateInput {
  plan: Pick<Plan, "spacingMmZyx" | "transpose" | "patch" | "batch" | "network" | "precision" | "budget" | "infer">;
  work: Work;
  /** By case id: training and test. */
  records: ReadonlyMap<string, CaseRecord>;
  /** Wall seconds that ingest took; its own results say so. undefined: estimated like the others. */
  ingestSeconds?: number;
  preprocessShards: number;
  inferShards: (engine: EngineWork) => number;
  trainConcurrency: number;
  machine: Machine;
  recipe: Recipe;
}

interface StageCost {
  stage: StageName;
  /** From the stage's start to its end. */
  seconds: number;
  /** Summed over what is paid for at once: shares of instances. */
  instanceSeconds: number;
  memoryGiB: number;
  /** Where its instances are not all the machine's. */
  usd?: number;
}

const C = CALIBRATION;

export function estimateOf(input: EstimateInput): Estimate {
  const { machine, recipe } = input;
  const price = priceOfMachine(machine.where === "aws" ? machine : {}, recipe);
  const costs = [ingest(input), fixed("plan", C.planSeconds, C.planMemoryGiB), preprocess(input)];
  costs.push(train(input), compile(input), infer(input), fixed("report", C.reportSeconds, C.reportMemoryGiB));
  const stages = costs.map(({ stage, seconds, instanceSeconds, memoryGiB, usd }) => {
    const equivalentUsd = usd ?? (instanceSeconds / 3600) * price.usdPerHour;
    return {
      stage,
      minutes: rounded(seconds / 60, 2),
      memoryGiB: rounded(memoryGiB, 2),
      usd: machine.where === "aws" ? rounded(equivalentUsd, 4) : 0,
      equivalentUsd: rounded(equivalentUsd, 4),
    };
  });
  const sum = (of: (stage: (typeof stages)[number]) => number, digits: number) =>
    rounded(
      stages.reduce((total, stage) => total + of(stage), 0),
      digits,
    );
  return {
    minutes: sum((stage) => stage.minutes, 2),
    usd: sum((stage) => stage.usd, 4),
    equivalentUsd: sum((stage) => stage.equivalentUsd, 4),
    pricedAs: {
      instanceType: price.instanceType,
      usdPerHour: price.usdPerHour,
      date: PRICES_DATE,
      source: price.source,
    },
    stages,
  };
}

/** On AWS the deployment's own price, or the table's; elsewhere that of the type that the recipe names. */
function priceOfMachine({ instanceType, usdPerHour }: Pick<Machine, "instanceType" | "usdPerHour">, recipe: Recipe) {
  if (instanceType && usdPerHour !== undefined)
    return { instanceType, usdPerHour, source: "the deployment's own price" };
  const [type, field] = instanceType
    ? [instanceType, "the machine's instanceType"]
    : [recipe.capacity.pricedAs, "capacity.pricedAs"];
  return { ...priceOf(type, field), source: PRICES_SOURCE };
}

/** Seconds of one training's steps and of the process around them; 0 when its weights exist. */
export function trainingSeconds(input: Pick<EstimateInput, "plan" | "machine">, training: TrainingWork): number {
  if (training.trained) return 0;
  const { plan, machine } = input;
  const { steps, minutes } = plan.budget;
  if (steps === undefined) return C.trainStartSeconds + (minutes ?? 0) * 60;
  const device = kindOf(machine);
  const operations = forwardOperations(plan.patch, plan.network) * C.passesPerStep * plan.batch;
  const share = device === "gpu" ? C.trainShare.gpu[training.strategy] : C.trainShare.cpu;
  const rate = convGflops(machine) * 1e9 * share * Math.max(1, training.gpus);
  return C.trainStartSeconds + steps * (C.stepOverheadSeconds[device] + operations / rate);
}

function ingest({ records, ingestSeconds, machine }: EstimateInput): StageCost {
  const all = [...records.values()];
  const megavoxels = all.map((record) => (product(record.shapeZyx) * record.images.length) / 1e6);
  const work = megavoxels.reduce((sum, mv) => sum + C.ingestSecondsPerCase + C.ingestSecondsPerMegavoxel * mv, 0);
  const seconds = ingestSeconds ?? provision(machine) + C.ingestStartSeconds + work / Math.max(1, machine.cpus);
  // On processors, of which an instance of the named type has plenty: on AWS it costs cents.
  const memory = all.map((record) => ingestMemoryGiB(product(record.shapeZyx) * record.images.length, record.dtype));
  return cost("ingest", seconds, 0, Math.max(0, ...memory), machine);
}

function preprocess({ work, records, preprocessShards, plan, machine }: EstimateInput): StageCost {
  const cases = work.preprocessCases.filter((item) => work.missing.has(item.caseId));
  if (cases.length === 0) return cost("preprocess", 0, 0, 0, machine);
  const share = machine.gpus > 0 ? C.gpuCaseShare : 1;
  let seconds = 0;
  let memoryGiB = 0;
  for (const item of cases) {
    const record = records.get(item.caseId)!;
    const read = product(record.shapeZyx) * record.images.length;
    const made = product(arrayShape(record, plan)) * record.images.length;
    const resampled = isResampled(record, plan);
    seconds += C.preprocessSecondsPerCase + (share * C.preprocessSecondsPerMegavoxel * (read + made)) / 1e6;
    if (resampled) seconds += (share * C.preprocessSecondsPerResampledMegavoxel * made) / 1e6;
    memoryGiB = Math.max(memoryGiB, preprocessMemoryGiB(preparedSize(record, plan)));
  }
  return arrayCost("preprocess", C.preprocessStartSeconds, seconds, preprocessShards, memoryGiB, machine);
}

function train(input: EstimateInput): StageCost {
  const { work, plan, records, machine, recipe, trainConcurrency } = input;
  const open = work.trainings.filter((training) => !training.trained);
  const elements = elementsOf(plan);
  const memory = open.map((training) => {
    const own =
      machine.gpus > 0
        ? C.trainBaseGiB * 2
        : trainingMemoryGiB(elements, plan.batch, precisionOfStrategy(training.strategy, plan.precision), machine);
    const arrays = training.cases.map(({ caseId }) => {
      const record = records.get(caseId)!;
      return { voxels: product(arrayShape(record, plan)), channels: record.images.length };
    });
    // Larger arrays are mapped, and never more of them is resident than there is room for.
    return Math.min(own + arraysGiB(arrays), Math.max(own, training.node.memoryGiB));
  });
  const each = open.map((training) => provision(machine) + trainingSeconds(input, training));
  const seconds = each.reduce((sum, one) => sum + one, 0) / Math.max(1, Math.min(trainConcurrency, each.length));
  // A training job holds whole instances.
  const paid = each.map((one, index) => one * open[index]!.nodes);
  const whole = cost("train", seconds, sumOf(paid), Math.max(0, ...memory), machine);
  if (machine.where !== "aws") return whole;
  const usd = paid.map((one, index) => (one / 3600) * priceOfMachine(open[index]!.node, recipe).usdPerHour);
  return { ...whole, usd: sumOf(usd) };
}

function compile(input: EstimateInput): StageCost {
  const { work, plan, machine, records } = input;
  const device = kindOf(machine);
  let seconds = 0;
  let largest = 0;
  for (const training of work.trainings)
    for (const engine of training.engines.filter((candidate) => !candidate.compiled)) {
      const blocks = training.fold.validation.slice(0, C.parityCases).map((id) => {
        const shape = arrayShape(records.get(id)!, plan);
        largest = Math.max(largest, product(shape));
        return shape.map((edge, axis) => Math.min(edge, Math.floor(plan.patch[axis]! * C.parityBlockPatches)));
      });
      const windows = Math.min(C.parityWindows, sumOf(blocks.map((block) => windowsOf(block, plan))));
      const parity =
        windows * (windowSeconds(plan, machine, engine.engine, false) + windowSeconds(plan, machine, "torch", false));
      seconds += provision(machine) + C.compileStartSeconds + C.buildSeconds[device][engine.engine] + parity;
    }
  const memory = compileMemoryGiB(elementsOf(plan), largest);
  return cost("compile", seconds, seconds / gpusOfInstance(machine), seconds > 0 ? memory : 0, machine);
}

function infer(input: EstimateInput): StageCost {
  const { work, plan, machine, records, inferShards } = input;
  const total: StageCost = { stage: "infer", seconds: 0, instanceSeconds: 0, memoryGiB: 0 };
  const share = machine.gpus > 0 ? C.gpuCaseShare : 1;
  for (const training of work.trainings)
    for (const engine of training.engines) {
      const cases = engine.inferCases.filter((item) => engine.missing.has(item.caseId));
      const shards = inferShards(engine);
      const atOnce = childrenAtOnce(shards, machine);
      const work = cases.reduce((sum, item) => {
        const record = records.get(item.caseId)!;
        const shape = arrayShape(record, plan);
        const megavoxels = (product(record.shapeZyx) + product(shape)) / 1e6;
        const host = C.inferSecondsPerCase + share * C.inferSecondsPerMegavoxel * megavoxels;
        // A window has all of the machine in windowSeconds; a child on processors has its share of the cores.
        const model = windowsOf(shape, plan) * windowSeconds(plan, machine, engine.engine, plan.infer.mirroring);
        return sum + host + (machine.gpus > 0 ? model : model * atOnce);
      }, 0);
      // The array starts even where every case is done: its children find that out.
      const one = arrayCost("infer", C.inferStartSeconds, work, shards, inferMemory(input), machine);
      total.seconds += one.seconds;
      total.instanceSeconds += one.instanceSeconds;
      total.memoryGiB = Math.max(total.memoryGiB, one.memoryGiB);
    }
  return total;
}

/** An array's children side by side, as many as there are GPUs or cores. */
function arrayCost(
  stage: StageName,
  startSeconds: number,
  workSeconds: number,
  shards: number,
  memoryGiB: number,
  machine: Machine,
): StageCost {
  const atOnce = childrenAtOnce(shards, machine);
  const rounds = machine.where === "aws" ? 1 : Math.ceil(shards / atOnce);
  const seconds = provision(machine) + startSeconds * rounds + workSeconds / atOnce;
  const paid = machine.where === "aws" ? shards * (provision(machine) + startSeconds) + workSeconds : 0;
  return cost(stage, seconds, paid / gpusOfInstance(machine), memoryGiB, machine);
}

const childrenAtOnce = (shards: number, machine: Machine): number =>
  machine.where === "aws" ? shards : Math.max(1, Math.min(shards, machine.gpus > 0 ? machine.gpus : machine.cpus));

/** On one machine the equivalent is the same minutes of one instance, whatever runs side by side. */
const cost = (
  stage: StageName,
  seconds: number,
  paidSeconds: number,
  memoryGiB: number,
  machine: Machine,
): StageCost => ({
  stage,
  seconds,
  instanceSeconds: machine.where === "aws" ? paidSeconds : seconds,
  memoryGiB,
});
/** Lambdas and the report: not on an instance. */
const fixed = (stage: StageName, seconds: number, memoryGiB: number): StageCost => ({
  stage,
  seconds,
  instanceSeconds: 0,
  memoryGiB,
});

const isResampled = (record: CaseRecord, { spacingMmZyx }: Pick<Plan, "spacingMmZyx">): boolean => {
  const shape = croppedShape(record);
  return resampledShape(shape, record.spacingMmZyx, spacingMmZyx).some((edge, axis) => edge !== shape[axis]);
};

/** Shape of a case's arrays, in their own axes. */
function arrayShape(record: CaseRecord, plan: Pick<Plan, "spacingMmZyx" | "transpose">): Triple {
  return transposed(resampledShape(croppedShape(record), record.spacingMmZyx, plan.spacingMmZyx), plan.transpose);
}

function preparedSize(record: CaseRecord, plan: Pick<Plan, "spacingMmZyx" | "transpose">): PreparedSize {
  const voxels = Math.max(product(record.shapeZyx), product(arrayShape(record, plan))) * record.images.length;
  return { voxels, resampled: isResampled(record, plan) };
}

/** Windows of a volume: ceil((size - patch) / step) + 1 an axis, after padding to the patch (recipe.md 5). */
export function windowsOf(
  shape: readonly number[],
  { patch, infer, network }: Pick<Plan, "patch" | "infer"> & Partial<Pick<Plan, "network">>,
): number {
  if (network && isResnet(network.model)) return 1; // the whole volume
  return product(
    patch.map((edge, axis) => {
      const step = edge * (1 - infer.overlap);
      return Math.ceil((Math.max(shape[axis]!, edge) - edge) / step) + 1;
    }),
  );
}

function windowSeconds(
  plan: Pick<Plan, "patch" | "network">,
  machine: Machine,
  engine: EngineWork["engine"],
  mirroring: boolean,
): number {
  const passes = mirroring ? 8 : 1;
  const rate = convGflops(machine) * 1e9 * C.inferShare[kindOf(machine)][engine];
  return (passes * forwardOperations(plan.patch, plan.network)) / rate;
}

function inferMemory({ plan, records, work }: EstimateInput): number {
  const ids = new Set(work.trainings.flatMap((t) => t.engines.flatMap((e) => e.inferCases.map((item) => item.caseId))));
  const elements = elementsOf(plan);
  const memory = [...ids].map((id) =>
    inferMemoryGiB(preparedSize(records.get(id)!, plan), plan.network.outputClasses, elements),
  );
  return Math.max(0, ...memory);
}

const elementsOf = ({ patch, network }: Pick<Plan, "patch" | "network">) =>
  featureMapElements(patch, network, network.outputClasses, network.model);
const kindOf = (machine: Machine) => (machine.gpus > 0 ? "gpu" : "cpu");
const convGflops = (machine: Machine) =>
  machine.convGflops ?? (machine.gpus > 0 ? C.defaultConvGflops.gpu : C.defaultConvGflops.perCpu * machine.cpus);
const gpusOfInstance = (machine: Machine) => Math.max(1, machine.gpus);
const provision = (machine: Machine) => (machine.where === "aws" ? C.provisionSeconds : 0);
const sumOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
const rounded = (value: number, digits: number) => Number(value.toFixed(digits));
