// Whether the execution's history can hold a run: Step Functions ends an execution that passes its limit, without a report.
import type { Machine } from "../../lib/contracts/index.ts";
import type { Refusal } from "./choices.ts";
import type { Work } from "./work.ts";

/** "Maximum execution history size", a hard quota: https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html */
const MOST_EVENTS = 25_000;
/**
 * Kept for what no plan can know: three events for each call that is retried after a throttle, nine for each half minute
 * that a job takes to stop, what a redrive repeats.
 */
const MARGIN_EVENTS = 5_000;
/** Begin, ingest, plan, preprocess, report and notification, each on its first rung. */
const RUN_EVENTS = 90;
/** A training on its first rung and the maps around it; an engine's compile and infer on theirs. */
const TRAINING_EVENTS = 38;
const ENGINE_EVENTS = 68;
/** A rung that is left: reserved, submitted, failed, its children asked why, settled, fallen. */
const FALL_EVENTS = { job: 26, array: 34 } as const;

/**
 * Events of a run whose every job falls down its whole ladder. The events of each part are those of the committed state
 * machine in the local interpreter (test/workflow/history.test.ts holds them to it), with one more for each job:
 * TaskSubmitted, which only `.sync` services write. The Maps are inline, so that all of it is one history.
 *
 * @param rungs - of the longest ladder
 */
export function eventsOf(trainings: number, engines: number, rungs: number): number {
  const falls = Math.max(0, rungs - 1);
  return (
    RUN_EVENTS +
    2 * falls * FALL_EVENTS.array + // ingest and preprocess
    trainings * (TRAINING_EVENTS + falls * FALL_EVENTS.job) +
    engines * (ENGINE_EVENTS + falls * (FALL_EVENTS.job + FALL_EVENTS.array))
  );
}

/** @returns RunTooLarge where the worst case, less a margin, passes the limit; on one machine there is none */
export function tooLarge({ trainings }: Pick<Work, "trainings">, machine: Machine): Refusal | undefined {
  if (machine.where !== "aws") return undefined;
  const engines = trainings.reduce((sum, training) => sum + training.engines.length, 0);
  const rungs = machine.mostRungs ?? machine.rungs?.length ?? 4;
  const events = eventsOf(trainings.length, engines, rungs);
  const allowed = MOST_EVENTS - MARGIN_EVENTS;
  if (events <= allowed) return undefined;
  return {
    code: "RunTooLarge",
    message: `${trainings.length} trainings with ${engines} engines can make ${events} events on ladders of ${rungs} rungs; ${allowed} are allowed of the ${MOST_EVENTS} that Step Functions keeps of an execution.`,
    remedy:
      "Ask for fewer folds, strategies or engines in one run; the rest can follow as another run, with another recipe.",
  };
}
