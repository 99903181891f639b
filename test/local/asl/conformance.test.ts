// Cases recorded from AWS Step Functions, replayed. What is not claimed is listed with the reason.
import { describe, expect, test } from "vitest";
import { available, type Case, comparer, differences, readCases } from "./conformance-case.ts";

/**
 * The `needs` that the interpreter supports, of which a case must have no other to be claimed. Services are claimed
 * all: what a task does is its runner's business, here the recorded outcome.
 */
const CLAIMED = new Set(
  (
    "arguments catch choice clock-relative context-object distributed-map fail global-timeout heartbeat inline-map " +
    "itembatcher itemreader itemreader:csv itemreader:json itemreader:jsonl itemreader:listobjectsv2 " +
    "itemreader:maxitems items itemselector jsonata lambda lambda-arn lambda-invoke map map-label maxconcurrency " +
    "output parallel pass retry retry-backoff retry-jitter retry-maxdelay runtime-error states-var succeed sync task " +
    "timeout tolerated-failure variables volatile-output wait wait-timestamp"
  ).split(" "),
);

const unclaimed = ({ needs }: Case): string[] => {
  if (!needs.includes("jsonata")) return ["not JSONata"];
  return needs.filter((need) => !CLAIMED.has(need) && !need.startsWith("service:"));
};

describe.skipIf(!available)("conformance with the histories recorded from AWS", () => {
  const cases = available ? readCases("dev.json") : [];
  const passed = new Map<string, number>();

  for (const recorded of cases.filter((each) => unclaimed(each).length === 0))
    test(recorded.id, async () => {
      expect(await differences(recorded, await comparer())).toEqual([]);
      passed.set(recorded.category, (passed.get(recorded.category) ?? 0) + 1);
    });

  test("reports what is claimed, passed and not claimed in each category", () => {
    const rows = [...new Set(cases.map(({ category }) => category))].sort().map((category) => {
      const own = cases.filter((each) => each.category === category);
      const claimed = own.filter((each) => unclaimed(each).length === 0).length;
      const reasons = new Map<string, number>();
      for (const reason of own.flatMap((each) => unclaimed(each).slice(0, 1)))
        reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
      const why = [...reasons].map(([reason, count]) => `${reason} ${count}`).join(", ");
      return { category, cases: own.length, claimed, passed: passed.get(category) ?? 0, "not claimed, by need": why };
    });
    console.table(rows);
    expect(rows.length).toBeGreaterThan(0);
  });
});
