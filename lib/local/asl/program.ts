// Runs the states of a program one after the other, from its start or from where a history ends.
import type { Program, State } from "./definition.ts";
import { ERROR, StatesError, TaskAbort } from "./errors.ts";
import { text } from "./history-event.ts";
import { exceedsPayloadLimit, type Json } from "./json.ts";
import { runMap } from "./map-state.ts";
import { runParallel } from "./parallel-state.ts";
import type { RestoredScope } from "./restored.ts";
import { recordedNext } from "./retrying-state.ts";
import type { Scope } from "./scope.ts";
import { recordedChoice, runChoice, runFail, runPass, runWait } from "./simple-states.ts";
import type { Exit, StateCall } from "./state-call.ts";
import { runTask } from "./task-state.ts";

/**
 * @returns the output of the program's last state
 * @throws StatesError the failure that no state caught
 * @throws TaskAbort when the scope was told to stop
 */
export async function runProgram(program: Program, scope: Scope, input: Json, restored?: RestoredScope): Promise<Json> {
  let state = restored?.state;
  let name = state?.entered.name ?? program.StartAt;
  let current = state?.input ?? input;
  for (;;) {
    const def = program.States[name];
    if (!def)
      throw new StatesError(ERROR.runtime, `The history names the state '${name}', which is not in the program.`);
    const entered = state?.entered ?? (await enter(scope, name, def, current));
    const call: StateCall = { scope, def, name, input: current, entered, ...(state ? { restored: state } : {}) };
    let exit: Exit;
    if (state?.exited) {
      const next = def.Type === "Choice" ? await recordedChoice(call) : await recordedNext(call);
      exit = { output: state.exited.output, ...(next === undefined ? {} : { next }) };
    } else exit = await visit(call);
    if (exit.next === undefined) return exit.output;
    state = undefined;
    name = exit.next;
    current = exit.output;
  }
}

async function enter(scope: Scope, name: string, def: State, input: Json): Promise<StateCall["entered"]> {
  scope.throwIfAborted();
  const event = await scope.record(`${def.Type}StateEntered`, {
    stateEnteredEventDetails: { name, input: text(input), inputDetails: { truncated: false } },
  });
  return { name, id: event.id, time: event.timestamp };
}

async function visit(call: StateCall): Promise<Exit> {
  if (exceedsPayloadLimit(text(call.input)))
    throw new StatesError(
      ERROR.dataLimitExceeded,
      `The input of the state '${call.name}' exceeds the maximum number of bytes service limit.`,
    );
  try {
    switch (call.def.Type) {
      case "Task":
        return await runTask(call);
      case "Map":
        return await runMap(call);
      case "Parallel":
        return await runParallel(call);
      case "Choice":
        return await runChoice(call);
      case "Wait":
        return await runWait(call);
      case "Fail":
        return await runFail(call);
      case "Pass":
      case "Succeed":
        return await runPass(call);
    }
  } catch (thrown) {
    if (thrown instanceof TaskAbort && thrown.kind === "sibling-failed" && ABORTABLE.has(call.def.Type))
      await call.scope.record(`${call.def.Type}StateAborted`);
    throw thrown;
  }
}

/** The states that last, and so have an Aborted event. */
const ABORTABLE = new Set(["Task", "Map", "Parallel", "Wait"]);
