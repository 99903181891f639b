// splits.json, checked against the manifest: a patient or a case on both sides of a fold inflates Dice.
import { parseOrThrow, splits as splitsSchema, VoxelburstError } from "../../lib/contracts/index.ts";
import type { ManifestCase } from "./manifest-cases.ts";

/** Named folds, whichever of the two forms the file has. */
export type NamedSplits = Record<string, { train: string[]; val: string[] }>;

/**
 * @param document - the parsed splits.json: an object of folds, or nnU-Net's list of them (fold0, fold1 ...)
 * @throws VoxelburstError SplitsInvalid, SplitsUnknownCase, SplitsOverlap or PatientInBothParts, naming fold and case
 */
export function checkSplits(document: unknown, cases: readonly ManifestCase[]): NamedSplits {
  const parsed = parseOrThrow(splitsSchema, document, "splits.json", "SplitsInvalid");
  const folds: NamedSplits = Array.isArray(parsed)
    ? Object.fromEntries(parsed.map((fold, index) => [`fold${index}`, fold]))
    : parsed;
  if (Object.keys(folds).length === 0)
    throw new VoxelburstError(
      "SplitsInvalid",
      "splits.json has no fold; allowed: at least one, with train and val.",
      "Add a fold, or remove splits.json: folds are then made by patient.",
      { field: "splits.json" },
    );
  const training = new Map(cases.filter((c) => c.split === "training").map((c) => [c.caseId, c]));
  for (const [name, fold] of Object.entries(folds)) checkFold(name, fold, training);
  return folds;
}

function checkFold(
  name: string,
  fold: { train: string[]; val: string[] },
  training: ReadonlyMap<string, ManifestCase>,
): void {
  for (const part of ["train", "val"] as const) {
    const seen = new Set<string>();
    for (const [position, id] of fold[part].entries()) {
      const field = `${name}.${part}[${position}]`;
      if (!training.has(id))
        throw new VoxelburstError(
          "SplitsUnknownCase",
          `splits.json: ${field} is ${id}; allowed: the id of a training case in dataset.json.`,
          "Correct the id, or add the case to dataset.json.",
          { field, got: id, caseId: id },
        );
      if (seen.has(id))
        throw new VoxelburstError(
          "SplitsInvalid",
          `splits.json: ${field} names case ${id} a second time; allowed: each case once a part.`,
          "Remove one of the two entries.",
          { field, got: id, caseId: id },
        );
      seen.add(id);
    }
  }
  const trained = new Set(fold.train);
  const both = fold.val.find((id) => trained.has(id));
  if (both !== undefined)
    throw new VoxelburstError(
      "SplitsOverlap",
      `splits.json: ${name} has case ${both} in train and in val; allowed: one of them.`,
      "Remove it from one part: validating on a training case inflates Dice.",
      { field: name, got: both, caseId: both },
    );
  const patients = new Map<string, string>();
  for (const id of fold.train) {
    const patient = training.get(id)?.patient;
    if (patient !== undefined) patients.set(patient, id);
  }
  for (const id of fold.val) {
    const patient = training.get(id)?.patient;
    const other = patient === undefined ? undefined : patients.get(patient);
    if (other !== undefined)
      throw new VoxelburstError(
        "PatientInBothParts",
        `splits.json: ${name} has cases ${other} (train) and ${id} (val) of one patient; allowed: a patient in one part.`,
        "Move all cases of a patient into the same part: otherwise Dice is inflated.",
        { field: name, got: `${other}, ${id}`, caseId: id },
      );
  }
}
