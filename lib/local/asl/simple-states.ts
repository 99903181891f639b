// Pass, Succeed, Choice, Wait and Fail: states that run no task and no other states.
import type { ChoiceRule, State } from "./definition.ts";
import { ERROR, StatesError } from "./errors.ts";
import type { Json, JsonObject } from "./json.ts";
import { EvaluationFailure, evaluateInteger, evaluateTyped, expressionOf } from "./jsonata-evaluate.ts";
import { causeIn, type Entered, type Scope, sleep } from "./scope.ts";
import { type Exit, leave, type StateCall } from "./state-call.ts";
import { timestampMillis } from "./timestamp.ts";

const LONGEST_WAIT_SECONDS = 99_999_999;

export async function runPass(call: StateCall): Promise<Exit> {
  const { def } = call;
  return leave(call, {
    ...(def.Assign === undefined ? {} : { assign: def.Assign }),
    ...(def.Output === undefined ? {} : { output: def.Output }),
    otherwise: call.input,
    ...(def.Next === undefined ? {} : { next: def.Next }),
  });
}

/** @throws StatesError States.NoChoiceMatched */
export async function runChoice(call: StateCall): Promise<Exit> {
  const { def, entered } = call;
  const now = new Date(entered.time);
  const chosen = await choose(call, call.scope.variables);
  // The state's own Assign and Output belong to Default: a rule that holds has its own.
  if (chosen)
    return leave(call, {
      ...(chosen.rule.Assign === undefined ? {} : { assign: chosen.rule.Assign }),
      ...(chosen.rule.Output === undefined ? {} : { output: chosen.rule.Output }),
      prefix: `Choices[${chosen.index}]/`,
      otherwise: call.input,
      next: chosen.rule.Next,
      now,
    });
  if (def.Default === undefined)
    throw new StatesError(
      ERROR.noChoiceMatched,
      causeIn(entered, "Failed to transition out of the state. The state does not point to a next state."),
    );
  return leave(call, {
    ...(def.Assign === undefined ? {} : { assign: def.Assign }),
    ...(def.Output === undefined ? {} : { output: def.Output }),
    otherwise: call.input,
    next: def.Default,
    now,
  });
}

/**
 * The first rule that holds. Time stands still at the state's entry and random draws repeat, so that a choice that
 * was made before a crash is made again.
 */
async function choose(
  call: StateCall,
  variables: JsonObject,
): Promise<{ rule: ChoiceRule; index: number } | undefined> {
  const { scope, entered, def } = call;
  const states = { input: call.input, context: scope.context(entered) };
  return scope.evaluating(entered, async () => {
    for (const [index, rule] of (def.Choices ?? []).entries()) {
      const location = `Choices[${index}]/Condition`;
      const bindings = scope.bindings(entered, states, location, { now: new Date(entered.time), variables });
      if (await evaluateTyped(rule.Condition, location, "boolean", bindings)) return { rule, index };
    }
    return undefined;
  });
}

/** Where a Choice went whose exit was recorded. */
export async function recordedChoice(call: StateCall): Promise<string | undefined> {
  const chosen = await choose(call, call.restored?.variablesBefore ?? {});
  return chosen?.rule.Next ?? call.def.Default;
}

export async function runWait(call: StateCall): Promise<Exit> {
  const { scope, def, entered } = call;
  const states = { input: call.input, context: scope.context(entered) };
  const entry = Date.parse(entered.time);
  const until = await scope.evaluating(entered, async () => {
    const bindings = scope.bindings(entered, states, "Wait", { now: new Date(entry) });
    if (def.Seconds !== undefined) {
      const range = { least: 0, most: LONGEST_WAIT_SECONDS };
      return entry + (await evaluateInteger(def.Seconds, "Seconds", range, bindings)) * 1000;
    }
    const value = (await evaluateTyped(def.Timestamp!, "Timestamp", "string", bindings)) as string;
    const millis = timestampMillis(value);
    if (millis === undefined)
      throw new EvaluationFailure(
        `The Timestamp field cannot be parsed as an ISO-8601 extended offset date-time format string: ${value}`,
        "Timestamp",
      );
    return millis;
  });
  await sleep(scope, until - scope.run.clock.now().getTime());
  return runPass(call);
}

/** @throws StatesError always: that is what a Fail state is for */
export async function runFail(call: StateCall): Promise<never> {
  const { scope, def, entered } = call;
  throw await scope.evaluating(entered, () => evaluateFailure(scope, def, entered, call.input, scope.variables));
}

/** The failure that a Fail state names. @throws EvaluationFailure */
export async function evaluateFailure(
  scope: Scope,
  def: State,
  entered: Entered,
  input: Json,
  variables: JsonObject,
): Promise<StatesError> {
  const states = { input, context: scope.context(entered) };
  const evaluate = async (field: "Error" | "Cause"): Promise<string | undefined> => {
    const template = def[field];
    if (template === undefined) return undefined;
    if (expressionOf(template) === undefined) return String(template);
    const bindings = scope.bindings(entered, states, field, { now: new Date(entered.time), variables });
    return (await evaluateTyped(template, field, "string", bindings)) as string;
  };
  const error = await evaluate("Error");
  return new StatesError(error, await evaluate("Cause"));
}
