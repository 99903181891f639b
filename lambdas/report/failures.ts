// What went wrong, in the words of whoever knew it best: a job's own error document, otherwise the Cause that the
// service gave. Causes are free text: whatever could be a path or a URI is cut out, as it may name a patient.
import {
  type ErrorDocument,
  errorDocument,
  type Failure,
  type ReportInput,
  type StageName,
  stageName,
} from "../../lib/contracts/index.ts";
import { jobsOf, type RunFacts } from "./gather.ts";

export interface Failures {
  errors: ErrorDocument[];
  /** Errors of jobs that then succeeded. */
  recovered: ErrorDocument[];
}

const URI_OR_PATH =
  /\b[a-z][a-z0-9+.-]*:\/\/[^\s"'<>]+|(?<![\w<./])(?:\/[^\s"'<>/:]+){2,}\/?|\b[A-Za-z]:\\[^\s"'<>]+/gi;

/** The key of a run's dataset in its bucket, or its path below the root. */
export const datasetKeyOf = ({ datasetUri }: Pick<ReportInput["request"], "datasetUri">): string =>
  datasetUri.replace(/^[a-z0-9]+:\/\/[^/]*\//, "");

/** Free text without URIs, absolute paths and what lies below the dataset's prefix. */
export function withoutPaths(text: string, datasetKey: string): string {
  return text
    .replace(URI_OR_PATH, "(path left out)")
    .replaceAll(new RegExp(`${datasetKey.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}[^\\s"'<>]*`, "g"), "(path left out)");
}

/** A document whose writer may have put a source file's name into a sentence. */
const scrubbed = (document: ErrorDocument, datasetKey: string): ErrorDocument => ({
  ...document,
  message: withoutPaths(document.message, datasetKey),
  remedy: withoutPaths(document.remedy, datasetKey),
  ...(document.got !== undefined && { got: withoutPaths(document.got, datasetKey) }),
});

/** States.TaskFailed -> TaskFailed; Batch.ClientException -> ClientException; a code stays as it is. */
const codeOf = (error: string): string => {
  const last = (error.split(".").at(-1) ?? "").replace(/[^A-Za-z0-9]/g, "");
  return /^[A-Za-z][A-Za-z0-9]+$/.test(last) ? last[0]!.toUpperCase() + last.slice(1) : "StageFailed";
};

/** A field of a Cause, also of one that was cut in the middle. */
function field(cause: string, name: string): string | undefined {
  const match = new RegExp(`"${name}"\\s*:\\s*"((?:[^"\\\\]|\\\\.)*)"`).exec(cause);
  if (!match) return undefined;
  try {
    return JSON.parse(`"${match[1]}"`) as string;
  } catch {
    return match[1];
  }
}

const RESUME = "Read its log (`voxelburst logs`), remove the cause and resume the run: what is finished is kept.";

/** What to do, by what the service says happened. */
const REMEDIES: [RegExp, string][] = [
  [
    /OutOfMemory|out of memory|exit code:? 137|Killed/i,
    "Lower plan.memoryGiB, plan.batch or model.width in the recipe, or use a larger machine, and resume the run.",
  ],
  [
    /Timeout|timed out|MaxRuntime|attempt duration/i,
    "Resume the run: training goes on from its last checkpoint. If it stops again, lower train.minutes or raise maxUsd.",
  ],
  [
    /Capacity|Host EC2|reclaim|Spot|interrupt/i,
    "Resume the run later, or add a rung to capacity.rungs in the recipe: no machine of this kind could be had or kept.",
  ],
  [/No space left|DiskFull|quota/i, "Free some space on the disk that holds the run's data and resume the run."],
];

/** The error document of a failure that no job described. */
function fromCause(failure: Failure, datasetKey: string): ErrorDocument {
  const { cause, error, stage, taskId } = failure;
  const message = field(cause, "errorMessage");
  try {
    // A lambda may put the whole document into its error's message.
    const inner = errorDocument.safeParse(JSON.parse(message ?? ""));
    if (inner.success) return { ...scrubbed(inner.data, datasetKey), stage, taskId };
  } catch {
    // It is a sentence.
  }
  const reason =
    message ??
    field(cause, "FailureReason") ??
    [field(cause, "StatusReason"), field(cause, "Reason")].filter(Boolean).join("; ") ??
    "";
  const code = codeOf(error);
  const said = withoutPaths(reason, datasetKey).replace(/\s+/g, " ").trim().slice(0, 500);
  const remedy = REMEDIES.find(([sign]) => sign.test(`${code} ${reason}`))?.[1] ?? RESUME;
  // A function's own error is a sentence already; a service's reason needs to be told whose it is.
  const sentence = message && said ? said : `${taskId} ended with ${error}${said ? `: ${said}` : ""}`;
  return { schema: 1, code, message: /[.!?]$/.test(sentence) ? sentence : `${sentence}.`, remedy, stage, taskId };
}

const missing = (stage: StageName, taskId: string, message: string): ErrorDocument => ({
  schema: 1,
  code: "ResultMissing",
  message,
  remedy: RESUME,
  stage,
  taskId,
});

/** Tasks that should have left results and did not, although no failure was caught. */
function expectations(input: ReportInput, facts: RunFacts): ErrorDocument[] {
  const { plan: output, request } = input;
  const has = (taskId: string) => facts.jobs.filter((job) => job.taskId === taskId).length;
  const array = (stage: StageName, taskId: string, shards: number) =>
    has(taskId) >= shards
      ? []
      : [missing(stage, taskId, `${has(taskId)} of the ${shards} array children of ${taskId} left a result.`)];
  const one = (stage: StageName, taskId: string) =>
    has(taskId) > 0 ? [] : [missing(stage, taskId, `${taskId} left no result.`)];

  const errors = array("ingest", "ingest", request.ingestShards);
  if (!output) return [...errors, missing("plan", "plan", "The run has no plan.")];
  if (!output.go) return errors;
  // What follows a stage that failed as a whole could not leave a result.
  const stopped = new Set(input.failures.map((failure) => failure.stage));
  if (stopped.has("ingest")) return errors;
  if (output.preprocess.missing > 0) errors.push(...array("preprocess", "preprocess", output.preprocess.shards));
  if (stopped.has("preprocess")) return errors;
  for (const training of facts.ladder) {
    errors.push(...one("train", training.taskId));
    if (has(training.taskId) === 0) continue;
    for (const entry of training.engines) {
      errors.push(...one("compile", entry.compileTaskId));
      if (has(entry.compileTaskId) > 0 && entry.planned)
        errors.push(...array("infer", entry.inferTaskId, entry.planned.inferShards));
    }
  }
  return errors;
}

/** Every error once, in the order of the stages. */
export function failuresOf(input: ReportInput, facts: RunFacts): Failures {
  const datasetKey = datasetKeyOf(input.request);
  const nameOfJob = ({ taskId, index }: { taskId: string; index?: number }) =>
    index === undefined ? taskId : `${taskId}.${index}`;
  const finished = new Set(facts.jobs.map(nameOfJob));
  if (input.plan) finished.add("plan");
  const failedTasks = new Set(input.failures.map((failure) => failure.taskId));

  const documents = facts.errors.map(({ name, document }) => ({
    name,
    task: name.replace(/\.\d+$/, ""),
    document: scrubbed(document, datasetKey),
  }));
  const recovered = documents.filter(({ name }) => finished.has(name));
  const open = documents.filter(({ name }) => !finished.has(name));
  const described = new Set(open.map(({ task }) => task));
  const caught = input.failures
    .filter((failure) => !described.has(failure.taskId))
    .map((failure) => fromCause(failure, datasetKey));
  const known = new Set([...described, ...failedTasks]);
  const refused: ErrorDocument[] =
    input.plan && !input.plan.go
      ? [
          {
            schema: 1,
            code: input.plan.refusal?.code ?? "PlanRefused",
            message: input.plan.refusal?.message ?? "plan refused the run and gave no reason.",
            remedy: input.plan.refusal?.remedy ?? RESUME,
            stage: "plan",
          },
        ]
      : [];
  const absent =
    input.failures.length > 0 && !input.plan
      ? [] // the run stopped there: what follows could not leave a result
      : expectations(input, facts).filter(({ taskId }) => !known.has(taskId ?? ""));

  const order = (document: ErrorDocument) => (document.stage ? stageName.options.indexOf(document.stage) : 99);
  return {
    errors: [...refused, ...open.map(({ document }) => document), ...caught, ...facts.unreadable, ...absent].sort(
      (a, b) => order(a) - order(b),
    ),
    recovered: recovered.map(({ document }) => document),
  };
}

/** The sentence about a task's own error; undefined when it has none. */
export const failureSentence = (failures: Failures, taskId: string): string | undefined => {
  const own = failures.errors.find((error) => error.taskId === taskId);
  return own && `${own.stage ?? taskId} failed: ${own.code}.`;
};

/** Why a task's row is empty: its own error, or that an earlier one kept it from starting. */
export const absenceSentence = (failures: Failures, facts: RunFacts, taskId: string): string =>
  failureSentence(failures, taskId) ??
  (jobsOf(facts.jobs, "train").length > 0 ? "It did not run: see the errors." : "The run ended before it.");
