// Where a training runs: the rung of its ladder that the state machine tries first, and the GPUs that it has there.
import { GPU_INSTANCE_TYPES, type Machine, type Plan, type Recipe, type Strategy } from "../../lib/contracts/index.ts";
import { trainingMemoryGiB, usableMemoryGiB } from "./memory.ts";

type Rung = NonNullable<Machine["training"]>[number];
type Asked = Pick<Recipe, "capacity">;

export interface Place {
  /** One of its instances. */
  node: Machine;
  /** Of all nodes together. */
  gpus: number;
  nodes: number;
}

/**
 * The deployment's rungs that a recipe leaves to training, in the order in which the state machine tries them (Train.suits
 * and Ladder have the same rule). Empty also where a machine has no ladder.
 */
export function trainingLadder({ training = [] }: Machine, { capacity }: Asked): readonly Rung[] {
  const { rungs: kinds, training: backend } = capacity;
  const suiting = training.filter((rung) => (backend ? rung.backend === backend : rung.isPreferred));
  return kinds ? kinds.flatMap((kind) => suiting.filter((rung) => rung.kind === kind)) : suiting;
}

/** Instances that one ddp training may have: the deployment's, or fewer that the recipe asks for. */
export const mostNodes = (machine: Machine, { capacity }: Asked): number =>
  Math.min(machine.nodes ?? 1, capacity.nodes ?? Number.POSITIVE_INFINITY);

/**
 * Where a training is planned. ddp takes a GPU for each patch of the batch, as many as there are, on several instances as
 * whole ones (each starts a process a GPU) on the first rung that takes several; the other strategies take one GPU. A
 * recipe that leaves training no rung is planned on the deployment's first, and noRung refuses it.
 *
 * @param batch - patches of the whole batch
 */
export function placeOf(strategy: Strategy, batch: number, machine: Machine, recipe: Asked): Place {
  const most = strategy === "ddp" ? batch : 1;
  const ladder = trainingLadder(machine, recipe);
  const first = ladder[0] ?? machine.training?.[0];
  const node = first ? nodeOf(first, machine) : machine;
  const single = { node, gpus: Math.min(node.gpus, most), nodes: 1 };
  const several = first ? ladder.find(({ isForSeveralNodes }) => isForSeveralNodes) : undefined;
  if (first && !several) return single;
  const each = several ? nodeOf(several, machine) : machine;
  const nodes = Math.min(mostNodes(machine, recipe), Math.floor(most / Math.max(1, each.gpus)));
  const gpus = nodes * each.gpus;
  return nodes > 1 && gpus > single.gpus ? { node: each, gpus, nodes } : single;
}

/** An instance of a training's rung; the rest of the machine is the deployment's. */
function nodeOf({ instanceType, usdPerHour }: Rung, machine: Machine): Machine {
  const { gpus, gpuName, gpuMemoryGiB, memoryGiB, vcpus } = GPU_INSTANCE_TYPES[instanceType];
  return { ...machine, instanceType, usdPerHour, gpus, gpuName, gpuMemoryGiB, memoryGiB, cpus: vcpus };
}

/** What a training's memory follows from. */
export interface Load {
  /** nnU-Net's proxy of one sample. */
  elements: number;
  /** Patches of the whole batch. */
  batch: number;
  /** The strategy's own. */
  precision: Plan["precision"];
}

/** Memory of one process of a training, in GiB: what it needs, and what it may take where that is known. */
export function demandOf({ elements, batch, precision }: Load, { node, gpus }: Pick<Place, "node" | "gpus">) {
  const patches = Math.ceil(batch / Math.max(1, gpus));
  return {
    patches,
    needsGiB: trainingMemoryGiB(elements, patches, precision, node),
    hasGiB: usableMemoryGiB(node) ?? Number.POSITIVE_INFINITY,
  };
}

/** Later rungs that a training at a place may fall to and that cannot hold its share of the batch there, in words. */
export function tooSmallLater(load: Load, place: Place, machine: Machine, recipe: Asked): string[] {
  return trainingLadder(machine, recipe)
    .filter(({ isForSeveralNodes }) => place.nodes === 1 || isForSeveralNodes)
    .slice(1) // the place itself
    .flatMap((rung) => {
      const node = nodeOf(rung, machine);
      const gpus = Math.min(place.gpus, node.gpus * place.nodes);
      const { patches, needsGiB, hasGiB } = demandOf(load, { node, gpus });
      if (needsGiB <= hasGiB) return [];
      const where = `${rung.kind} ${rung.instanceType}`;
      return `A training that falls to ${where} would run out of memory there: ${patches} patches a GPU need about ${needsGiB.toFixed(1)} GiB and a GPU has ${hasGiB.toFixed(1)} to give. Lower plan.batch, or name in capacity.rungs only what holds it.`;
    });
}
