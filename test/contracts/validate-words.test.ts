import { expect, test } from "vitest";
import { recipe } from "../../lib/contracts/index.ts";
import { problemsOf } from "../../lib/contracts/validate.ts";

test.each([[[1, 2]], [[64, 64, 64, 64]]])(
  "a patch of another number of edges is told that there are 3: %j",
  (patch) => {
    expect(problemsOf(recipe, { plan: { patch } })).toMatchObject([
      { field: "plan.patch", got: JSON.stringify(patch), allowed: "3 items" },
    ]);
  },
);

test("a number too large to be one is shown as what it became, not as null", () => {
  expect(problemsOf(recipe, { train: { steps: Number("1e400") } })[0]).toMatchObject({
    field: "train.steps",
    got: "Infinity, which is no finite number",
  });
});
