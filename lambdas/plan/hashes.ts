// What each output depends on, and nothing else: a hash that stays lets a stage be skipped.
//
//   preprocess/<h>  one case: its inputs (caseHash), and of the plan the spacing, the axis order and the normalisation.
//                   A z-score knows one case alone. CT clips by the whole dataset's foreground, as nnU-Net does: one
//                   corrected label there moves the clip and redoes every array.
//   train/<h>       the arrays of the training part in their order, the network and everything that the loss and the
//                   draws depend on. Validation cases feed the curve's pseudo Dice alone and do not count: a corrected
//                   label among them does not retrain.
//   compile/<h>     the engine (weights, kind, device), the validation arrays that its parity is measured on (a
//                   corrected label there makes the parity's figures stale: they are measured again) and the settings
//                   of infer, which the model folder hands to predict.
//   infer/<h>       one case: the engine, the case and the settings; not the parity, or one corrected label would
//                   infer every case again.
//
// The nonce of bench and of the schedule is in all of them (nothing timed is skipped), and so is the software version.
import {
  type EngineName,
  hashOf,
  type Machine,
  type Normalisation,
  type Plan,
  type RunRequest,
  type Strategy,
} from "../../lib/contracts/index.ts";
import { precisionOfStrategy } from "./choices.ts";

type Identity = Pick<RunRequest, "version" | "nonce">;
const base = (stage: string, { version, nonce }: Identity) => ({ stage, version, nonce });

/** A measured rate belongs to the device: weights of one are not passed off as another's. */
const deviceOf = (machine: Machine) => (machine.gpus > 0 ? (machine.gpuName ?? "gpu") : "cpu");

export interface ArrayParts {
  caseHash: string;
  spacingMmZyx: readonly number[];
  transpose: readonly number[];
  normalisation: readonly Normalisation[];
}

export const preprocessHash = (request: Identity, parts: ArrayParts): string =>
  hashOf({
    ...base("preprocess", request),
    caseHash: parts.caseHash,
    spacingMmZyx: parts.spacingMmZyx,
    transpose: parts.transpose,
    normalisation: parts.normalisation,
  });

export interface TrainParts {
  /** Preprocess hashes of the training part, in the order of its list. */
  arrays: readonly string[];
  plan: Pick<
    Plan,
    | "network"
    | "patch"
    | "batch"
    | "batchDice"
    | "dummy2d"
    | "normalisation"
    | "precision"
    | "optimizer"
    | "seed"
    | "budget"
  >;
  strategy: Strategy;
  gpus: number;
  machine: Machine;
}

export function trainHash(request: Identity, { arrays, plan, strategy, gpus, machine }: TrainParts): string {
  const { network, patch, batch, batchDice, dummy2d, normalisation, optimizer, seed, budget } = plan;
  return hashOf({
    ...base("train", request),
    arrays,
    network,
    patch,
    batch,
    batchDice,
    dummy2d,
    // Augmentation keeps the outside of a masked channel at 0.
    masked: normalisation.map((channel) => channel.scheme === "zscore" && channel.masked),
    optimizer,
    seed,
    budget,
    strategy,
    precision: precisionOfStrategy(strategy, plan.precision),
    gpus,
    device: deviceOf(machine),
  });
}

/** Identity of an engine: what it computes and where. */
export const engineHash = (request: Identity, trained: string, engine: EngineName, machine: Machine): string =>
  hashOf({ ...base("compile", request), trained, engine, device: deviceOf(machine) });

/** @param validation - preprocess hashes of the cases that the parity of Dice is measured on */
export const compileHash = (engineIdentity: string, validation: readonly string[], infer: Plan["infer"]): string =>
  hashOf({ stage: "compile", engineIdentity, validation, infer });

export interface InferParts {
  caseHash: string;
  part: "validation" | "test";
  infer: Plan["infer"];
}

export const inferHash = (engineIdentity: string, { caseHash, part, infer }: InferParts): string =>
  hashOf({ stage: "infer", engineIdentity, caseHash, part, infer });
