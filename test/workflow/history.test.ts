// What plan takes a run's history for, against the histories that the committed state machine makes.
import { describe, expect, it } from "vitest";
import { eventsOf } from "../../lambdas/plan/history.ts";
import { StatesError, type TaskRequest } from "../../lib/local/asl/index.ts";
import { BATCH, failedChildren, TRAINING } from "./aws-jobs.ts";
import { LADDERS, run, withLadders } from "./ladders.ts";
import { type Answers, anEngine, aPlan, aRequest, aTraining, planned } from "./run.ts";

const RUNGS = 4;
const ladder = LADDERS.everyKind;
const machine = withLadders({
  ingest: ladder,
  preprocess: ladder,
  compile: ladder,
  infer: ladder,
  train: ladder.map((rung) => ({ ...LADDERS.warm, name: rung.name, kind: rung.kind })),
});

/** Falls down to the last rung, and is done there. */
const falling =
  (cause: string) =>
  ({ arguments: given }: TaskRequest) => {
    if (Number(/-k(\d)-r\d-d\d/.exec(JSON.stringify(given))![1]) < RUNGS - 1)
      throw new StatesError("States.TaskFailed", cause);
    return {};
  };
const children = () => failedChildren("Host EC2 (instance i-1) terminated.");
const ALL_FALL: Answers = {
  Ingest: falling(BATCH.noCapacity),
  Preprocess: falling(BATCH.noCapacity),
  Train: falling(TRAINING.noCapacity),
  Compile: falling(BATCH.noCapacity),
  Infer: falling(BATCH.noCapacity),
  IngestChildren: children,
  PreprocessChildren: children,
  InferChildren: children,
};

describe("the history of a run", () => {
  it.each([
    ["one training", 1, 1, false],
    ["several", 3, 2, false],
    ["one training whose jobs all fall", 1, 1, true],
    ["several whose jobs all fall", 3, 2, true],
  ])("of %s is no longer than plan takes it for, and not much shorter", async (_what, count, each, isFalling) => {
    const names = (["torch", "onnxruntime"] as const).slice(0, each);
    const trainings = Array.from({ length: count }, (_, index) =>
      aTraining(`fold${index}`, "dali", { engines: names.map((name) => anEngine(`fold${index}-dali`, name)) }),
    );
    const answers = { ...(isFalling ? ALL_FALL : {}), Plan: planned(aPlan({ trainings })) };
    const { events, allTasks, result } = await run(answers, aRequest(), machine);
    expect(result.status).toBe("SUCCEEDED");
    // Jobs here are not submitted: AWS writes an event more for each.
    const submitted = allTasks.filter((name) => /^(Ingest|Preprocess|Train|Compile|Infer)$/.test(name)).length;
    const expected = eventsOf(count, count * each, isFalling ? RUNGS : 1);
    expect(events.length + submitted).toBeLessThanOrEqual(expected);
    expect(events.length + submitted).toBeGreaterThan(0.85 * expected);
    if (isFalling) expect(submitted).toBe(RUNGS * (2 + count * (1 + 2 * each)));
  });
});
