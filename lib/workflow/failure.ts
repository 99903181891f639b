// What a Catch keeps of an error: a Failure of contracts/stage-io.ts, small enough to travel, and whether another rung
// of the capacity ladder can help.
import { WAITED_IN_VAIN } from "../contracts/batch-reasons.ts";
import type { StageName } from "../contracts/primitives.ts";
import { literal, variables } from "./jsonata.ts";

/**
 * A run has at most one failure an engine. All of them, and the plan, must fit into the 256 KiB that a state may hand
 * on, so that the report can always be called: 100,000 characters of causes are shared out among the engines, and none
 * gets more than the contract's 8,000.
 */
const CAUSE_BUDGET_CHARACTERS = 100_000;
const CAUSE_MAX_CHARACTERS = 8_000;

export const causeLimit = {
  alone: String(CAUSE_MAX_CHARACTERS),
  perEngine: `$min([${CAUSE_MAX_CHARACTERS}, $floor(${CAUSE_BUDGET_CHARACTERS} / $count(${variables.plan.trainings}.engines))])`,
};

/** Of a fall's reason, and of the falls that reach the report, for the same limit: some 25 KiB of them. */
const REASON_CHARACTERS = 160;
export const MOST_FALLS = 100;

/** Whose Cause an error has, when a service writes JSON. */
export type JobService = "batch" | "training" | "transform";
type CauseSource = JobService | "lambda";

/**
 * The fields of a Cause that say why. Batch and SageMaker put the whole description of the job there, with its
 * environment and its mounts; Lambda the stack trace. What a service did not write stays away.
 */
const KEPT: Record<CauseSource, string> = {
  batch: `{ 'JobId': $all.JobId, 'JobName': $all.JobName, 'StatusReason': $all.StatusReason,
    'Container': $append($all.Container, $all.EcsProperties.TaskProperties.Containers)[0].{ 'ExitCode': ExitCode,
      'Reason': Reason, 'LogStreamName': LogStreamName },
    'ArrayProperties': $all.ArrayProperties.{ 'Size': Size, 'StatusSummary': StatusSummary },
    'NodeProperties': $all.NodeProperties.{ 'NumNodes': NumNodes, 'MainNode': MainNode } }`,
  training: `{ 'TrainingJobName': $all.TrainingJobName, 'TrainingJobStatus': $all.TrainingJobStatus,
    'SecondaryStatus': $all.SecondaryStatus, 'FailureReason': $all.FailureReason }`,
  transform: `{ 'TransformJobName': $all.TransformJobName, 'TransformJobStatus': $all.TransformJobStatus,
    'FailureReason': $all.FailureReason }`,
  lambda: `{ 'errorType': $all.errorType, 'errorMessage': $all.errorMessage }`,
};

/**
 * Batch: what a job's status reason says that had no instance, or lost it: a host that was reclaimed more often than Batch
 * retries. AWS Batch's user guide: "Automated job retries".
 */
const LOST_HOST = `/${WAITED_IN_VAIN}|^Host EC2/`;

/**
 * SageMaker: a job without instances ("CapacityError: Unable to provision requested ML compute capacity ..."), or (by its
 * secondary status) with no managed spot in its time; and a request that was refused for a quota of the account, a
 * training plan that is not active, or a type that is not offered, or not as spot.
 */
const NO_INSTANCES = "/^(CapacityError|InsufficientCapacity)/";
const NO_SPOT = "['MaxWaitTimeExceeded', 'Interrupted']";
const NOT_OFFERED = "/ResourceLimitExceeded|[Tt]raining ?[Pp]lan|not (supported|available)|Unsupported instance type/";

export interface FailureSource {
  readonly stage: StageName;
  /** JSONata of the task's id. */
  readonly taskId: string;
  /** JSONata of the characters that are kept of the Cause. */
  readonly limit: string;
  /** Whose Cause it is, when a service writes JSON.
   * @default - nobody's: kept as it is */
  readonly from?: CauseSource;
}

/**
 * The bindings of a Failure from $states.errorOutput: $text, $all (the Cause as an object) and $failure.
 *
 * $parse raises an error on what is not JSON, and nothing catches an error inside a Catch: so only a text is parsed that
 * is a whole object and is shorter than the 32,768 characters at which Step Functions cuts a Cause.
 */
function failureBindings({ stage, taskId, limit, from }: FailureSource): string[] {
  const cause = from
    ? [
        "$isObject := $substring($text, 0, 1) = '{' and $substring($text, -1) = '}' and $length($text) < 32000;",
        "$all := $isObject ? $parse($text) : {};",
        `$why := $string(${KEPT[from].replaceAll(/\s+/g, " ")});`,
        "$cause := $why = '{}' ? $text : $why;",
      ]
    : ["$cause := $text;"];
  return [
    "$text := $exists($states.errorOutput.Cause) ? $string($states.errorOutput.Cause) : '';",
    ...cause,
    `$failure := { 'stage': ${literal(stage)}, 'taskId': ${taskId}, 'error': $states.errorOutput.Error,`,
    `'cause': $substring($cause, 0, ${limit}) };`,
  ];
}

/** The expression of a Failure. */
export const failureExpression = (source: FailureSource): string =>
  ["(", ...failureBindings(source), "$failure )"].join(" ");

/**
 * How a job ended, the value of a ladder's `end`: {outcome, reason, failure, jobId}; childrenExpression adds to it.
 *
 * - granted, done: all is well
 * - fell: this rung had no machine, or not in its time; the next may
 * - refused: the ledger did not grant it; a cheaper rung may fit
 * - failed: another machine would not help
 */
export function endExpression(source: FailureSource & { readonly from: JobService }): string {
  const { from } = source;
  const reason = {
    batch: "$all.StatusReason",
    training: "$exists($all.FailureReason) ? $all.FailureReason : $all.SecondaryStatus",
    transform: "$all.FailureReason",
  }[from];
  const noInstances = `$contains($reason, ${NO_INSTANCES}) or ($refused and $contains($states.errorOutput.Error & ' ' & $reason, ${NOT_OFFERED}))`;
  const hasFallen = {
    batch: `$contains($reason, ${LOST_HOST})`,
    training: `${noInstances} or $all.SecondaryStatus in ${NO_SPOT}`,
    transform: noInstances,
  }[from];
  return [
    "(",
    ...failureBindings(source),
    "$late := $states.errorOutput.Error = 'States.Timeout';",
    ...(from === "batch"
      ? []
      : ["$refused := $not($states.errorOutput.Error in ['States.TaskFailed', 'States.QueryEvaluationError']);"]),
    `$said := ${reason};`,
    "$reason := $late ? 'It had not ended in its time.' : $exists($said) ? $said : $text;",
    `{ 'outcome': $late or ${hasFallen} ? 'fell' : 'failed', 'reason': $substring($reason, 0, ${REASON_CHARACTERS}),`,
    "'failure': $failure, 'jobId': $all.JobId } )",
  ].join(" ");
}

/** Of ListJobs' pages of 100 failed children: as many as the largest array of Batch can fill. */
const MOST_PAGES = 100;

/**
 * The end of an array from a page of its failed children, as ListJobs gives them: the parent tells counts alone. It fell
 * when every failed child lost its host or had none; those that are done are skipped on the next rung. Until the last
 * page it is a failure, and `next` is the token of the page to look at; a child that failed by itself ends the looking.
 */
export const childrenExpression = (end: string): string =>
  [
    "( $children := [$states.result.JobSummaryList];",
    `$others := $children[$not($exists(StatusReason) and $contains(StatusReason, ${LOST_HOST}))];`,
    `$pages := $sum([${end}.pages, 1]);`,
    `$reason := $append(${end}.lost, $children.StatusReason)[0];`,
    "$isLost := $exists($reason) and $count($others) = 0;",
    `$next := $isLost and $pages < ${MOST_PAGES} ? $states.result.NextToken;`,
    `$merge([${end}, { 'pages': $pages, 'lost': $reason, 'next': $exists($next) ? $next : '' },`,
    `$isLost and $not($exists($next)) ? { 'outcome': 'fell', 'reason': $substring($reason, 0, ${REASON_CHARACTERS}) } : {}`,
    "]) )",
  ].join(" ");

/** The failure of a task that no rung is left for: what each of them said, in Lambda's form, which the report reads. */
export function noRungExpression(source: Omit<FailureSource, "from">, ladder: { end: string; falls: string }): string {
  const { end, falls } = ladder;
  const error = (code: string, message: string) => [
    `{ 'stage': ${literal(source.stage)}, 'taskId': ${source.taskId}, 'error': ${code},`,
    `'cause': $substring($string({ 'errorType': ${code}, 'errorMessage': ${message} }), 0, ${source.limit}) }`,
  ];
  return [
    `( $tried := $join([${falls}.(rung & ' (' & reason & ')')], '; ');`,
    `${end}.outcome = 'refused' ?`,
    ...error(`${end}.code`, `$string(${end}.document)`),
    ":",
    ...error(
      "'NoCapacity'",
      `$count(${falls}) = 0 ? 'The deployment has no rung that suits this task and the recipe.' : 'No machine could be had or kept: ' & $tried & '.'`,
    ),
    ")",
  ].join(" ");
}
