// The rules of each type of state.
import type { StateType } from "./definition.ts";
import type { DefinitionChecker, Fields } from "./definition-checker.ts";
import { step } from "./definition-error.ts";
import { isObject } from "./json.ts";
import { expressionOf } from "./jsonata-evaluate.ts";
import { readResource } from "./resource.ts";
import { STATE_FIELDS } from "./state-fields.ts";
import { timestampMillis } from "./timestamp.ts";
import type { StatesPart } from "./validate-expressions.ts";
import { checkMap } from "./validate-map.ts";

export interface StateContext {
  checker: DefinitionChecker;
  name: string;
  pointer: string;
  /** Assigned in this scope or around it. */
  variables: ReadonlySet<string>;
  outerVariables: ReadonlySet<string>;
  /** Checks that a field names a state of the same program. */
  target(field: string, holder: Fields, holderPointer: string): void;
  /** Checks a program inside the state. @param isolated outer variables cannot be read there */
  program(inner: Fields, pointer: string, what: string, isolated: boolean): void;
}

const LONGEST_SECONDS = 99_999_999;
const LONGEST_DELAY_SECONDS = 31_622_400;
const BASIC: readonly StatesPart[] = ["input", "context"];

export function checkState(context: StateContext, state: Fields): void {
  const { checker, name, pointer } = context;
  const type = state.Type as StateType;
  checker.onlyFields(state, STATE_FIELDS[type], pointer, `The ${type} state '${name}'`);
  const hasResult = type === "Task" || type === "Map" || type === "Parallel";
  checkAssignAndOutput(context, state, pointer, hasResult ? ["input", "context", "result"] : BASIC);
  if (hasResult) {
    checkRetry(context, state);
    checkCatch(context, state);
  }
  if (STATE_FIELDS[type].includes("Next")) checkOnward(context, state);
  CHECKS[type]?.(context, state);
}

/** The place of an expression in this state. */
export const placeOf = ({ variables }: StateContext, parts: readonly StatesPart[] = BASIC) => ({ parts, variables });

const CHECKS: { [type in StateType]?: (context: StateContext, state: Fields) => void } = {
  Task: checkTask,
  Map: checkMap,
  Parallel: checkParallel,
  Choice: checkChoice,
  Wait: checkWait,
  Fail: checkFail,
};

function checkOnward(context: StateContext, state: Fields): void {
  const { checker, pointer, name } = context;
  if (state.End !== undefined && typeof state.End !== "boolean")
    checker.invalid(step(pointer, "End"), state.End, "true");
  const ends = state.End === true;
  if (state.Next !== undefined && ends) checker.invalid(step(pointer, "Next"), state.Next, "absent where End is true");
  else if (state.Next !== undefined) context.target("Next", state, pointer);
  else if (!ends) checker.missing(pointer, "Next", `The state '${name}'`, "a state's name, or End: true");
}

function checkAssignAndOutput(
  context: StateContext,
  holder: Fields,
  pointer: string,
  parts: readonly StatesPart[],
): void {
  const { checker } = context;
  const place = placeOf(context, parts);
  checker.template(holder, "Output", pointer, place);
  checker.template(holder, "Assign", pointer, place);
  for (const variable of Object.keys(checker.object(holder, "Assign", pointer) ?? {})) {
    const at = step(step(pointer, "Assign"), variable);
    const details = { got: variable };
    if (variable === "states" || !/^[\p{ID_Start}][\p{ID_Continue}]{0,79}$/u.test(variable))
      checker.report("VariableInvalid", at, `'${variable}' cannot be the name of a variable.`, "Use another name.", {
        ...details,
        allowed: "a letter, then letters, digits and _, 80 at most; not states",
      });
    else if (context.outerVariables.has(variable))
      checker.report(
        "VariableInvalid",
        at,
        `A branch or iteration cannot assign $${variable}, which a state around it assigns.`,
        "Use another name, or return the value as output and assign it outside.",
        details,
      );
  }
}

function checkRetry(context: StateContext, state: Fields): void {
  const { checker, pointer } = context;
  const retriers = checker.array(state, "Retry", pointer) ?? [];
  for (const [i, retrier] of retriers.entries()) {
    const at = step(step(pointer, "Retry"), i);
    if (!isObject(retrier)) {
      checker.invalid(at, retrier, "an object");
      continue;
    }
    const fields = [
      "ErrorEquals",
      "IntervalSeconds",
      "BackoffRate",
      "MaxAttempts",
      "MaxDelaySeconds",
      "JitterStrategy",
    ];
    checker.onlyFields(retrier, [...fields, "Comment"], at, "A retrier");
    checkErrorEquals(checker, retrier, at, i === retriers.length - 1);
    checker.number(retrier, "IntervalSeconds", at, { least: 1, most: LONGEST_SECONDS });
    checker.number(retrier, "MaxAttempts", at, { least: 0, most: LONGEST_SECONDS });
    checker.number(retrier, "BackoffRate", at, { least: 1, most: Number.MAX_VALUE, integer: false });
    const interval = typeof retrier.IntervalSeconds === "number" ? retrier.IntervalSeconds : 1;
    checker.number(retrier, "MaxDelaySeconds", at, { least: interval + 1, most: LONGEST_DELAY_SECONDS });
    checker.oneOf(retrier, "JitterStrategy", ["FULL", "NONE"], at);
  }
}

function checkCatch(context: StateContext, state: Fields): void {
  const { checker, pointer } = context;
  const catchers = checker.array(state, "Catch", pointer) ?? [];
  for (const [i, catcher] of catchers.entries()) {
    const at = step(step(pointer, "Catch"), i);
    if (!isObject(catcher)) {
      checker.invalid(at, catcher, "an object");
      continue;
    }
    checker.onlyFields(catcher, ["ErrorEquals", "Next", "Assign", "Output", "Comment"], at, "A catcher");
    checkErrorEquals(checker, catcher, at, i === catchers.length - 1);
    context.target("Next", catcher, at);
    checkAssignAndOutput(context, catcher, at, ["input", "context", "errorOutput"]);
  }
}

function checkErrorEquals(checker: DefinitionChecker, holder: Fields, pointer: string, last: boolean): void {
  const names = checker.array(holder, "ErrorEquals", pointer);
  const at = step(pointer, "ErrorEquals");
  if (holder.ErrorEquals === undefined) checker.missing(pointer, "ErrorEquals", "A retrier or catcher", "error names");
  if (!names) return;
  if (names.length === 0 || names.some((name) => typeof name !== "string" || name === ""))
    checker.invalid(at, names, "an array of at least one error name");
  if (names.includes("States.ALL") && (names.length > 1 || !last))
    checker.invalid(at, names, "States.ALL alone, in the last retrier or catcher");
}

function checkTask(context: StateContext, state: Fields): void {
  const { checker, pointer, name } = context;
  const place = placeOf(context);
  checker.template(state, "Arguments", pointer, place);
  const range = { least: 1, most: LONGEST_SECONDS };
  checker.numberOrExpression(state, "TimeoutSeconds", pointer, range, place);
  checker.numberOrExpression(state, "HeartbeatSeconds", pointer, range, place);
  const { TimeoutSeconds: timeout, HeartbeatSeconds: heartbeat } = state;
  if (typeof timeout === "number" && typeof heartbeat === "number" && heartbeat >= timeout)
    checker.invalid(step(pointer, "HeartbeatSeconds"), heartbeat, "less than TimeoutSeconds");
  const resource = checker.string(state, "Resource", pointer, `The Task state '${name}'`);
  if (resource === undefined) return;
  const integration = readResource(resource);
  const at = step(pointer, "Resource");
  const allowed = "arn:aws:states:::SERVICE:ACTION[.sync], or the ARN of a Lambda function";
  if (integration.kind === "unknown")
    checker.report("ResourceInvalid", at, "Resource names no task.", "Correct the ARN.", { got: resource, allowed });
  else if (integration.kind === "activity")
    checker.report(
      "ResourceUnsupported",
      at,
      "Activities are not supported by the local interpreter.",
      "Use a service.",
      {
        got: resource,
        allowed,
      },
    );
  else if (integration.kind === "service" && integration.pattern === "callback") {
    const message = "Callbacks (.waitForTaskToken) are not supported by the local interpreter.";
    checker.report("ResourceUnsupported", at, message, "Use .sync, or poll.", { got: resource, allowed });
  }
}

function checkParallel(context: StateContext, state: Fields): void {
  const { checker, pointer, name } = context;
  checker.template(state, "Arguments", pointer, placeOf(context));
  const branches = checker.array(state, "Branches", pointer);
  if (state.Branches === undefined)
    checker.missing(pointer, "Branches", `The Parallel state '${name}'`, "an array of programs");
  if (branches?.length === 0) checker.invalid(step(pointer, "Branches"), branches, "at least one branch");
  for (const [i, branch] of (branches ?? []).entries()) {
    const at = step(step(pointer, "Branches"), i);
    if (!isObject(branch)) {
      checker.invalid(at, branch, "an object");
      continue;
    }
    checker.onlyFields(branch, ["StartAt", "States", "Comment"], at, "A branch");
    context.program(branch, at, "A branch", false);
  }
}

function checkChoice(context: StateContext, state: Fields): void {
  const { checker, pointer, name } = context;
  const choices = checker.array(state, "Choices", pointer);
  if (state.Choices === undefined)
    checker.missing(pointer, "Choices", `The Choice state '${name}'`, "an array of rules");
  if (choices?.length === 0) checker.invalid(step(pointer, "Choices"), choices, "at least one rule");
  for (const [i, rule] of (choices ?? []).entries()) {
    const at = step(step(pointer, "Choices"), i);
    if (!isObject(rule)) {
      checker.invalid(at, rule, "an object");
      continue;
    }
    checker.onlyFields(rule, ["Condition", "Next", "Assign", "Output", "Comment"], at, "A choice rule");
    const condition = rule.Condition;
    if (condition === undefined) checker.missing(at, "Condition", "A choice rule", "true, false or a JSONata string");
    else if (typeof condition !== "boolean" && expressionOf(condition) === undefined)
      checker.invalid(step(at, "Condition"), condition, "true, false or a JSONata string");
    checker.template(rule, "Condition", at, placeOf(context));
    context.target("Next", rule, at);
    checkAssignAndOutput(context, rule, at, BASIC);
  }
  if (state.Default !== undefined) context.target("Default", state, pointer);
}

function checkWait(context: StateContext, state: Fields): void {
  const { checker, pointer, name } = context;
  const place = placeOf(context);
  const { Seconds: seconds, Timestamp: timestamp } = state;
  if ((seconds === undefined) === (timestamp === undefined))
    checker.missing(pointer, "Seconds", `The Wait state '${name}'`, "exactly one of Seconds and Timestamp");
  checker.numberOrExpression(state, "Seconds", pointer, { least: 0, most: LONGEST_SECONDS }, place);
  checker.template(state, "Timestamp", pointer, place);
  if (timestamp === undefined || expressionOf(timestamp) !== undefined) return;
  if (typeof timestamp !== "string" || timestampMillis(timestamp) === undefined)
    checker.invalid(step(pointer, "Timestamp"), timestamp, "an RFC 3339 timestamp such as 2030-01-31T12:00:00Z");
}

function checkFail(context: StateContext, state: Fields): void {
  const { checker, pointer } = context;
  for (const field of ["Error", "Cause"]) {
    const value = state[field];
    if (value !== undefined && typeof value !== "string") checker.invalid(step(pointer, field), value, "a string");
    checker.template(state, field, pointer, placeOf(context));
  }
}
