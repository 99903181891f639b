// How many children an array gets.
import { type Machine, MOST_AT_ONCE } from "../../lib/contracts/index.ts";

/** AWS Batch's least; the second child of a single case finds nothing to do. */
const LEAST = 2;
/** On AWS: children start on instances that must first be found and pull an image, so each gets work for minutes. */
const CASES_PER_CHILD = { preprocess: 32, infer: 16 } as const;
const MOST_ON_AWS = 64;

/**
 * @param childGiB - host memory of one child with the largest case
 * @returns children of an array over so many cases: on one machine one a GPU, or one a core as far as memory goes
 */
export function shardsFor(stage: "preprocess" | "infer", cases: number, childGiB: number, machine: Machine): number {
  if (machine.where === "aws") return Math.max(LEAST, Math.min(MOST_ON_AWS, Math.ceil(cases / CASES_PER_CHILD[stage])));
  const atOnce = machine.gpus > 0 ? machine.gpus : machine.cpus;
  const inMemory = Math.floor((machine.memoryGiB * 0.9) / childGiB);
  return Math.max(LEAST, Math.min(atOnce, inMemory, cases));
}

/** Trainings at once. On one machine one after the other: each rate is measured alone, on all of the machine. */
export const trainConcurrency = (machine: Machine, trainings: number): number =>
  // On AWS no more than quotas may hold: trainings that wait for an instance would time out instead of queueing.
  machine.where === "aws" ? Math.max(1, Math.min(trainings, MOST_AT_ONCE)) : 1;
