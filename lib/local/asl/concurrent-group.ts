// Members that run side by side and fall together: the branches of a Parallel, the iterations of a Map.
import { StatesError, TaskAbort } from "./errors.ts";
import { linkedController } from "./scope.ts";

export interface Group {
  signal: AbortSignal;
  /**
   * A member tells that it fails; the others are then told to stop.
   * @returns true for the member that failed first and so decides how the whole ends
   */
  fail(thrown: unknown): boolean;
}

/**
 * Runs members 0 to count - 1, started in order, at most `concurrency` at a time.
 * Returns when every one has settled, so that none records an event afterwards.
 * @throws the first failure
 */
export async function runGroup(
  parent: AbortSignal,
  count: number,
  concurrency: number,
  member: (index: number, group: Group) => Promise<void>,
): Promise<void> {
  const { controller, release } = linkedController(parent);
  let first: { thrown: unknown } | undefined;
  const group: Group = {
    signal: controller.signal,
    fail(thrown) {
      if (first) {
        // A broken sink or a fault of the interpreter outranks a failure of the workflow.
        if (isFault(thrown) && !isFault(first.thrown)) first = { thrown };
        return false;
      }
      first = { thrown };
      const { error, cause } = thrown instanceof StatesError ? thrown : { error: undefined, cause: undefined };
      if (!controller.signal.aborted) controller.abort(new TaskAbort("sibling-failed", error, cause));
      return true;
    },
  };
  let next = 0;
  const worker = async () => {
    while (next < count && !controller.signal.aborted) {
      const index = next++;
      try {
        await member(index, group);
      } catch (thrown) {
        group.fail(thrown);
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.max(0, Math.min(count, concurrency)) }, worker));
  } finally {
    release();
  }
  if (first) throw first.thrown;
  if (parent.aborted) throw parent.reason instanceof TaskAbort ? parent.reason : new TaskAbort("stopped");
}

const isFault = (thrown: unknown): boolean => !(thrown instanceof StatesError) && !(thrown instanceof TaskAbort);
