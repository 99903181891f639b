// One visit to a state: what every kind of state gets, and how each of them is left.
import type { State } from "./definition.ts";
import { ERROR, StatesError } from "./errors.ts";
import { text } from "./history-event.ts";
import { exceedsPayloadLimit, type Json, type JsonObject } from "./json.ts";
import { evaluateTemplate } from "./jsonata-evaluate.ts";
import type { RestoredState } from "./restored.ts";
import type { Entered, Scope } from "./scope.ts";

export interface StateCall {
  scope: Scope;
  def: State;
  name: string;
  input: Json;
  entered: Entered;
  /** Set when this visit began in an earlier process. */
  restored?: RestoredState;
}

export interface Exit {
  output: Json;
  /** Absent at the end of its program. */
  next?: string;
}

interface Leaving {
  assign?: JsonObject;
  output?: Json;
  /** What leaves when the state says no Output. */
  otherwise: Json;
  next?: string;
  /** Where in the state Assign and Output stand: "", "Catch[0]/", "Choices[1]/". */
  prefix?: string;
  /** Parts of $states besides input and context. */
  states?: JsonObject;
  retryCount?: number;
  now?: Date;
}

/**
 * Evaluates Assign and Output (both see the variables as they were), records the exit, sets the variables.
 * @throws StatesError States.QueryEvaluationError, States.DataLimitExceeded
 */
export async function leave(call: StateCall, leaving: Leaving): Promise<Exit> {
  const { scope, entered } = call;
  const prefix = leaving.prefix ?? "";
  const states = { input: call.input, ...leaving.states, context: scope.context(entered, leaving.retryCount) };
  const { assigned, output } = await scope.evaluating(entered, async () => {
    const bindings = (field: string) =>
      scope.bindings(
        entered,
        states,
        `${prefix}${field}|${leaving.retryCount ?? 0}`,
        leaving.now ? { now: leaving.now } : {},
      );
    return {
      assigned:
        leaving.assign === undefined
          ? undefined
          : ((await evaluateTemplate(leaving.assign, `${prefix}Assign`, bindings("Assign"))) as JsonObject),
      output:
        leaving.output === undefined
          ? leaving.otherwise
          : await evaluateTemplate(leaving.output, `${prefix}Output`, bindings("Output")),
    };
  });
  const outputText = limited(call.name, text(output));
  const names = Object.keys(assigned ?? {});
  const texts = Object.fromEntries(names.map((name) => [name, limited(call.name, text(assigned![name]!))]));
  await scope.record(`${call.def.Type}StateExited`, {
    stateExitedEventDetails: {
      name: call.name,
      output: outputText,
      outputDetails: { truncated: false },
      ...(names.length === 0 ? {} : { assignedVariables: texts, assignedVariablesDetails: { truncated: false } }),
    },
  });
  if (assigned) scope.assign(assigned);
  return leaving.next === undefined ? { output } : { output, next: leaving.next };
}

/** @throws StatesError States.DataLimitExceeded for a text of more than 256 KiB */
export function limited(whose: string, value: string): string {
  if (exceedsPayloadLimit(value))
    throw new StatesError(
      ERROR.dataLimitExceeded,
      `The state/task '${whose}' returned a result with a size exceeding the maximum number of bytes service limit.`,
    );
  return value;
}
