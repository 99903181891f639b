// What there is to do: hashes of every output, which of them exist, and from that the work of each stage.
import {
  compileTaskId,
  type EngineName,
  type Fold,
  type InferCase,
  inferTaskId,
  keys,
  type Machine,
  type ObjectStore,
  type Plan,
  type PreprocessCase,
  type Recipe,
  type RunRequest,
  type Strategy,
  strategy as strategyNames,
  type TrainCase,
  trainTaskId,
  under,
} from "../../lib/contracts/index.ts";
import { compileHash, engineHash, inferHash, preprocessHash, trainHash } from "./hashes.ts";
import { type IngestedCase, inBatches } from "./inputs.ts";
import { type Place, placeOf } from "./place.ts";

export interface EngineWork {
  name: string;
  engine: EngineName;
  compileTaskId: string;
  inferTaskId: string;
  hash: string;
  outputPrefix: string;
  compiled: boolean;
  inferCases: InferCase[];
  /** Of them, ids whose scores do not exist yet. */
  missing: Set<string>;
}

export interface TrainingWork extends Place {
  name: string;
  taskId: string;
  fold: Fold;
  strategy: Strategy;
  hash: string;
  outputPrefix: string;
  trained: boolean;
  cases: TrainCase[];
  engines: EngineWork[];
}

export interface Work {
  preprocessCases: PreprocessCase[];
  /** Of them, ids whose arrays do not exist yet. */
  missing: Set<string>;
  trainings: TrainingWork[];
}

/** The parts of a plan that outputs depend on. */
export type PlannedParts = Pick<
  Plan,
  | "spacingMmZyx"
  | "transpose"
  | "normalisation"
  | "network"
  | "patch"
  | "batch"
  | "batchDice"
  | "dummy2d"
  | "precision"
  | "optimizer"
  | "seed"
  | "budget"
  | "infer"
  | "folds"
>;

interface Ladder {
  strategies: readonly Strategy[];
  engines: readonly EngineName[];
}

/**
 * Engines are compared on the weights of one training of a fold, the furthest up the ladder of strategies; the others are
 * scored by the first engine alone.
 */
function enginesOf(strategy: Strategy, { strategies, engines }: Ladder): readonly EngineName[] {
  const rung = (one: Strategy) => strategyNames.options.indexOf(one);
  return strategies.every((other) => rung(other) <= rung(strategy)) ? engines : engines.slice(0, 1);
}

export async function workOf(
  request: RunRequest,
  plan: PlannedParts,
  cases: { training: readonly IngestedCase[]; test: readonly IngestedCase[] },
  choices: Ladder,
  machine: Machine,
  store: ObjectStore,
  recipe: Recipe,
): Promise<Work> {
  const exists = (key: string) => store.exists(under(request.artefactsUri, key));
  // Only what the chosen folds use is made into arrays.
  const used = new Set(plan.folds.flatMap((fold) => [...fold.train, ...fold.validation]));
  const arrays = new Map(
    cases.training
      .filter((item) => used.has(item.caseId))
      .map((item) => [item.caseId, preprocessHash(request, { caseHash: item.record.caseHash, ...plan })]),
  );
  const byId = new Map([...cases.training, ...cases.test].map((item) => [item.caseId, item]));
  const preprocessCases = [...arrays].map(([caseId, hash]): PreprocessCase => {
    const { recordKey } = byId.get(caseId)!;
    return { caseId, recordKey, outputPrefix: keys.output("preprocess", hash), outputHash: hash };
  });

  const trainings: TrainingWork[] = [];
  for (const fold of plan.folds)
    for (const strategy of choices.strategies) {
      const place = placeOf(strategy, plan.batch, machine, recipe);
      const { gpus, node } = place;
      const hashes = (part: "train" | "validation") => fold[part].map((id) => arrays.get(id)!);
      const hash = trainHash(request, { arrays: hashes("train"), plan, strategy, gpus, machine: node });
      const outputPrefix = keys.output("train", hash);
      trainings.push({
        name: `${fold.name}-${strategy}`,
        taskId: trainTaskId(fold.name, strategy),
        fold,
        strategy,
        ...place,
        hash,
        outputPrefix,
        trained: await exists(keys.outputResult(outputPrefix)),
        cases: (["train", "validation"] as const).flatMap((part) =>
          fold[part].map((caseId) => {
            const { class: name } = byId.get(caseId)!.record;
            const arraysPrefix = keys.output("preprocess", arrays.get(caseId)!);
            return { caseId, part, arraysPrefix, ...(name !== undefined && { class: name }) };
          }),
        ),
        engines: await Promise.all(
          enginesOf(strategy, choices).map((engine) => engineWork(engine, hash, fold, strategy, hashes("validation"))),
        ),
      });
    }
  return {
    preprocessCases,
    missing: await missingOf(preprocessCases, (item) => exists(keys.arraysMeta(item.outputHash))),
    trainings,
  };

  async function engineWork(
    engine: EngineName,
    trained: string,
    fold: Fold,
    strategy: Strategy,
    validation: readonly string[],
  ): Promise<EngineWork> {
    const identity = engineHash(request, trained, engine, machine);
    const hash = compileHash(identity, validation, plan.infer);
    const outputPrefix = keys.output("compile", hash);
    const inferCase = (caseId: string, part: "validation" | "test"): InferCase => {
      const { record, recordKey } = byId.get(caseId)!;
      const outputHash = inferHash(identity, { caseHash: record.caseHash, part, infer: plan.infer });
      return { caseId, part, recordKey, outputPrefix: keys.output("infer", outputHash), outputHash };
    };
    const inferCases = [
      ...fold.validation.map((id) => inferCase(id, "validation")),
      ...cases.test.map((item) => inferCase(item.caseId, "test")),
    ];
    return {
      name: `${fold.name}-${strategy}-${engine}`,
      engine,
      compileTaskId: compileTaskId(fold.name, strategy, engine),
      inferTaskId: inferTaskId(fold.name, strategy, engine),
      hash,
      outputPrefix,
      compiled: await exists(keys.outputResult(outputPrefix)),
      inferCases,
      missing: await missingOf(inferCases, (item) => exists(keys.caseScores(item.outputHash))),
    };
  }
}

async function missingOf<T extends { caseId: string }>(
  items: readonly T[],
  exists: (item: T) => Promise<boolean>,
): Promise<Set<string>> {
  const there = await inBatches(items, exists);
  return new Set(items.filter((_, i) => !there[i]).map((item) => item.caseId));
}
