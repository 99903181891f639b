// Which retrier or catcher takes an error, and how long a retry waits.
// https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
import type { Catcher, Retrier } from "./definition.ts";
import { ERROR, type StatesError } from "./errors.ts";

const DEFAULT = { intervalSeconds: 1, backoffRate: 2, maxAttempts: 3 };

/**
 * States.Runtime ends the execution whatever its states say. States.DataLimitExceeded is caught by its own name only.
 * States.TaskFailed stands for every error but States.Timeout.
 */
export function matchesError(errorEquals: readonly string[], error: string | undefined): boolean {
  if (error === ERROR.runtime) return false;
  const own = error !== undefined && errorEquals.includes(error);
  if (own || error === ERROR.dataLimitExceeded) return own;
  if (errorEquals.includes(ERROR.all)) return true;
  return errorEquals.includes(ERROR.taskFailed) && error !== ERROR.timeout;
}

export const catcherFor = (
  catchers: readonly Catcher[] | undefined,
  error: string | undefined,
): { catcher: Catcher; index: number } | undefined => {
  const index = (catchers ?? []).findIndex((catcher) => matchesError(catcher.ErrorEquals, error));
  return index < 0 ? undefined : { catcher: catchers![index]!, index };
};

/** Counts a state's retries: each retrier has a count of its own. */
export class RetryPolicy {
  readonly #retriers: readonly Retrier[];
  readonly #used: number[];

  constructor(retriers: readonly Retrier[] | undefined) {
    this.#retriers = retriers ?? [];
    this.#used = this.#retriers.map(() => 0);
  }

  /**
   * @param jitter draws from [0, 1) for JitterStrategy FULL
   * @returns the milliseconds to wait before the next attempt, or undefined when nobody retries this error any more
   */
  next(failure: StatesError, jitter: () => number): number | undefined {
    const i = this.#retriers.findIndex((retrier) => matchesError(retrier.ErrorEquals, failure.error));
    const retrier = this.#retriers[i];
    if (!retrier) return undefined;
    const used = this.#used[i]!;
    if (used >= (retrier.MaxAttempts ?? DEFAULT.maxAttempts)) return undefined;
    this.#used[i] = used + 1;
    const seconds = Math.min(
      (retrier.IntervalSeconds ?? DEFAULT.intervalSeconds) * (retrier.BackoffRate ?? DEFAULT.backoffRate) ** used,
      retrier.MaxDelaySeconds ?? Number.POSITIVE_INFINITY,
    );
    return seconds * 1000 * (retrier.JitterStrategy === "FULL" ? jitter() : 1);
  }
}
