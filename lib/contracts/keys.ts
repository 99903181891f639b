// The only place that knows where objects are. Python gets keys from its task and appends the names below its prefix.
//
// datasets/<name>/          the data bucket: what people upload
// <stage>/<hash>/           the artefacts bucket: outputs by the hash of their inputs, shared by runs
// runs/<runId>/             the artefacts bucket: what belongs to one run
// nightly/<dataset>/        the artefacts bucket: what the nights of the benchmark measured
import type { EngineName, StageName, Strategy } from "./primitives.ts";

export const keys = {
  dataset: (name: string) => `datasets/${name}/`,
  run: (runId: string) => `runs/${runId}/`,
  outputs: (stage: StageName) => `${stage}/`,
  output: (stage: StageName, hash: string) => `${stage}/${hash}/`,
  request: (runId: string) => `runs/${runId}/request.json`,
  recipe: (runId: string) => `runs/${runId}/recipe.json`,
  definition: (runId: string) => `runs/${runId}/dataset.json`,
  splits: (runId: string) => `runs/${runId}/splits.json`,
  plan: (runId: string) => `runs/${runId}/plan.json`,
  task: (runId: string, taskId: string) => `runs/${runId}/tasks/${taskId}.json`,
  taskCases: (runId: string, taskId: string) => `runs/${runId}/tasks/${taskId}.cases.jsonl`,
  /** SageMaker's ManifestFile for the channel with a training's arrays. */
  channelManifest: (runId: string, taskId: string) => `runs/${runId}/tasks/${taskId}.manifest.json`,
  results: (runId: string) => `runs/${runId}/results/`,
  result: (runId: string, taskId: string, index?: number) =>
    `runs/${runId}/results/${taskId}${index === undefined ? "" : `.${index}`}.json`,
  errors: (runId: string) => `runs/${runId}/errors/`,
  error: (runId: string, taskId: string, index?: number) =>
    `runs/${runId}/errors/${taskId}${index === undefined ? "" : `.${index}`}.json`,
  ingested: (runId: string, index: number) => `runs/${runId}/ingest/${index}.cases.jsonl`,
  quarantined: (runId: string, index: number) => `runs/${runId}/ingest/${index}.quarantine.jsonl`,
  /** Below the quarantine bucket: what ingest is given as its quarantineUri, so that it knows no run's name. */
  quarantine: (runId: string) => `${runId}/`,
  quarantineEntry: (runId: string, caseId: string) => `${runId}/${caseId}.json`,
  /** A transform job's input: the cases of a shard in each object, a line each; and where SageMaker puts the answers. */
  transformLines: (runId: string, taskId: string) => `runs/${runId}/tasks/${taskId}.lines/`,
  transformShard: (runId: string, taskId: string, index: number) =>
    `runs/${runId}/tasks/${taskId}.lines/${index}.jsonl`,
  transformAnswers: (runId: string, taskId: string) => `runs/${runId}/infer/${taskId}.answers/`,
  scores: (runId: string, taskId: string, index: number) => `runs/${runId}/infer/${taskId}.${index}.scores.jsonl`,
  masks: (runId: string, name: string) => `runs/${runId}/masks/${name}/`,
  report: (runId: string, file: "report.json" | "report.html" | "report.csv") => `runs/${runId}/report/${file}`,
  /** SageMaker keeps this folder and the training's /opt/ml/checkpoints alike. */
  checkpoints: (hash: string) => `train/${hash}/checkpoints/`,
  /** Where SageMaker puts its own archive of /opt/ml/model; nothing of ours reads it. */
  trainingArchive: (runId: string) => `runs/${runId}/sagemaker/`,
  /** Nights of the benchmark, in the order of their names. */
  nights: (dataset: string) => `nightly/${dataset}/`,
  night: (dataset: string, night: string) =>
    `nightly/${dataset}/${new Date(night).toISOString().replaceAll(":", "")}.json`,
  /** A stage's result, beside its output: its existence is what makes the stage skippable. */
  outputResult: (prefix: string) => `${prefix}result.json`,
  caseRecord: (hash: string) => `ingest/${hash}/record.json`,
  arraysMeta: (hash: string) => `preprocess/${hash}/meta.json`,
  caseScores: (hash: string) => `infer/${hash}/scores.json`,
};

export const trainTaskId = (fold: string, strategy: Strategy) => `train-${fold}-${strategy}`;
export const compileTaskId = (fold: string, strategy: Strategy, engine: EngineName) =>
  `compile-${fold}-${strategy}-${engine}`;
export const inferTaskId = (fold: string, strategy: Strategy, engine: EngineName) =>
  `infer-${fold}-${strategy}-${engine}`;
