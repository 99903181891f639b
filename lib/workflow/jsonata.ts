// The JSONata of the state machine: typed references to its variables, and the expressions that several states share.
import type { LedgerStage } from "../contracts/ledger.ts";
import type { PlanOutput, Training } from "../contracts/plan.ts";
import type { RunRequest } from "../contracts/run-request.ts";
import type { ReportOutput } from "../contracts/stage-io.ts";

/** The text of a path into a variable. A field that the contract does not have does not compile. */
export type Reference<T> = { readonly [K in keyof T & string]-?: Reference<NonNullable<T[K]>> } & {
  toString(): string;
};

function reference<T>(path: string): Reference<T> {
  return new Proxy({} as Reference<T>, {
    get: (_target, field) =>
      field === "toString" || field === Symbol.toPrimitive ? () => path : reference(`${path}.${String(field)}`),
  });
}

/** The machine's variables, declared once: `request` and `plan` are set for the whole run, the others in their map. */
export const variables = {
  request: reference<RunRequest>("$request"),
  plan: reference<PlanOutput>("$plan"),
  training: reference<Training>("$training"),
  engine: reference<Training["engines"][number]>("$engine"),
  report: reference<ReportOutput>("$report"),
};

/** Marks an expression for Step Functions. */
export const jsonata = (expression: string | Reference<unknown>): string => `{% ${expression} %}`;

/** A JSONata string literal. */
export const literal = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;

/**
 * The expression of an object key, laid out by contracts/keys.ts alone.
 *
 * @param build - calls a function of `keys`, passing each part that is known at run time through `part`
 */
export function keyExpression(build: (part: (expression: string | Reference<unknown>) => string) => string): string {
  const parts: string[] = [];
  // A control character is in no key, so it can mark the places.
  const mark = "\u0001";
  const key = build((expression) => `${mark}${parts.push(String(expression)) - 1}${mark}`);
  return key
    .split(mark)
    .map((piece, index) => (index % 2 === 1 ? parts[Number(piece)]! : literal(piece)))
    .filter((piece) => piece !== "''")
    .join(" & ");
}

/** The URI of a key below the artefacts' root. */
export const artefactUri = (key: string | Reference<unknown>): string => `${variables.request.artefactsUri} & ${key}`;

/** The variables of a stage's ladder: ingestRungs, ingestFalls, ingestEnd, ingestSettled, ingestReserved. */
export const ladderOf = (stage: LedgerStage) => ({
  /** Rungs that are left, the present one first. */
  rungs: `$${stage}Rungs`,
  rung: `$${stage}Rungs[0]`,
  /** contracts/rung.ts' falls of the task so far. */
  falls: `$${stage}Falls`,
  /** How its last job ended: workflow/failure.ts' End. */
  end: `$${stage}End`,
  settled: `$${stage}Settled`,
  /** The redrive of the execution for which Reserve was called last. */
  reserved: `$${stage}Reserved`,
});

/** Which rung of its ladder a job is on, beginning with 0: its name has it. */
const step = (stage: LedgerStage) => `'-k' & $string($count(${ladderOf(stage).falls}))`;

const REDRIVE = "$states.context.Execution.RedriveCount";

/** Whether what Reserve granted last is for this very drive of the execution. */
export const isReserved = (stage: LedgerStage): string => `${ladderOf(stage).reserved} = ${REDRIVE}`;

/**
 * What makes the name of a job unique for ever: the run, the rung, the retry of the state and the redrive of the
 * execution. The services remember names longer than a retry waits, and SageMaker refuses one that was ever used.
 *
 * A redrive begins at the job, behind its Reserve, and what was held has been given back: then there is no name.
 */
const tries = (stage: LedgerStage): string =>
  [
    "'-r' & $string($states.context.State.RetryCount) & '-d' &",
    `(${isReserved(stage)} ? $string(${REDRIVE}) : $error('nothing is reserved for this redrive'))`,
  ].join(" ");

/** A job's name: of one try, and the start that all tries on the rung have, as the ledger looks for them. */
export interface JobName {
  /** Marked for Step Functions. */
  readonly unique: string;
  /** An expression. */
  readonly start: string;
}

const jobName = (stage: LedgerStage, name: string): JobName => {
  const start = `${name} & ${step(stage)}`;
  return { unique: jsonata(`${start} & ${tries(stage)}`), start: `${start} & '-*'` };
};

/**
 * Name of a Batch job, at most 128 characters of [A-Za-z0-9_-]: the longest is "infer-" (6) + fold, strategy and engine
 * (32 + 1 + 5 + 1 + 11) + "-" (1) + the run (57) + "-k9-r99-d999" (12) = 126.
 * Of a run's name the last 57 characters are kept: the identity and the attempt (18) and 39 of the dataset.
 *
 * @param name - an expression: the stage and what it works on
 */
export const batchJobName = (stage: LedgerStage, name: string): JobName =>
  jobName(stage, `${name} & '-' & $substring(${variables.request.runId}, -57)`);

/** Twelve digits of the identity and the attempt: 17 characters at most. */
const runOf = `$substring(${variables.request.identity}, 0, 12) & '-' & $string(${variables.request.attempt})`;

/**
 * Name of a training, on SageMaker at most 63 characters of [A-Za-z0-9-]: "train-" (6) + fold (10) + "-" + strategy (5) +
 * "-" + hash (8) + "-" + run (17) + "-k9-r99-d999" (12) = 61. The hash keeps folds apart whose names are cut alike.
 */
export const trainingJobName = (): JobName => {
  const { training } = variables;
  const parts = [
    `$replace($substring(${training.fold}, 0, 10), '_', '-')`,
    training.strategy,
    `$substring(${training.trainHash}, 0, 8)`,
    runOf,
  ];
  return jobName("train", `'train-' & ${parts.join(" & '-' & ")}`);
};

/** Name of a model and of a transform job, like a training's: "infer-" (6) + engine (11) + "-" + hash (8) + "-" + ... = 56. */
export const transformJobName = (): JobName => {
  const { engine } = variables;
  const hash = `$substring($hash(${engine.name}, 'SHA-256'), 0, 8)`;
  return jobName("infer", `'infer-' & ${[engine.engine, hash, runOf].join(" & '-' & ")}`);
};

/**
 * Tags of what SageMaker runs: it is in no stack, so that nothing else says whose cost it is. Budgets look at the first,
 * and the others tell a run and a stage apart on the bill.
 */
export const jobTags = (stage: LedgerStage): { Key: string; Value: string }[] => [
  { Key: "application", Value: "voxelburst" },
  { Key: "voxelburst:run", Value: jsonata(variables.request.runId) },
  { Key: "voxelburst:stage", Value: stage },
];
