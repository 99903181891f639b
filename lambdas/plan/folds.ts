// Which cases are trained on and which are held out: splits.json, or nnU-Net's folds with patients kept together.
import { type Fold, type Recipe, type Splits, VoxelburstError } from "../../lib/contracts/index.ts";
import { MersenneTwister } from "./mersenne-twister.ts";

/** nnU-Net's seed for its folds (crossval_split.py). */
const SEED = 12345;

export interface FoldCase {
  caseId: string;
  /** Keyed hash of the patient, where the dataset declares patients. */
  patient?: string | undefined;
  /** Of a classification: every fold gets its share of each. */
  class?: string | undefined;
}

export interface FoldChoice {
  folds: Fold[];
  notes: string[];
}

/**
 * The folds that the recipe asks for; without `folds`, the first.
 *
 * @param cases - training cases that ingest accepted
 * @param refused - ids of the quarantined cases: a split may name them, they drop out
 * @throws VoxelburstError SplitsUnknownCase, SplitsOverlap, PatientInBothParts, FoldUnknown, FoldEmpty, TooFewCases
 */
export function chooseFolds(
  cases: readonly FoldCase[],
  refused: ReadonlySet<string>,
  splits: Splits | undefined,
  recipe: Pick<Recipe, "folds" | "foldCount">,
): FoldChoice {
  const { folds, notes } = splits ? fromSplits(splits, cases, refused) : byPatient(cases, recipe.foldCount);
  const names = folds.map((fold) => fold.name);
  const wanted = recipe.folds === "all" ? names : (recipe.folds ?? names.slice(0, 1));
  const chosen = [...new Set(wanted)].map((name) => {
    const fold = folds.find((candidate) => candidate.name === name);
    if (!fold)
      throw new VoxelburstError(
        "FoldUnknown",
        `The recipe asks for the fold ${name}; ${splits ? "splits.json has" : "there are"} ${names.join(", ")}.`,
        "Name one of them in `folds`, or `all`.",
        { field: "folds", got: name, allowed: names.join(", ") },
      );
    return fold;
  });
  for (const fold of chosen) {
    rejectUnusable(fold, cases);
    rejectWithoutClass(fold, cases);
  }
  return { folds: chosen, notes: [...notes, ...chosen.flatMap(thinness)] };
}

/** nnU-Net's folds over sorted ids; where a patient has several cases, over patients in the order of their first id. */
function byPatient(cases: readonly FoldCase[], foldCount: number): FoldChoice {
  const ids = cases.map((item) => item.caseId).toSorted(byCodePoint);
  const patientOf = new Map(cases.map((item) => [item.caseId, item.patient ?? `case ${item.caseId}`]));
  const groups = [...Map.groupBy(ids, (id) => patientOf.get(id)!).values()];
  if (groups.length < 2)
    throw new VoxelburstError(
      "TooFewCases",
      `${ids.length} training ${ids.length === 1 ? "case" : "cases"} of one patient cannot be split into a part to train on and a part to validate on.`,
      "Add cases of another patient, or write the parts into splits.json.",
      { got: `${groups.length} patient`, allowed: "at least 2 patients" },
    );
  const count = Math.min(foldCount, groups.length);
  const classOf = new Map(cases.map((item) => [item.caseId, item.class]));
  const parts = cases.some((item) => item.class !== undefined)
    ? stratifiedFolds(
        groups.map((group) => classOf.get(group[0]!)!),
        count,
      )
    : shuffledFolds(groups.length, count);
  const folds = parts.map((held, i) => ({
    name: `fold${i}`,
    train: ids.filter((id) => !held.some((group) => groups[group]!.includes(id))),
    validation: ids.filter((id) => held.some((group) => groups[group]!.includes(id))),
  }));
  const notes =
    count < foldCount
      ? [`${groups.length} patients allow ${count} folds where the recipe's foldCount is ${foldCount}.`]
      : [];
  return { folds, notes };
}

/** Held-out positions of each fold, as scikit-learn's KFold(count, shuffle=True, random_state=12345). */
export function shuffledFolds(items: number, count: number): number[][] {
  const order = new MersenneTwister(SEED).shuffled(Array.from({ length: items }, (_, i) => i));
  let start = 0;
  return Array.from({ length: count }, (_, fold) => {
    const size = Math.floor(items / count) + (fold < items % count ? 1 : 0);
    start += size;
    return order.slice(start - size, start).sort((a, b) => a - b);
  });
}

/**
 * Held-out positions of each fold, each class dealt out for itself: shuffled, one a fold in turn, the next class going
 * on where the last one stopped, so that folds differ by one in size. A patient counts under the class of its first
 * case.
 */
export function stratifiedFolds(classes: readonly string[], count: number): number[][] {
  const twister = new MersenneTwister(SEED);
  const folds = Array.from({ length: count }, (): number[] => []);
  let next = 0;
  for (const name of [...new Set(classes)].sort(byCodePoint))
    for (const position of twister.shuffled(classes.flatMap((one, at) => (one === name ? [at] : []))))
      folds[next++ % count]!.push(position);
  return folds.map((held) => held.sort((a, b) => a - b));
}

function fromSplits(splits: Splits, cases: readonly FoldCase[], refused: ReadonlySet<string>): FoldChoice {
  const known = new Set(cases.map((item) => item.caseId));
  const named = Array.isArray(splits) ? splits.map((fold, i) => [`fold${i}`, fold] as const) : Object.entries(splits);
  const usable = (name: string, part: "train" | "val", ids: readonly string[]) => {
    const stray = ids.find((id) => !known.has(id) && !refused.has(id));
    if (stray !== undefined)
      throw new VoxelburstError(
        "SplitsUnknownCase",
        `splits.json: ${name}.${part} names ${stray}, which is not a training case of the dataset.`,
        "Name training cases only, by their ids.",
        { field: `${name}.${part}`, got: stray, allowed: "ids of training cases", caseId: stray },
      );
    return [...new Set(ids)].filter((id) => known.has(id)).sort(byCodePoint);
  };
  const dropped = new Set(named.flatMap(([, fold]) => [...fold.train, ...fold.val]).filter((id) => !known.has(id)));
  return {
    folds: named.map(([name, fold]) => ({
      name,
      train: usable(name, "train", fold.train),
      validation: usable(name, "val", fold.val),
    })),
    notes: dropped.size > 0 ? [`${dropped.size} cases that splits.json names are in quarantine and drop out.`] : [],
  };
}

function rejectUnusable(fold: Fold, cases: readonly FoldCase[]): void {
  for (const part of ["train", "validation"] as const)
    if (fold[part].length === 0)
      throw new VoxelburstError(
        "FoldEmpty",
        `${fold.name} has no case left to ${part === "train" ? "train on" : "validate on"}.`,
        "Correct the quarantined cases, or choose another fold.",
        { field: `${fold.name}.${part}`, got: "0 cases", allowed: "at least 1 case" },
      );
  const train = new Set(fold.train);
  const twice = fold.validation.find((id) => train.has(id));
  if (twice !== undefined)
    throw new VoxelburstError(
      "SplitsOverlap",
      `splits.json: ${fold.name} both trains and validates on ${twice}.`,
      "Name every case in one part of a fold.",
      { field: fold.name, got: twice, allowed: "every case in one part", caseId: twice },
    );
  const patientOf = new Map(cases.map((item) => [item.caseId, item.patient]));
  const trained = new Map(fold.train.map((id) => [patientOf.get(id), id]));
  for (const id of fold.validation) {
    const patient = patientOf.get(id);
    const other = patient === undefined ? undefined : trained.get(patient);
    if (other !== undefined)
      throw new VoxelburstError(
        "PatientInBothParts",
        `splits.json: ${fold.name} trains on ${other} and validates on ${id}, which are of one patient.`,
        "Keep all cases of a patient in one part: its Dice would be too good to be true.",
        { field: fold.name, got: `${other}, ${id}`, allowed: "every patient in one part", caseId: id },
      );
  }
}

/** What quarantine has left may lack a class: nothing could be learned of it, or measured. */
function rejectWithoutClass(fold: Fold, cases: readonly FoldCase[]): void {
  const classOf = new Map(cases.map((item) => [item.caseId, item.class]));
  const classes = new Set([...classOf.values()].filter((name) => name !== undefined));
  for (const part of ["train", "validation"] as const) {
    const there = new Set(fold[part].map((id) => classOf.get(id)));
    const lacking = [...classes].find((name) => !there.has(name));
    if (lacking !== undefined)
      throw new VoxelburstError(
        "FoldWithoutClass",
        `${fold.name} has no case of the class ${lacking} to ${part === "train" ? "train on" : "validate on"}.`,
        "Add cases of that class, lower foldCount, or write splits.json.",
        { field: `${fold.name}.${part}`, got: `no case of ${lacking}`, allowed: "a case of every class" },
      );
  }
}

/** A Dice over a handful of cases says little: the report shows this beside it. */
const FEW = 5;
const thinness = (fold: Fold): string[] =>
  fold.validation.length < FEW
    ? [
        `${fold.name} validates on ${fold.validation.length} of ${fold.validation.length + fold.train.length} cases: its score is a rough one.`,
      ]
    : [];

/** Python's order of strings: code points, as nnU-Net sorts its ids. Case ids are ASCII, where UTF-16 agrees. */
const byCodePoint = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
