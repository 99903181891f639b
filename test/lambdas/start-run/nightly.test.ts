import { describe, expect, test } from "vitest";
import { startRun } from "../../../lambdas/start-run/core.ts";
import { isNightlyEvent, nightlyInput } from "../../../lambdas/start-run/nightly.ts";
import { keys, problemsOf, readJson, recipe, runRequest, under } from "../../../lib/contracts/index.ts";
import { h100, ids, Run, record, temporaryFolder } from "../plan/fixture.ts";
import { type Drop, drop } from "./drop.ts";

const event = (night: string, more: object = {}) => ({
  source: "voxelburst.nightly",
  dataset: "phantoms",
  night,
  recipe: { folds: "fold0", strategies: ["fp32", "amp"], train: { steps: 5 } },
  ...more,
});
const FIRST = "2026-11-23T02:00:00Z";
const SECOND = "2026-11-24T02:00:00Z";

/** The event through the real core; the fixture's dataset lies where the schedule's name leads. */
function start(d: Drop, night: string) {
  const roots = { dataUri: "file:///data/", artefactsUri: d.input.artefactsUri, quarantineUri: d.input.quarantineUri };
  const input = nightlyInput(event(night), roots);
  expect(input.datasetUri).toBe("file:///data/datasets/phantoms/");
  return startRun({ ...input, datasetUri: d.input.datasetUri }, d.ports);
}

describe("the schedule's event", () => {
  test("starts one run a night, however often it is delivered", async () => {
    const d = drop();
    const deliveries = [];
    for (const night of [FIRST, FIRST, SECOND, FIRST, SECOND]) deliveries.push(await start(d, night));
    expect(deliveries.map(({ outcome }) => outcome)).toEqual(["started", "open", "started", "open", "open"]);
    expect(d.executions.started.map(({ night }) => night)).toEqual([FIRST, SECOND]);
    expect(new Set(d.executions.started.map(({ identity }) => identity)).size).toBe(2);
  });

  test("makes a request that says which night it is, with the schedule's recipe in place of the dataset's", async () => {
    const d = drop();
    d.write({ "recipe.yaml": "train: {steps: 100000}\n" });
    const { request } = await start(d, FIRST);
    expect(problemsOf(runRequest, request)).toEqual([]);
    expect(request).toMatchObject({ night: FIRST, nonce: `nightly-${FIRST}` });
    const used = await readJson(d.ports.store, under(request.artefactsUri, keys.recipe(request.runId)), recipe);
    expect(used).toMatchObject({ train: { steps: 5 }, strategies: ["fp32", "amp"], folds: ["fold0"] });
  });

  test("is told from an upload's", () => {
    expect(isNightlyEvent(event(FIRST))).toBe(true);
    expect(isNightlyEvent({ source: "aws.s3" })).toBe(false);
  });

  test.each([
    ["dataset", { dataset: "Upper Case" }],
    ["night", { night: "<aws.scheduler.scheduled-time>" }],
    ["recipe", { recipe: "ladder" }],
  ])("is refused by its %s when that is wrong", (field, more) => {
    const refused = () =>
      nightlyInput(event(FIRST, more), { dataUri: "s3://d/", artefactsUri: "s3://a/", quarantineUri: "s3://q/" });
    expect(refused).toThrow(
      expect.objectContaining({ code: "NightlyEventInvalid", details: expect.objectContaining({ field }) }),
    );
  });
});

describe("a second night on unchanged data", () => {
  const nonce = (night: string) => ({ nonce: `nightly-${night}`, night });

  test("plans everything that is timed anew, while the same night again would redo nothing", async () => {
    const folder = temporaryFolder();
    const records = ids(10).map((id) => record(id));
    const planned = async (night: string) => {
      const run = await Run.of({ records, recipe: { engines: ["torch"] }, request: nonce(night) }, folder);
      return { run, ...(await run.plan(h100)).output };
    };
    const first = await planned(FIRST);
    const outputs: string[] = [];
    for (const training of first.trainings) {
      outputs.push(keys.output("train", training.trainHash));
      for (const engine of training.engines) {
        const task = await first.run.task(engine.compileTaskKey);
        outputs.push((task as { outputPrefix: string }).outputPrefix);
      }
    }
    expect(first.preprocess.missing).toBe(10);
    for (const prefix of outputs) await first.run.putJson(keys.outputResult(prefix), {});

    const again = await planned(FIRST);
    expect(again.trainings.map(({ trained }) => trained)).toEqual([true]);
    expect(again.trainings[0]!.engines.map(({ compiled }) => compiled)).toEqual([true]);

    const second = await planned(SECOND);
    expect(second.preprocess.missing).toBe(10);
    expect(second.trainings.map(({ trained }) => trained)).toEqual([false]);
    expect(second.trainings[0]!.engines.map(({ compiled }) => compiled)).toEqual([false]);
    expect(second.trainings[0]!.trainHash).not.toBe(first.trainings[0]!.trainHash);
  });
});
