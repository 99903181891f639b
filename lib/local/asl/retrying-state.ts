// Task, Map and Parallel: attempts with Retry, then Catch.
import { StatesError } from "./errors.ts";
import type { Json } from "./json.ts";
import { drawFraction } from "./jsonata-functions.ts";
import type { RecordedFailure, RestoredAttempt } from "./restored.ts";
import { catcherFor, RetryPolicy } from "./retry-policy.ts";
import { errorOutput, isStatesError, sleep } from "./scope.ts";
import { evaluateFailure } from "./simple-states.ts";
import { type Exit, leave, type StateCall } from "./state-call.ts";

/** @returns the state's result; `restored` is what an earlier process did of this very attempt */
export type AttemptOnce = (attempt: number, restored: RestoredAttempt | undefined) => Promise<Json>;

/**
 * Tries a state until it succeeds, is caught, or fails.
 * @param onFailed records that nobody retries any more (Map- and ParallelStateFailed)
 * @throws StatesError what nobody caught
 */
export async function retrying(call: StateCall, once: AttemptOnce, onFailed?: () => Promise<void>): Promise<Exit> {
  const { scope, def, entered } = call;
  const policy = new RetryPolicy(def.Retry);
  const past = call.restored?.attempts ?? [];
  let attempt = 0;
  for (const { failure } of past.slice(0, -1)) {
    policy.next(await failureOf(call, failure ?? {}), () => 0);
    attempt++;
  }
  let restored = past.at(-1);
  for (;;) {
    let failure: StatesError;
    try {
      if (restored?.failure) throw await failureOf(call, restored.failure);
      const result = await once(attempt, restored);
      return await leave(call, {
        ...(def.Assign === undefined ? {} : { assign: def.Assign }),
        ...(def.Output === undefined ? {} : { output: def.Output }),
        otherwise: result,
        states: { result },
        retryCount: attempt,
        ...(def.Next === undefined ? {} : { next: def.Next }),
      });
    } catch (thrown) {
      if (!isStatesError(thrown)) throw thrown;
      failure = thrown;
    }
    const wait = policy.next(failure, () => drawFraction(`${scope.run.arn}|${entered.id}|${attempt}`));
    if (wait === undefined) {
      if (!(restored && call.restored?.failureRecorded)) await onFailed?.();
      return await caught(call, failure, attempt);
    }
    await sleep(scope, wait);
    attempt++;
    restored = undefined;
  }
}

async function caught(call: StateCall, failure: StatesError, retryCount: number): Promise<Exit> {
  const found = catcherFor(call.def.Catch, failure.error);
  if (!found) throw failure;
  const output = errorOutput(failure);
  return leave(call, {
    ...(found.catcher.Assign === undefined ? {} : { assign: found.catcher.Assign }),
    ...(found.catcher.Output === undefined ? {} : { output: found.catcher.Output }),
    otherwise: output,
    states: { errorOutput: output },
    prefix: `Catch[${found.index}]/`,
    retryCount,
    next: found.catcher.Next,
  });
}

/** Where a state went that was left before the process ended: its own Next, or that of whoever caught its failure. */
export async function recordedNext(call: StateCall): Promise<string | undefined> {
  const failure = call.restored?.attempts.at(-1)?.failure;
  if (!failure) return call.def.Next;
  return catcherFor(call.def.Catch, (await failureOf(call, failure)).error)?.catcher.Next ?? call.def.Next;
}

async function failureOf(call: StateCall, recorded: RecordedFailure): Promise<StatesError> {
  const { failState } = recorded;
  if (!failState) return new StatesError(recorded.error, recorded.cause);
  return evaluateFailure(call.scope, failState.def, failState.entered, failState.input, failState.variables);
}
