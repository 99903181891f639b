// Writes what the stages are started with: tasks, lists of cases, SageMaker's channel manifests, and the plan itself.
import {
  type CompileTask,
  hashOf,
  type InferTask,
  keys,
  type ObjectStore,
  type Plan,
  type PreprocessTask,
  type RunRequest,
  type TrainTask,
  toJsonLines,
  under,
} from "../../lib/contracts/index.ts";
import { isResnet } from "./resnet.ts";
import type { EngineWork, TrainingWork, Work } from "./work.ts";

export interface Sizes {
  preprocessShards: number;
  inferShards: (engine: EngineWork) => number;
  checkpointMinutes: number;
}

/** Files of a case's arrays, as preprocess writes them below its prefix. */
/** Of the training part, what an engine in 8 bits is calibrated on: its compile hash covers them by the training's. */
const CALIBRATION_CASES = 8;
const ARRAY_FILES = ["image.npy", "label.npy", "foreground.npz", "meta.json"];
const CLASS_ARRAY_FILES = ["image.npy", "meta.json"];

export async function writeDocuments(
  request: RunRequest,
  plan: Plan,
  work: Work,
  sizes: Sizes,
  store: ObjectStore,
): Promise<void> {
  const { runId, artefactsUri } = request;
  const put = (key: string, body: string, contentType: string) =>
    store.put(under(artefactsUri, key), body, { contentType });
  const putJson = (key: string, value: unknown) => put(key, `${JSON.stringify(value, null, 1)}\n`, "application/json");
  const putLines = (taskId: string, lines: readonly unknown[]) =>
    put(keys.taskCases(runId, taskId), toJsonLines(lines), "application/x-ndjson");
  const common = (taskId: string, inputHash: string) => ({
    schema: 1 as const,
    taskId,
    runId,
    version: request.version,
    dataset: request.dataset,
    datasetUri: request.datasetUri,
    artefactsUri,
    runPrefix: keys.run(runId),
    inputHash,
    casesKey: keys.taskCases(runId, taskId),
    planKey: keys.plan(runId),
  });

  const preprocess: PreprocessTask = {
    ...common("preprocess", hashOf(work.preprocessCases.map((item) => item.outputHash))),
    stage: "preprocess",
    shards: sizes.preprocessShards,
  };
  await putLines("preprocess", work.preprocessCases);
  await putJson(keys.task(runId, "preprocess"), preprocess);
  for (const training of work.trainings) {
    await writeTraining(training);
    for (const engine of training.engines) await writeEngine(training, engine);
  }
  // Last: whoever finds the plan finds every task that it speaks of.
  await putJson(keys.plan(runId), plan);

  async function writeTraining(training: TrainingWork): Promise<void> {
    const { taskId, cases } = training;
    const task: TrainTask = {
      ...common(taskId, training.hash),
      stage: "train",
      fold: training.fold.name,
      strategy: training.strategy,
      gpus: training.gpus,
      outputPrefix: training.outputPrefix,
      checkpointMinutes: sizes.checkpointMinutes,
    };
    await putLines(taskId, cases);
    await putJson(
      keys.channelManifest(runId, taskId),
      channelManifest(artefactsUri, cases, isResnet(plan.network.model) ? CLASS_ARRAY_FILES : ARRAY_FILES),
    );
    await putJson(keys.task(runId, taskId), task);
  }

  async function writeEngine(training: TrainingWork, engine: EngineWork): Promise<void> {
    const what = { fold: training.fold.name, strategy: training.strategy, engine: engine.engine };
    const compile: CompileTask = {
      ...common(engine.compileTaskId, engine.hash),
      ...what,
      stage: "compile",
      modelPrefix: training.outputPrefix,
      outputPrefix: engine.outputPrefix,
    };
    await putLines(engine.compileTaskId, [
      ...training.cases.filter((item) => item.part === "validation"),
      ...training.cases.filter((item) => item.part === "train").slice(0, CALIBRATION_CASES),
    ]);
    await putJson(keys.task(runId, engine.compileTaskId), compile);
    const infer: InferTask = {
      ...common(engine.inferTaskId, hashOf(engine.inferCases.map((item) => item.outputHash))),
      ...what,
      stage: "infer",
      shards: sizes.inferShards(engine),
      enginePrefix: engine.outputPrefix,
      masksPrefix: keys.masks(runId, engine.name),
    };
    await putLines(engine.inferTaskId, engine.inferCases);
    await putJson(keys.task(runId, engine.inferTaskId), infer);
  }
}

/** S3DataType ManifestFile: the prefix first, then keys below it; SageMaker keeps the folders of the keys. */
export function channelManifest(
  artefactsUri: string,
  cases: readonly { arraysPrefix: string }[],
  files: readonly string[] = ARRAY_FILES,
): unknown[] {
  const prefix = keys.outputs("preprocess");
  const hashes = [...new Set(cases.map((item) => item.arraysPrefix.slice(prefix.length)))];
  return [
    { prefix: under(artefactsUri, prefix) },
    ...hashes.flatMap((folder) => files.map((file) => `${folder}${file}`)),
  ];
}
