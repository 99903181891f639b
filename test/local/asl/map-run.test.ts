// Distributed Map: readers, batches, tolerated failures, the children's histories.
import { describe, expect, test } from "vitest";
import { childHistories, type Json, StatesError } from "../../../lib/local/asl/index.ts";
import { readBatches } from "../../../lib/local/asl/item-batcher.ts";
import { readItems } from "../../../lib/local/asl/item-reader.ts";
import { execute, LAMBDA, machineOf } from "./harness.ts";

const READER = {
  Resource: "arn:aws:states:::s3:getObject",
  Arguments: { Bucket: "b", Key: "{% $states.input.key %}" },
  ReaderConfig: { InputType: "JSONL" },
};
const run = (
  rest: object,
  options: Parameters<typeof execute>[1] = {},
  states: object = { Each: { Type: "Pass", End: true } },
) =>
  execute(
    machineOf({
      All: {
        Type: "Map",
        ItemProcessor: { ProcessorConfig: { Mode: "DISTRIBUTED" }, StartAt: Object.keys(states)[0], States: states },
        End: true,
        ...rest,
      },
    }),
    options,
  );

describe("a map run", () => {
  test("reads JSON Lines from S3 and gives the outputs in their order", async () => {
    const { result, types, events } = await run(
      { ItemReader: READER },
      { input: { key: "list.jsonl" }, objects: { "b/list.jsonl": '{"n":1}\n{"n":2}\n\n{"n":3}' } },
    );
    expect(result.output).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }]);
    expect(types).toEqual([
      "ExecutionStarted",
      "MapStateEntered",
      "MapStateStarted",
      "MapRunStarted",
      "MapRunSucceeded",
      "MapStateSucceeded",
      "MapStateExited",
      "ExecutionSucceeded",
    ]);
    const children = childHistories(events);
    expect([...children.values()].map((child) => child.map(({ type }) => type))).toEqual(
      Array(3).fill(["ExecutionStarted", "PassStateEntered", "PassStateExited", "ExecutionSucceeded"]),
    );
    expect([...children.keys()][2]).toMatch(
      /^arn:aws:states:us-east-1:000000000000:execution:local\/All:[0-9a-f-]{36}-2$/,
    );
  });

  test("gives ItemSelector the item and its index, and the child a context of its own", async () => {
    const { result } = await run(
      {
        Items: ["a", "b"],
        ItemSelector: { at: "{% $states.context.Map.Item.Index %}", is: "{% $states.context.Map.Item.Value %}" },
      },
      {},
      {
        Each: {
          Type: "Pass",
          Output: { got: "{% $states.input %}", input: "{% $states.context.Execution.Input %}" },
          End: true,
        },
      },
    );
    const given = [
      { at: 0, is: "a" },
      { at: 1, is: "b" },
    ];
    expect(result.output).toEqual(given.map((item) => ({ got: item, input: item })));
  });

  test("takes an empty list", async () => {
    const { result } = await run({ ItemReader: READER }, { input: { key: "k" }, objects: { "b/k": "" } });
    expect(result.output).toEqual([]);
  });

  test("fails with States.ItemReaderFailed where the object is missing, and that can be caught", async () => {
    const { result, types } = await run({ ItemReader: READER }, { input: { key: "k" } });
    expect(result).toEqual({
      status: "FAILED",
      error: "States.ItemReaderFailed",
      cause: "The specified key does not exist.",
    });
    expect(types.slice(-3)).toEqual(["MapRunFailed", "MapStateFailed", "ExecutionFailed"]);
  });

  const failingFor = (bad: (item: Json) => boolean) => ({
    tasks: ({ arguments: item }: { arguments: Json }) => {
      if (bad(item)) throw new StatesError("Bad", "item");
      return item;
    },
  });
  const work = { Each: { Type: "Task", Resource: LAMBDA, End: true } };
  const items = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

  test.each<[object, number, boolean]>([
    [{}, 1, false],
    [{ ToleratedFailureCount: 2 }, 2, true],
    [{ ToleratedFailureCount: 2 }, 3, false],
    [{ ToleratedFailurePercentage: 30 }, 3, true],
    [{ ToleratedFailurePercentage: 29.9 }, 3, false],
    [{ ToleratedFailurePercentage: 100 }, 10, true],
    [{ ToleratedFailurePercentage: 100, ToleratedFailureCount: 1 }, 2, false],
    [{ ToleratedFailureCount: "{% 1 + 1 %}" }, 2, true],
  ])("with %j and %i failures of ten succeeds: %s", async (tolerated, failures, succeeds) => {
    const { result } = await run(
      { Items: items, ...tolerated },
      failingFor((item) => (item as number) < failures),
      work,
    );
    if (succeeds) expect(result.status).toBe("SUCCEEDED");
    else
      expect(result).toEqual({
        status: "FAILED",
        error: "States.ExceedToleratedFailureThreshold",
        cause: "The specified tolerated failure threshold was exceeded",
      });
  });

  test("leaves the record of a tolerated failure in its place", async () => {
    const { result } = await run(
      { Items: [1, 2], ToleratedFailureCount: 1 },
      failingFor((item) => item === 1),
      work,
    );
    expect(result.output).toMatchObject([{ Status: "FAILED", Error: "Bad", Cause: "item", Input: "1" }, 2]);
  });

  test("runs at most MaxConcurrency children at once", async () => {
    let running = 0;
    let most = 0;
    await run(
      { Items: items, MaxConcurrency: 3 },
      {
        tasks: async () => {
          most = Math.max(most, ++running);
          await new Promise((resolve) => setTimeout(resolve, 1));
          running--;
        },
      },
      work,
    );
    expect(most).toBe(3);
  });
});

describe("an item reader", () => {
  const read = (config: object, body: string, maxItems?: number) =>
    readItems(
      { getObject: async () => body },
      { Resource: READER.Resource, ReaderConfig: config },
      { Bucket: "b", Key: "k" },
      maxItems,
    );

  test.each<[string, object, string, number | undefined, Json]>([
    ["a JSON array", { InputType: "JSON" }, "[1, 2, 3]", 2, [1, 2]],
    ["all items for MaxItems 0", { InputType: "JSON" }, "[1, 2, 3]", 0, [1, 2, 3]],
    ["JSON Lines with CRLF", { InputType: "JSONL" }, '{"a":1}\r\n{"a":2}\r\n', undefined, [{ a: 1 }, { a: 2 }]],
    [
      "CSV with a header row",
      { InputType: "CSV", CSVHeaderLocation: "FIRST_ROW" },
      "a,b\n1,2\n",
      undefined,
      [{ a: "1", b: "2" }],
    ],
    [
      "CSV with given headers, quotes and another delimiter",
      { InputType: "CSV", CSVHeaderLocation: "GIVEN", CSVHeaders: ["a", "b"], CSVDelimiter: "SEMICOLON" },
      'x;"say ""hi"";\nthere"\ny\n',
      undefined,
      [
        { a: "x", b: 'say "hi";\nthere' },
        { a: "y", b: "" },
      ],
    ],
  ])("reads %s", async (_, config, body, maxItems, expected) => {
    expect(await read(config, body, maxItems)).toEqual(expected);
  });

  test.each([
    [{ InputType: "JSON" }, '{"a":1}', /non-iterable/],
    [{ InputType: "JSON" }, "{", /no valid JSON in the object/],
    [{ InputType: "JSONL" }, '{"a":1}\n{', /no valid JSON in line 2/],
  ])("refuses what is no list: %j %s", async (config, body, cause) => {
    await expect(read(config, body)).rejects.toMatchObject({
      error: "States.ItemReaderFailed",
      cause: expect.stringMatching(cause),
    });
  });

  test("lists the objects of a prefix", async () => {
    const found = await readItems(
      {
        getObject: async () => "",
        listObjectsV2: async ({ prefix }) => [{ key: `${prefix}a`, bytes: 3, etag: '"e"', lastModifiedSeconds: 7 }],
      },
      { Resource: "arn:aws:states:::s3:listObjectsV2" },
      { Bucket: "b", Prefix: "p/" },
      undefined,
    );
    expect(found).toEqual([{ Etag: '"e"', Key: "p/a", LastModified: 7, Size: 3, StorageClass: "STANDARD" }]);
  });
});

describe("an item batcher", () => {
  const batching = (rest: object) => ({ maxItems: undefined, maxBytes: undefined, input: undefined, ...rest });

  test("groups by number, and gives each batch the BatchInput", () => {
    expect(readBatches([1, 2, 3], batching({ maxItems: 2, input: { x: 1 } }))).toEqual([
      { BatchInput: { x: 1 }, Items: [1, 2] },
      { BatchInput: { x: 1 }, Items: [3] },
    ]);
  });

  test("keeps each batch within its bytes", () => {
    const batches = readBatches(Array(9).fill("four"), batching({ maxBytes: 30 }));
    expect(batches).toHaveLength(5);
    for (const batch of batches) expect(JSON.stringify(batch).length).toBeLessThanOrEqual(30);
    expect(() => readBatches(["x".repeat(40)], batching({ maxBytes: 30 }))).toThrow(StatesError);
  });
});
