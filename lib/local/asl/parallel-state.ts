// Parallel: all branches on the same input; one failed branch fails the state.
import { runGroup } from "./concurrent-group.ts";
import type { Json } from "./json.ts";
import { evaluateTemplate } from "./jsonata-evaluate.ts";
import { runProgram } from "./program.ts";
import type { RestoredAttempt } from "./restored.ts";
import { retrying } from "./retrying-state.ts";
import { Scope } from "./scope.ts";
import type { Exit, StateCall } from "./state-call.ts";

export const runParallel = (call: StateCall): Promise<Exit> =>
  retrying(
    call,
    (attempt, restored) => attemptBranches(call, attempt, restored),
    async () => {
      await call.scope.record("ParallelStateFailed");
    },
  );

async function attemptBranches(call: StateCall, attempt: number, restored: RestoredAttempt | undefined): Promise<Json> {
  const { scope, def, entered } = call;
  scope.throwIfAborted();
  const states = { input: call.input, context: scope.context(entered, attempt) };
  const input =
    def.Arguments === undefined
      ? call.input
      : await scope.evaluating(entered, async () =>
          evaluateTemplate(
            def.Arguments!,
            "Arguments",
            scope.bindings(entered, states, `Arguments|${attempt}`, { now: new Date(entered.time) }),
          ),
        );
  const startedId = restored?.startedId || (await scope.record("ParallelStateStarted")).id;
  const branches = def.Branches ?? [];
  const outputs: Json[] = branches.map(() => null);
  let lastId = restored ? scope.lastEventId : startedId;
  try {
    await runGroup(scope.signal, branches.length, branches.length, async (index, group) => {
      const branch = branches[index]!;
      const before = restored?.branches.get(branch.StartAt);
      const inner = new Scope({
        run: scope.run,
        signal: group.signal,
        path: scope.path,
        outerVariables: scope.variables,
        variables: before?.variables ?? {},
        lastEventId: before?.lastEventId ?? startedId,
        ...(scope.mapItem === undefined ? {} : { mapItem: scope.mapItem }),
      });
      try {
        outputs[index] = await runProgram(branch, inner, input, before);
      } catch (thrown) {
        group.fail(thrown);
        throw thrown;
      } finally {
        lastId = Math.max(lastId, inner.lastEventId);
      }
    });
  } finally {
    scope.lastEventId = lastId;
  }
  if (!restored?.succeeded) await scope.recordAside("ParallelStateSucceeded");
  return outputs;
}
