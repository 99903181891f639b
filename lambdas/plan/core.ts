// plan: what ingest found becomes folds, geometry, network, tasks and an estimate, once, for every later stage.
import {
  type CaseRecord,
  type Clock,
  keys,
  type Machine,
  type ObjectStore,
  type Plan,
  type PlanInput,
  type PlanOutput,
  PRICES_DATE,
  parseOrThrow,
  plan as planSchema,
  type Recipe,
  type RunRequest,
  readJson,
  result,
  type Training,
  under,
} from "../../lib/contracts/index.ts";
import { product } from "./arithmetic.ts";
import { type Choices, choose, mostOfDdp, precisionOfStrategy, type Refusal } from "./choices.ts";
import { classDesignOf } from "./class-design.ts";
import { designOf } from "./design.ts";
import { writeDocuments } from "./documents.ts";
import { type EstimateInput, estimateOf, trainingSeconds } from "./estimate.ts";
import { chooseFolds } from "./folds.ts";
import { tooLarge } from "./history.ts";
import { type PlanInputs, readInputs } from "./inputs.ts";
import { inferMemoryGiB, preprocessMemoryGiB } from "./memory.ts";
import { mostNodes, tooSmallLater, trainingLadder } from "./place.ts";
import { jobSeconds, noRung, writeTransformLines } from "./rungs.ts";
import { shardsFor, trainConcurrency } from "./shards.ts";
import { type EngineWork, type Work, workOf } from "./work.ts";

export interface PlanPorts {
  store: ObjectStore;
  /** Where the stages will run. */
  machine: Machine;
  clock: Clock;
}

/**
 * Plans a run: writes runs/<runId>/plan.json and every task that follows, and returns what the state machine needs.
 *
 * A dataset or recipe that cannot be planned is an error; a plan that must not start (over budget, too large for one
 * execution, an engine or the memory is missing) is complete, with `go` false and the reason.
 *
 * @throws VoxelburstError ObjectMissing, DocumentInvalid, IngestIncomplete, NoUsableCase, LabelsMissing, PatchInvalid,
 *   VolumesTooSmall, PriceUnknown, or one of chooseFolds
 */
export async function plan({ request }: PlanInput, { store, machine, clock }: PlanPorts): Promise<PlanOutput> {
  const inputs = await readInputs(request, store);
  const { recipe, training, test } = inputs;
  const records = training.map((item) => item.record);
  const choices = choose(recipe, machine);
  const designer = inputs.dataset.classes ? classDesignOf : designOf;
  const design = designer(records, inputs.dataset, recipe, machine, choices);
  const { folds, notes } = chooseFolds(
    training.map(({ caseId, record }) => ({ caseId, patient: record.patient, class: record.class })),
    new Set(inputs.quarantined.map((entry) => entry.caseId)),
    inputs.splits,
    recipe,
  );
  const { elements, refusal: memoryRefusal, ...geometry } = design;
  const parts = {
    ...geometry,
    precision: choices.precision,
    optimizer: choices.optimizer,
    seed: recipe.train.seed,
    budget: choices.budget,
    infer: recipe.infer,
    folds,
  };
  const work = await workOf(request, parts, { training, test }, choices, machine, store, recipe);

  const sizes = sizesOf(inputs, work.preprocessCases.length, machine);
  const estimateInput: EstimateInput = {
    plan: parts,
    work,
    records: new Map([...training, ...test].map((item) => [item.caseId, item.record])),
    ingestSeconds: await ingestSeconds(request, store, machine),
    ...sizes,
    trainConcurrency: trainConcurrency(machine, work.trainings.length),
    machine,
    recipe,
  };
  const estimate = estimateOf(estimateInput);
  const refusal =
    choices.refusal ??
    memoryRefusal ??
    noRung(recipe, machine) ??
    tooLarge(work, machine) ??
    overBudget(recipe, estimate.usd);
  const seconds = jobSeconds(estimate, work, machine);
  const document: Plan = {
    schema: 1,
    runId: request.runId,
    version: request.version,
    dataset: inputs.dataset,
    cases: { training: training.length, test: test.length, quarantined: inputs.quarantined.length },
    ...parts,
    notes: [
      ...choices.notes,
      ...geometry.notes,
      ...trainingNotes(work, choices, { elements, batch: design.batch }, machine, recipe),
      ...notes,
      ...priceAge(clock),
    ],
    estimate,
    go: refusal === undefined,
    ...(refusal ? { refusal } : {}),
  };
  // A plan that its own schema refuses would stop every stage behind it with a worse message.
  parseOrThrow(planSchema, document, "plan.json", "PlanInvalid");
  await writeDocuments(request, document, work, { ...sizes, checkpointMinutes: recipe.train.checkpointMinutes }, store);

  const transformed = work.trainings.flatMap(({ engines }) =>
    engines.map((engine) => ({ taskId: engine.inferTaskId, shards: sizes.inferShards(engine) })),
  );
  await writeTransformLines(request, transformed, machine, store);

  const { runId } = request;
  const { rungs, training: trainOn } = recipe.capacity;
  return {
    go: refusal === undefined,
    ...(refusal ? { refusal } : {}),
    planKey: keys.plan(runId),
    preprocess: {
      taskKey: keys.task(runId, "preprocess"),
      missing: work.missing.size,
      shards: sizes.preprocessShards,
      ...(seconds.preprocess && { seconds: seconds.preprocess }),
    },
    ...(rungs && { rungs }),
    ...(trainOn && { trainOn }),
    trainConcurrency: estimateInput.trainConcurrency,
    trainings: work.trainings.map(
      (item): Training => ({
        name: item.name,
        fold: item.fold.name,
        strategy: item.strategy,
        gpus: item.gpus,
        ...(item.nodes > 1 && { nodes: item.nodes }),
        taskKey: keys.task(runId, item.taskId),
        trainHash: item.hash,
        trained: item.trained,
        maxSeconds: maxSeconds(choices.budget, trainingSeconds(estimateInput, { ...item, trained: false })),
        engines: item.engines.map((engine) => ({
          name: engine.name,
          engine: engine.engine,
          compileTaskKey: keys.task(runId, engine.compileTaskId),
          compiled: engine.compiled,
          ...(seconds.compile && { compileSeconds: seconds.compile }),
          inferTaskKey: keys.task(runId, engine.inferTaskId),
          inferShards: sizes.inferShards(engine),
          ...(seconds.infer && { inferSeconds: seconds.infer }),
        })),
      }),
    ),
  };
}

function sizesOf(inputs: PlanInputs, preprocessCases: number, machine: Machine) {
  const voxels = (record: CaseRecord) => product(record.shapeZyx) * record.images.length;
  const largest = Math.max(...[...inputs.training, ...inputs.test].map((item) => voxels(item.record)));
  const size = { voxels: largest, resampled: true };
  const preprocessGiB = preprocessMemoryGiB(size);
  const inferGiB = inferMemoryGiB(size, inputs.dataset.labels.length, 0); // classes have no volume of logits
  return {
    preprocessShards: shardsFor("preprocess", preprocessCases, preprocessGiB, machine),
    inferShards: (engine: EngineWork) => shardsFor("infer", engine.inferCases.length, inferGiB, machine),
  };
}

/** Wall seconds of ingest by its children's own results, where all have left one. */
async function ingestSeconds(request: RunRequest, store: ObjectStore, machine: Machine): Promise<number | undefined> {
  const seconds: number[] = [];
  for (let index = 0; index < request.ingestShards; index++) {
    const uri = under(request.artefactsUri, keys.result(request.runId, "ingest", index));
    if (!(await store.exists(uri))) return undefined;
    seconds.push((await readJson(store, uri, result)).seconds);
  }
  // One machine runs as many children at once as it has cores.
  const queued = machine.where === "local" ? seconds.reduce((sum, one) => sum + one, 0) / machine.cpus : 0;
  return Math.max(...seconds, queued);
}

/** SageMaker's own limit on a training job. */
const MOST_SECONDS = 5 * 24 * 3600;
/** Provisioning is not in it; start, warm-up, the last checkpoint and its upload are. */
const SLACK_SECONDS = 1800;

/** Where the service stops the job: far enough from the estimate that only a job that hangs is hit. */
function maxSeconds(budget: Plan["budget"], estimated: number): number {
  const factor = budget.steps === undefined ? 1.25 : 3;
  return Math.min(MOST_SECONDS, Math.ceil(estimated * factor + SLACK_SECONDS));
}

function overBudget(recipe: Recipe, usd: number): Refusal | undefined {
  if (recipe.maxUsd === undefined || usd <= recipe.maxUsd) return undefined;
  return {
    code: "OverBudget",
    message: `The run is estimated at ${usd.toFixed(2)} USD; maxUsd allows ${recipe.maxUsd.toFixed(2)}.`,
    remedy: "Raise maxUsd, or ask for fewer folds, strategies or steps.",
  };
}

/** What of the ladder a training does not use, or cannot. */
function trainingNotes(
  { trainings }: Work,
  { precision }: Choices,
  size: { elements: number; batch: number },
  machine: Machine,
  recipe: Recipe,
): string[] {
  const notes: string[] = [];
  const ddp = trainings.find(({ strategy }) => strategy === "ddp");
  const ladder = trainingLadder(machine, recipe);
  if (ddp && ladder.length > 0 && mostNodes(machine, recipe) > 1 && !ladder.some((rung) => rung.isForSeveralNodes))
    notes.push("No rung that this run may use takes a training of several instances: ddp has one.");
  const most = mostOfDdp(recipe, machine).gpus;
  if (ddp && ddp.gpus < most)
    notes.push(
      `ddp uses ${ddp.gpus} of ${most} GPUs: a batch of ${size.batch} has no patch for each. Set plan.batch to ${most} or more to use them all.`,
    );
  const later = trainings.flatMap((training) => {
    const load = { ...size, precision: precisionOfStrategy(training.strategy, precision) };
    return tooSmallLater(load, training, machine, recipe);
  });
  return [...notes, ...new Set(later)];
}

const STALE_DAYS = 180;

function priceAge(clock: Clock): string[] {
  const days = (clock.now().getTime() - Date.parse(PRICES_DATE)) / 86_400_000;
  return days > STALE_DAYS ? [`The price table is ${Math.floor(days)} days old.`] : [];
}
