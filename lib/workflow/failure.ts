// What a Catch keeps of an error: a Failure of contracts/stage-io.ts, small enough to travel.
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

/**
 * The fields of a Cause that say why. Batch and SageMaker put the whole description of the job there, with its
 * environment and its mounts; Lambda the stack trace. What a service did not write stays away.
 */
const KEPT = {
  batch: `{ 'JobId': $all.JobId, 'JobName': $all.JobName, 'StatusReason': $all.StatusReason,
    'Container': $all.Container.{ 'ExitCode': ExitCode, 'Reason': Reason, 'LogStreamName': LogStreamName },
    'ArrayProperties': $all.ArrayProperties.{ 'Size': Size, 'StatusSummary': StatusSummary } }`,
  sageMaker: `{ 'TrainingJobName': $all.TrainingJobName, 'TrainingJobStatus': $all.TrainingJobStatus,
    'SecondaryStatus': $all.SecondaryStatus, 'FailureReason': $all.FailureReason }`,
  lambda: `{ 'errorType': $all.errorType, 'errorMessage': $all.errorMessage }`,
};

export interface FailureSource {
  readonly stage: StageName;
  /** JSONata of the task's id. */
  readonly taskId: string;
  /** JSONata of the characters that are kept of the Cause. */
  readonly limit: string;
  /** Whose Cause it is, when a service writes JSON.
   * @default - nobody's: kept as it is */
  readonly from?: keyof typeof KEPT;
}

/**
 * The expression of a Failure from $states.errorOutput.
 *
 * $parse raises an error on what is not JSON, and nothing catches an error inside a Catch: so only a text is parsed that
 * is a whole object and is shorter than the 32,768 characters at which Step Functions cuts a Cause.
 */
export function failureExpression({ stage, taskId, limit, from }: FailureSource): string {
  const cause = from
    ? [
        "$isObject := $substring($text, 0, 1) = '{' and $substring($text, -1) = '}' and $length($text) < 32000;",
        "$all := $isObject ? $parse($text) : {};",
        `$why := $string(${KEPT[from].replaceAll(/\s+/g, " ")});`,
        "$cause := $why = '{}' ? $text : $why;",
      ]
    : ["$cause := $text;"];
  return [
    "( $text := $exists($states.errorOutput.Cause) ? $string($states.errorOutput.Cause) : '';",
    ...cause,
    `{ 'stage': ${literal(stage)}, 'taskId': ${taskId}, 'error': $states.errorOutput.Error,`,
    `'cause': $substring($cause, 0, ${limit}) } )`,
  ].join(" ");
}
