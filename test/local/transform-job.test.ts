import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { StatesError } from "../../lib/local/asl/errors.ts";
import { Faults } from "../../lib/local/faults.ts";
import { createModel, createTransformJob, deleteModel } from "../../lib/local/transform-job.ts";
import { call, type Fixture, fixture, TWO_CORES } from "./fixture.ts";

const model = (name = "infer-1") =>
  call("sagemaker:createModel", {
    ModelName: name,
    ExecutionRoleArn: "role",
    PrimaryContainer: { Image: "image", Environment: { VOXELBURST_TASK: "file:///tasks/infer-x.json" } },
  });

/** Two objects of lines, and where the answers go. */
function transform(f: Fixture, lines: Record<string, string>, more: object = {}) {
  const input = path.join(f.home.artefacts, "lines");
  mkdirSync(input, { recursive: true });
  for (const [name, text] of Object.entries(lines)) writeFileSync(path.join(input, name), text);
  return call("sagemaker:createTransformJob.sync", {
    TransformJobName: "infer-1",
    ModelName: "infer-1",
    MaxConcurrentTransforms: 1,
    MaxPayloadInMB: 1,
    BatchStrategy: "SingleRecord",
    ModelClientConfig: { InvocationsTimeoutInSeconds: 60, InvocationsMaxRetries: 1 },
    TransformInput: {
      ContentType: "application/jsonlines",
      SplitType: "Line",
      DataSource: { S3DataSource: { S3DataType: "S3Prefix", S3Uri: `${f.home.artefactsUri}lines/` } },
    },
    TransformOutput: { S3OutputPath: `${f.home.artefactsUri}answers/`, AssembleWith: "Line" },
    TransformResources: { InstanceType: "ml.g5.4xlarge", InstanceCount: 1 },
    ...more,
  });
}

async function failureOf(work: Promise<unknown>) {
  const error = await work.then(
    () => new Error("the job succeeded"),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof StatesError)) throw error;
  return { error: error.error, cause: error.cause?.startsWith("{") ? JSON.parse(error.cause) : error.cause };
}

describe("a transform job", () => {
  test("starts the image's server with the model's environment and sends it a record at a time", async () => {
    const f = fixture();
    await createModel(model(), f.bindings);
    const request = transform(f, { "0.jsonl": '{"shard": 0}\n{"shard": 2}\n', "1.jsonl": '{"shard": 1}\n' });
    const detail = await createTransformJob(request, f.bindings);
    expect(detail).toMatchObject({ TransformJobName: "infer-1", TransformJobStatus: "Completed" });
    expect(request.submissions).toMatchObject([{ TransformJobArn: detail.TransformJobArn }]);
    const answers = (name: string) => readFileSync(path.join(f.home.artefacts, "answers", name), "utf8");
    const task = "file:///tasks/infer-x.json";
    expect(
      answers("0.jsonl.out")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line)),
    ).toEqual([
      { got: { shard: 0 }, task },
      { got: { shard: 2 }, task },
    ]);
    expect(answers("1.jsonl.out")).toContain('{"shard": 1}');
  });

  test.each([
    ["answers with an error as often as it is asked", '{"fail": 1}\n', /answered 500/],
    ["ends", '{"die": 1, "fail": 1}\n', /ended with exit code 7|did not answer/],
  ])("fails when the container %s", async (_what, line, reason) => {
    const f = fixture();
    await createModel(model(), f.bindings);
    const failure = await failureOf(createTransformJob(transform(f, { "0.jsonl": line }), f.bindings));
    expect(failure).toMatchObject({ error: "States.TaskFailed", cause: { TransformJobStatus: "Failed" } });
    expect(failure.cause.FailureReason).toMatch(reason);
  });

  test("says in SageMaker's words that it has no instance", async () => {
    const f = fixture(TWO_CORES, { faults: new Faults(["no-capacity@infer"]) });
    await createModel(model(), f.bindings);
    const failure = await failureOf(createTransformJob(transform(f, {}), f.bindings));
    expect(failure.cause.FailureReason).toMatch(/^CapacityError: Unable to provision/);
  });

  test("has a model that can be deleted once, and then made again", async () => {
    const f = fixture();
    const deletion = () => deleteModel(call("aws-sdk:sagemaker:deleteModel", { ModelName: "infer-1" }), f.bindings);
    await createModel(model(), f.bindings);
    expect(await deletion()).toEqual({});
    expect(await failureOf(deletion())).toMatchObject({
      error: "SageMaker.SageMakerException",
      cause: expect.stringContaining('Could not find model "infer-1"'),
    });
    expect((await failureOf(createTransformJob(transform(f, {}), f.bindings))).cause).toContain("Could not find model");
    await createModel(model(), f.bindings);
  });

  test("is refused without its model, under a name that was used before, and on a type that transform does not take", async () => {
    const f = fixture();
    expect((await failureOf(createTransformJob(transform(f, {}), f.bindings))).cause).toContain("Could not find model");
    await createModel(model(), f.bindings);
    expect((await failureOf(createModel(model(), f.bindings))).cause).toContain("already existing model");
    const p5 = { TransformResources: { InstanceType: "ml.p5.48xlarge", InstanceCount: 1 } };
    expect((await failureOf(createTransformJob(transform(f, {}, p5), f.bindings))).cause).toContain("InstanceType");
    await createTransformJob(transform(f, { "0.jsonl": "{}\n" }), f.bindings);
    expect((await failureOf(createTransformJob(transform(f, {}), f.bindings))).cause).toContain("ResourceInUse");
  });
});
