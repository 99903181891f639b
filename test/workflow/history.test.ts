// What plan takes a run's history for, against the histories that the committed state machine makes.
import { describe, expect, it } from "vitest";
import { eventsOf } from "../../lambdas/plan/history.ts";
import { StatesError, type TaskRequest } from "../../lib/local/asl/index.ts";
import { BATCH, failedChildren, TRAINING, TRANSFORM } from "./aws-jobs.ts";
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
  (cause: string, last: number) =>
  ({ arguments: given }: TaskRequest) => {
    if (Number(/-k(\d)-r\d-d\d/.exec(JSON.stringify(given))![1]) < last)
      throw new StatesError("States.TaskFailed", cause);
    return {};
  };
const children = () => failedChildren("Host EC2 (instance i-1) terminated.");
const allFallTo = (last: number): Answers => ({
  Ingest: falling(BATCH.noCapacity, last),
  Preprocess: falling(BATCH.noCapacity, last),
  Train: falling(TRAINING.noCapacity, last),
  Compile: falling(BATCH.noCapacity, last),
  Infer: falling(BATCH.noCapacity, last),
  IngestChildren: children,
  PreprocessChildren: children,
  InferChildren: children,
});

const failing = () => {
  throw new StatesError("States.TaskFailed", TRANSFORM.noCapacity);
};
const JOB = /^(Ingest|Preprocess|Train|Compile|Infer|InferTransform)$/;

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
    const answers = { ...(isFalling ? allFallTo(RUNGS - 1) : {}), Plan: planned(aPlan({ trainings })) };
    const { events, allTasks, result } = await run(answers, aRequest(), machine);
    expect(result.status).toBe("SUCCEEDED");
    // Jobs here are not submitted: AWS writes an event more for each.
    const submitted = allTasks.filter((name) => JOB.test(name)).length;
    const expected = eventsOf(count, count * each, isFalling ? RUNGS : 1);
    expect(events.length + submitted).toBeLessThanOrEqual(expected);
    expect(events.length + submitted).toBeGreaterThan(0.85 * expected);
    if (isFalling) expect(submitted).toBe(RUNGS * (2 + count * (1 + 2 * each)));
  });

  it.each([1, 3])(
    "of %i trainings that fall off a transform, whose model is deleted, is no longer either",
    async (count) => {
      const two = ladder.slice(0, 2);
      const ladders = withLadders({
        ingest: two,
        preprocess: two,
        compile: two,
        train: two.map((rung) => ({ ...LADDERS.warm, name: rung.name, kind: rung.kind })),
        infer: LADDERS.inferWithTransform.slice(0, 2),
      });
      const trainings = Array.from({ length: count }, (_, index) => aTraining(`fold${index}`, "dali"));
      const answers = { ...allFallTo(1), Infer: {}, InferTransform: failing, Plan: planned(aPlan({ trainings })) };
      const { events, allTasks, result } = await run(answers, aRequest(), ladders);
      expect(result.status).toBe("SUCCEEDED");
      expect(allTasks.filter((name) => name === "InferDeleteModel")).toHaveLength(count);
      const engines = trainings.flatMap((training) => training.engines).length;
      const submitted = allTasks.filter((name) => JOB.test(name)).length;
      const expected = eventsOf(count, engines, 2);
      expect(events.length + submitted).toBeLessThanOrEqual(expected);
      expect(events.length + submitted).toBeGreaterThan(0.85 * expected);
    },
  );
});
