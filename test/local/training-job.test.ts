import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { StatesError } from "../../lib/local/asl/errors.ts";
import { Faults } from "../../lib/local/faults.ts";
import { folderUri } from "../../lib/local/home.ts";
import { createTrainingJob } from "../../lib/local/training-job.ts";
import { call, type Fixture, fixture, TWO_CORES } from "./fixture.ts";

/** Arrays of two cases, and a manifest that lists those of the first. */
function arrays(f: Fixture): { manifest: string; prefix: string } {
  const folder = path.join(f.home.artefacts, "preprocess");
  for (const hash of ["aa", "bb"]) {
    mkdirSync(path.join(folder, hash), { recursive: true });
    writeFileSync(path.join(folder, hash, "image.npy"), hash);
    writeFileSync(path.join(folder, hash, "meta.json"), "{}");
  }
  const manifest = path.join(f.home.artefacts, "arrays.manifest.json");
  writeFileSync(manifest, JSON.stringify([{ prefix: folderUri(folder) }, "aa/image.npy", "aa/meta.json"]));
  return { manifest: `${f.home.artefactsUri}arrays.manifest.json`, prefix: folderUri(folder) };
}

function training(f: Fixture, name: string, does = "", more: object = {}) {
  const { manifest } = arrays(f);
  return call("sagemaker:createTrainingJob.sync", {
    TrainingJobName: name,
    RoleArn: "role",
    AlgorithmSpecification: { TrainingImage: "image", TrainingInputMode: "File" },
    HyperParameters: { does },
    InputDataConfig: [
      { ChannelName: "arrays", DataSource: { S3DataSource: { S3DataType: "ManifestFile", S3Uri: manifest } } },
    ],
    CheckpointConfig: { S3Uri: `${f.home.artefactsUri}train/hash/checkpoints/` },
    OutputDataConfig: { S3OutputPath: `${f.home.artefactsUri}runs/x/sagemaker/` },
    ResourceConfig: { InstanceType: "ml.p5.4xlarge", InstanceCount: 1, VolumeSizeInGB: 500 },
    StoppingCondition: { MaxRuntimeInSeconds: 600 },
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
const seenBy = (f: Fixture, name: string) =>
  JSON.parse(readFileSync(path.join(f.run.mlFolder(name), "output", "data", "seen.json"), "utf8"));

describe("a training job", () => {
  test("finds SageMaker's directories, configuration and channels, and is described as DescribeTrainingJob does", async () => {
    const f = fixture();
    const request = training(f, "train-1");
    const detail = await createTrainingJob(request, f.bindings);
    expect(detail).toMatchObject({
      TrainingJobName: "train-1",
      TrainingJobStatus: "Completed",
      SecondaryStatus: "Completed",
      HyperParameters: { does: "" },
      TrainingTimeInSeconds: expect.any(Number),
    });
    expect(request.submissions).toMatchObject([{ TrainingJobArn: detail.TrainingJobArn }]);
    expect(seenBy(f, "train-1").files).toEqual(["aa/image.npy", "aa/meta.json"]);
    const resources = path.join(f.run.mlFolder("train-1"), "input", "config", "resourceconfig.json");
    expect(JSON.parse(readFileSync(resources, "utf8"))).toMatchObject({ current_host: "algo-1", hosts: ["algo-1"] });
  });

  test("takes every object below a prefix as a channel too", async () => {
    const f = fixture();
    const { prefix } = arrays(f);
    const channel = { ChannelName: "arrays", DataSource: { S3DataSource: { S3DataType: "S3Prefix", S3Uri: prefix } } };
    await createTrainingJob(training(f, "train-1", "", { InputDataConfig: [channel] }), f.bindings);
    expect(seenBy(f, "train-1").files).toEqual(["aa/image.npy", "aa/meta.json", "bb/image.npy", "bb/meta.json"]);
  });

  test("continues from the checkpoints of the job before it", async () => {
    const f = fixture();
    await createTrainingJob(training(f, "train-1"), f.bindings);
    await createTrainingJob(training(f, "train-2"), f.bindings);
    expect(seenBy(f, "train-2").before).toBe("x");
    const kept = path.join(f.home.artefacts, "train", "hash", "checkpoints", "step");
    expect(readFileSync(kept, "utf8")).toBe("xx");
  });

  test("that fails tells the first 1,024 characters of its failure file", async () => {
    const f = fixture();
    const failure = await failureOf(createTrainingJob(training(f, "train-1", "fail"), f.bindings));
    expect(failure).toMatchObject({ error: "States.TaskFailed", cause: { TrainingJobStatus: "Failed" } });
    expect(failure.cause.FailureReason).toMatch(/^AlgorithmError: y+, exit code: 1$/);
    expect(failure.cause.FailureReason).toHaveLength(1024);
  });

  test("that passes its time limit is stopped, as SageMaker says it", async () => {
    const f = fixture();
    const request = training(f, "train-1", "hang", { StoppingCondition: { MaxRuntimeInSeconds: 1 } });
    const failure = await failureOf(createTrainingJob(request, f.bindings));
    expect(failure.cause).toMatchObject({ TrainingJobStatus: "Stopped", SecondaryStatus: "MaxRuntimeExceeded" });
  });

  test("that passes its time limit writes its checkpoint first, in the time that SageMaker gives it", {
    retry: 3,
  }, async () => {
    const f = fixture();
    const request = training(f, "train-1", "checkpoint", { StoppingCondition: { MaxRuntimeInSeconds: 4 } });
    const failure = await failureOf(createTrainingJob(request, f.bindings));
    expect(failure.cause).toMatchObject({ TrainingJobStatus: "Stopped", SecondaryStatus: "MaxRuntimeExceeded" });
    const kept = path.join(f.home.artefacts, "train", "hash", "checkpoints", "step");
    expect(readFileSync(kept, "utf8")).toBe("x, stopped");
  });

  test("fails before it starts when an object of its channel is not there", async () => {
    const f = fixture();
    const request = training(f, "train-1");
    writeFileSync(
      path.join(f.home.artefacts, "arrays.manifest.json"),
      JSON.stringify([{ prefix: `${f.home.artefactsUri}preprocess/` }, "cc/image.npy"]),
    );
    const failure = await failureOf(createTrainingJob(request, f.bindings));
    expect(failure.cause.FailureReason).toMatch(/^ClientError: Data download failed.*cc\/image\.npy/);
    expect(existsSync(f.run.logFile("train-1"))).toBe(false);
  });

  test("on managed spot goes on from its checkpoint when its instance is reclaimed, within the job", async () => {
    const f = fixture(TWO_CORES, { faults: new Faults(["reclaim@train:2"]) });
    const spot = {
      EnableManagedSpotTraining: true,
      StoppingCondition: { MaxRuntimeInSeconds: 600, MaxWaitTimeInSeconds: 4_200 },
    };
    const detail = await createTrainingJob(training(f, "train-1", "work", spot), f.bindings);
    expect(detail.TrainingJobStatus).toBe("Completed");
    expect(seenBy(f, "train-1").before).toBe("xx");
  });

  test("is started again after an error of the service's own as often as its retry strategy says", async () => {
    const retries = { RetryStrategy: { MaximumRetryAttempts: 1 } };
    const once = fixture(TWO_CORES, { faults: new Faults(["reclaim@train"]) });
    const detail = await createTrainingJob(training(once, "train-1", "work", retries), once.bindings);
    expect(detail.TrainingJobStatus).toBe("Completed");
    const twice = fixture(TWO_CORES, { faults: new Faults(["reclaim@train:2"]) });
    const failure = await failureOf(createTrainingJob(training(twice, "train-1", "work", retries), twice.bindings));
    expect(failure.cause.FailureReason).toMatch(/^InternalServerError/);
  });

  test.each([
    ["managed spot without a wait", { EnableManagedSpotTraining: true }],
    ["a wait without spot", { StoppingCondition: { MaxRuntimeInSeconds: 600, MaxWaitTimeInSeconds: 700 } }],
    [
      "a wait that is shorter than the run",
      {
        EnableManagedSpotTraining: true,
        StoppingCondition: { MaxRuntimeInSeconds: 600, MaxWaitTimeInSeconds: 500 },
      },
    ],
    [
      "spot with a warm pool",
      {
        EnableManagedSpotTraining: true,
        StoppingCondition: { MaxRuntimeInSeconds: 600, MaxWaitTimeInSeconds: 700 },
        ResourceConfig: { InstanceType: "ml.g5.4xlarge", InstanceCount: 1, KeepAlivePeriodInSeconds: 60 },
      },
    ],
  ])("is refused with %s, as by SageMaker", async (_what, more) => {
    const f = fixture();
    expect((await failureOf(createTrainingJob(training(f, "t", "", more), f.bindings))).cause).toContain(
      "ValidationException",
    );
  });

  test("is refused under a name that was used before, and on two instances", async () => {
    const f = fixture();
    await createTrainingJob(training(f, "train-1"), f.bindings);
    const again = await failureOf(createTrainingJob(training(f, "train-1"), f.bindings));
    expect(again.error).toBe("SageMaker.AmazonSageMakerException");
    expect(again.cause).toContain("ResourceInUse");
    const two = { ResourceConfig: { InstanceType: "ml.p5.4xlarge", InstanceCount: 2, VolumeSizeInGB: 500 } };
    expect((await failureOf(createTrainingJob(training(f, "t", "", two), f.bindings))).cause).toContain(
      "InstanceCount",
    );
  });
});
