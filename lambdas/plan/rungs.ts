// What the capacity ladder needs of a plan: nodes, time limits of jobs, and whether the deployment has a rung at all.
import {
  type Estimate,
  keys,
  type Machine,
  type ObjectStore,
  type Recipe,
  type RunRequest,
  type StageName,
  under,
} from "../../lib/contracts/index.ts";
import type { Refusal } from "./choices.ts";
import type { Work } from "./work.ts";

/** One instance as training prefers it: other GPU stages may run on another type. */
export const trainerOf = (machine: Machine): Machine => ({ ...machine, ...machine.training });

/** The GPUs that one ddp training may have, over all of its nodes: the deployment's nodes, or fewer that are asked for. */
export function clusterOf(machine: Machine, { capacity }: Pick<Recipe, "capacity">): Machine {
  const trainer = trainerOf(machine);
  const nodes = Math.min(machine.nodes ?? 1, capacity.nodes ?? Number.POSITIVE_INFINITY);
  return nodes > 1 ? { ...trainer, gpus: trainer.gpus * nodes } : trainer;
}

/** What a batch has to fit: the lesser of the two types, as a training may fall from the preferred one to the other. */
export function leastOf(machine: Machine): Machine {
  const { training } = machine;
  if (!training) return machine;
  const least = { gpus: Math.min(machine.gpus, training.gpus) };
  if (machine.gpuMemoryGiB === undefined) return { ...machine, ...least };
  return { ...machine, ...least, gpuMemoryGiB: Math.min(machine.gpuMemoryGiB, training.gpuMemoryGiB) };
}

/**
 * Nodes of a training, and its GPUs as whole nodes: every node starts a process a GPU.
 *
 * @param gpus - that the strategy would take
 * @param machine - one node
 */
export function nodesOf(gpus: number, machine: Machine): { gpus: number; nodes: number } {
  if (machine.gpus === 0 || gpus <= machine.gpus) return { gpus, nodes: 1 };
  const nodes = Math.floor(gpus / machine.gpus);
  return { gpus: nodes * machine.gpus, nodes };
}

/**
 * No rung of the recipe is the deployment's: nothing could start, and it is said before anything is paid for. Rungs that
 * training has alone, as a training plan's, leave the other GPU stages none.
 */
export function noRung({ capacity }: Pick<Recipe, "capacity">, machine: Machine): Refusal | undefined {
  const wanted = capacity.rungs;
  if (!wanted || !machine.rungs || wanted.some((kind) => machine.rungs!.includes(kind))) return undefined;
  const has = machine.rungs.join(", ");
  if (machine.training?.rungs.some((kind) => wanted.includes(kind)))
    return {
      code: "NoCapacity",
      message: `capacity.rungs is ${wanted.join(", ")}, which this deployment has for training alone; preprocess, compile and infer have ${has}.`,
      remedy: `Name one of ${has} behind it, or leave capacity.rungs out.`,
    };
  return {
    code: "NoCapacity",
    message: `capacity.rungs is ${wanted.join(", ")}; this deployment has ${has}.`,
    remedy: "Name one of the deployment's rungs, or leave capacity.rungs out.",
  };
}

/** No child of the default sizes is estimated to take so long; below it, only what hangs is stopped. */
const SLACK_SECONDS = 1_800;
/** Batch transform gives up on a record, which is a child's share, after an hour. */
const MOST_OF_TRANSFORM = 3_600;
/** Estimates are rough (calibration.ts), and the engines of one stage differ: a job that works takes less than this. */
const FACTOR = 4;

export interface JobSeconds {
  preprocess?: number;
  compile?: number;
  infer?: number;
}

/**
 * Where Batch stops an attempt of a job, from the estimate: what a run can cost at most follows from it. On one machine
 * nothing costs, and jobs may take what they take.
 */
export function jobSeconds(estimate: Estimate, work: Work, machine: Machine): JobSeconds {
  if (machine.where !== "aws") return {};
  const engines = work.trainings.flatMap((training) => training.engines);
  const limit = (stage: StageName, jobs: number) => {
    const seconds = 60 * (estimate.stages.find((one) => one.stage === stage)?.minutes ?? 0);
    return Math.ceil((FACTOR * seconds) / Math.max(1, jobs) + SLACK_SECONDS);
  };
  const infer = limit("infer", engines.length);
  return {
    preprocess: limit("preprocess", 1),
    compile: limit("compile", engines.filter((engine) => !engine.compiled).length),
    infer: machine.transform ? Math.min(infer, MOST_OF_TRANSFORM) : infer,
  };
}

/** What a transform job is sent: a shard of the task in each object. */
export async function writeTransformLines(
  { runId, artefactsUri }: RunRequest,
  tasks: readonly { taskId: string; shards: number }[],
  machine: Machine,
  store: ObjectStore,
): Promise<void> {
  if (!machine.transform) return;
  for (const { taskId, shards } of tasks)
    for (let shard = 0; shard < shards; shard++)
      await store.put(
        under(artefactsUri, keys.transformShard(runId, taskId, shard)),
        `${JSON.stringify({ shard })}\n`,
        {
          contentType: "application/jsonlines",
        },
      );
}
