// Map in INLINE mode: iterations in this execution's own history. DISTRIBUTED is in map-run.ts.
import { runGroup } from "./concurrent-group.ts";
import { StatesError, TaskAbort } from "./errors.ts";
import type { Json, JsonObject } from "./json.ts";
import { EvaluationFailure, evaluateInteger, evaluateTemplate, evaluateTyped } from "./jsonata-evaluate.ts";
import { attemptMapRun } from "./map-run.ts";
import { runProgram } from "./program.ts";
import type { RestoredAttempt, RestoredScope } from "./restored.ts";
import { retrying } from "./retrying-state.ts";
import { abortReason, Scope } from "./scope.ts";
import type { Exit, StateCall } from "./state-call.ts";

/** What Step Functions runs at once at most in INLINE mode. */
const INLINE_CONCURRENCY = 40;

export const runMap = (call: StateCall): Promise<Exit> => {
  const distributed = call.def.ItemProcessor?.ProcessorConfig?.Mode === "DISTRIBUTED";
  const once = distributed ? attemptMapRun : attemptIterations;
  return retrying(
    call,
    (attempt, restored) => once(call, attempt, restored),
    async () => {
      await call.scope.record("MapStateFailed");
    },
  );
};

async function attemptIterations(
  call: StateCall,
  attempt: number,
  restored: RestoredAttempt | undefined,
): Promise<Json> {
  const { scope, name } = call;
  scope.throwIfAborted();
  const { items, maxConcurrency } = await scope.evaluating(call.entered, async () => ({
    items: await mapItems(call, attempt),
    ...(await mapNumbers(call, attempt)),
  }));
  const startedId =
    restored?.startedId ||
    (await scope.record("MapStateStarted", { mapStateStartedEventDetails: { length: items.length } })).id;
  const iterations = restored?.iterations ?? new Map<number, RestoredScope>();
  const outputs: Json[] = items.map(() => null);
  let lastId = restored ? scope.lastEventId : startedId;

  const iterate = async (index: number, signal: AbortSignal, isFirst: (thrown: unknown) => boolean) => {
    const before = iterations.get(index);
    if (before?.ended === "succeeded") {
      outputs[index] = before.state?.exited?.output ?? null;
      return;
    }
    const inner = new Scope({
      run: scope.run,
      signal,
      path: [...scope.path, { map: name, index }],
      outerVariables: scope.variables,
      variables: before?.variables ?? {},
      lastEventId: before?.lastEventId ?? startedId,
      mapItem: { Index: index, Value: items[index]! },
    });
    const iteration = { name, index };
    try {
      if (!before) await inner.record("MapIterationStarted", { mapIterationStartedEventDetails: iteration });
      const input = before?.state ? before.state.input : await itemInput(call, attempt, items[index]!, inner);
      outputs[index] = await runProgram(call.def.ItemProcessor!, inner, input, before);
      if (signal.aborted) throw abortReason(signal);
      await inner.record("MapIterationSucceeded", { mapIterationSucceededEventDetails: iteration });
    } catch (thrown) {
      const decides = isFirst(thrown);
      if (before?.ended === undefined) {
        if (decides && thrown instanceof StatesError)
          await inner.record("MapIterationFailed", { mapIterationFailedEventDetails: iteration });
        else if (signal.aborted && abortReason(signal).kind === "sibling-failed")
          await inner.record("MapIterationAborted", { mapIterationAbortedEventDetails: iteration });
      }
      throw thrown;
    } finally {
      lastId = Math.max(lastId, inner.lastEventId);
    }
  };

  try {
    await finishRecordedFailure(iterations, scope.signal, iterate);
    await runGroup(scope.signal, items.length, maxConcurrency || INLINE_CONCURRENCY, (index, group) =>
      iterate(index, group.signal, (thrown) => group.fail(thrown)),
    );
  } finally {
    scope.lastEventId = lastId;
  }
  if (!restored?.succeeded) await scope.recordAside("MapStateSucceeded");
  return outputs;
}

/**
 * When the process ended between an iteration's failure and the end of the Map, the others are told to stop,
 * as they were about to be, and nothing is started.
 */
async function finishRecordedFailure(
  iterations: ReadonlyMap<number, RestoredScope>,
  signal: AbortSignal,
  iterate: (index: number, signal: AbortSignal, isFirst: (thrown: unknown) => boolean) => Promise<void>,
): Promise<void> {
  const failed = [...iterations].find(([, { ended }]) => ended === "failed");
  if (!failed) return;
  try {
    await iterate(failed[0], signal, () => true);
  } catch (thrown) {
    const told = AbortSignal.abort(new TaskAbort("sibling-failed"));
    for (const [index, { ended }] of iterations)
      if (ended === undefined) await iterate(index, told, () => false).catch(() => {});
    throw thrown;
  }
}

/** @throws EvaluationFailure when there is no array to iterate over */
export async function mapItems(call: StateCall, attempt: number): Promise<Json[]> {
  const { scope, def, entered } = call;
  if (def.Items !== undefined) {
    const states = { input: call.input, context: scope.context(entered, attempt) };
    const bindings = scope.bindings(entered, states, `Items|${attempt}`, { now: new Date(entered.time) });
    return (await evaluateTyped(def.Items, "Items", "array", bindings)) as Json[];
  }
  if (!Array.isArray(call.input))
    throw new EvaluationFailure(`Map state input must be an array but was: ${JSON.stringify(call.input)}`);
  return call.input;
}

export interface MapNumbers {
  maxConcurrency: number;
  toleratedCount: number | undefined;
  toleratedPercentage: number | undefined;
}

/** The numbers of a Map. INLINE checks the tolerated ones, and tolerates nothing, like AWS. @throws EvaluationFailure */
export async function mapNumbers(call: StateCall, attempt: number): Promise<MapNumbers> {
  const { scope, def, entered } = call;
  const states = { input: call.input, context: scope.context(entered, attempt) };
  const bindings = scope.bindings(entered, states, `Numbers|${attempt}`, { now: new Date(entered.time) });
  const most = Number.MAX_SAFE_INTEGER;
  return {
    maxConcurrency:
      def.MaxConcurrency === undefined
        ? 0
        : await evaluateInteger(def.MaxConcurrency, "MaxConcurrency", { least: 0, most }, bindings),
    toleratedCount:
      def.ToleratedFailureCount === undefined
        ? undefined
        : await evaluateInteger(def.ToleratedFailureCount, "ToleratedFailureCount", { least: 0, most }, bindings),
    toleratedPercentage:
      def.ToleratedFailurePercentage === undefined
        ? undefined
        : await evaluatePercentage(def.ToleratedFailurePercentage, bindings),
  };
}

async function evaluatePercentage(template: Json, bindings: Parameters<typeof evaluateTyped>[3]): Promise<number> {
  const field = "ToleratedFailurePercentage";
  const value = (await evaluateTyped(template, field, "number", bindings)) as number;
  if (value < 0 || value > 100) throw new EvaluationFailure(`${field} must be between 0 and 100.`, field);
  return value;
}

/** What an iteration gets: the item, or what ItemSelector makes of it. @param at where a failed evaluation is recorded */
export async function itemInput(
  call: StateCall,
  attempt: number,
  item: Json,
  at: Scope,
  mapItem: JsonObject | undefined = at.mapItem,
): Promise<Json> {
  const { def, entered } = call;
  if (def.ItemSelector === undefined) return item;
  const states = { input: call.input, context: at.context(entered, attempt, mapItem) };
  const purpose = `ItemSelector|${attempt}|${JSON.stringify(mapItem?.Index ?? null)}`;
  const options = { now: new Date(entered.time), variables: call.scope.variables };
  return at.evaluating(entered, () =>
    evaluateTemplate(def.ItemSelector!, "ItemSelector", at.bindings(entered, states, purpose, options)),
  );
}
