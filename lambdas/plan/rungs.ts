// What the capacity ladder needs of a plan: time limits of jobs, and whether the deployment has a rung at all.
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
import { trainingLadder } from "./place.ts";
import type { Work } from "./work.ts";

/**
 * No rung of the recipe is the deployment's, or none takes a training: nothing could start, and it is said before anything
 * is paid for. Rungs that training has alone, as a training plan's, leave the other GPU stages none.
 */
export function noRung(recipe: Pick<Recipe, "capacity">, machine: Machine): Refusal | undefined {
  const { rungs: wanted, training: backend } = recipe.capacity;
  const { rungs, training } = machine;
  if (wanted && rungs && !wanted.some((kind) => rungs.includes(kind))) {
    const has = rungs.join(", ");
    const asked = `capacity.rungs is ${wanted.join(", ")}`;
    if (training?.some(({ kind }) => wanted.includes(kind)))
      return {
        code: "NoCapacity",
        message: `${asked}, which this deployment has for training alone; preprocess, compile and infer have ${has}.`,
        remedy: `Name one of ${has} behind it, or leave capacity.rungs out.`,
      };
    return {
      code: "NoCapacity",
      message: `${asked}; this deployment has ${has}.`,
      remedy: "Name one of the deployment's rungs, or leave capacity.rungs out.",
    };
  }
  if (!training || trainingLadder(machine, recipe).length > 0) return undefined;
  const asked = [
    ...(wanted ? [`capacity.rungs is ${wanted.join(", ")}`] : []),
    backend ? `capacity.training is ${backend}` : "capacity.training is left out",
  ].join(" and ");
  const has = training.map(
    (rung) => `${rung.kind} ${rung.instanceType} on ${rung.backend}${rung.isPreferred ? "" : " (if it is named)"}`,
  );
  return {
    code: "NoCapacity",
    message: `No rung is left for training: ${asked}; this deployment trains on ${has.join(", ")}.`,
    remedy: "Name one of these kinds in capacity.rungs and its service in capacity.training, or leave both out.",
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
