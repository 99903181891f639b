// The trainings and engines that a run has or should have, in the order of the benchmark ladder.
import {
  compileTaskId,
  type EngineName,
  engine as engines,
  inferTaskId,
  type Plan,
  type PlanOutput,
  type Result,
  type Strategy,
  strategy as strategies,
  type Training,
  trainTaskId,
} from "../../lib/contracts/index.ts";

export interface LadderEngine {
  /** <fold>-<strategy>-<engine> */
  name: string;
  engine: EngineName;
  compileTaskId: string;
  inferTaskId: string;
  /** Absent when only its results are known. */
  planned?: Training["engines"][number];
}

export interface LadderTraining {
  /** <fold>-<strategy> */
  name: string;
  fold: string;
  strategy: Strategy;
  taskId: string;
  engines: LadderEngine[];
  planned?: Training;
}

/** Folds as the plan lists them, strategies and engines as DESIGN.md adds them up. */
export type Ladder = LadderTraining[];

const engineOf = (fold: string, strategy: Strategy, engine: EngineName): LadderEngine => ({
  name: `${fold}-${strategy}-${engine}`,
  engine,
  compileTaskId: compileTaskId(fold, strategy, engine),
  inferTaskId: inferTaskId(fold, strategy, engine),
});

/** What plan decided, and whatever results exist beyond it (all of them when plan's output was lost). */
export function ladderOf(
  output: PlanOutput | undefined,
  plan: Plan | undefined,
  jobs: readonly { result: Result }[],
): Ladder {
  const trainings = new Map<string, LadderTraining>();
  const add = (fold: string, strategy: Strategy): LadderTraining => {
    const taskId = trainTaskId(fold, strategy);
    const training = trainings.get(taskId) ?? { name: `${fold}-${strategy}`, fold, strategy, taskId, engines: [] };
    trainings.set(taskId, training);
    return training;
  };
  const addEngine = (training: LadderTraining, engine: EngineName): LadderEngine => {
    const known = training.engines.find((entry) => entry.engine === engine);
    if (known) return known;
    const entry = engineOf(training.fold, training.strategy, engine);
    training.engines.push(entry);
    return entry;
  };

  for (const planned of output?.trainings ?? []) {
    const training = add(planned.fold, planned.strategy);
    training.planned = planned;
    for (const entry of planned.engines) addEngine(training, entry.engine).planned = entry;
  }
  for (const { result } of jobs) {
    if (result.stage === "train") add(result.fold, result.strategy);
    if (result.stage === "compile" || result.stage === "infer")
      addEngine(add(result.fold, result.strategy), result.engine);
  }

  const folds = [
    ...new Set([...(plan?.folds ?? []).map((fold) => fold.name), ...(output?.trainings ?? []).map((t) => t.fold)]),
  ];
  const rank = (list: readonly string[], name: string) => {
    const at = list.indexOf(name);
    return at < 0 ? list.length : at;
  };
  for (const training of trainings.values())
    training.engines.sort((a, b) => rank(engines.options, a.engine) - rank(engines.options, b.engine));
  return [...trainings.values()].sort(
    (a, b) =>
      rank(folds, a.fold) - rank(folds, b.fold) ||
      a.fold.localeCompare(b.fold) ||
      rank(strategies.options, a.strategy) - rank(strategies.options, b.strategy),
  );
}
