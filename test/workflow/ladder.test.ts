// The capacity ladder: what AWS says of jobs drives the committed state machine through every branch of it.
import { describe, expect, it } from "vitest";
import { problemsOf, reportInput, reserveInput, settleInput } from "../../lib/contracts/index.ts";
import { StatesError, type TaskRequest } from "../../lib/local/asl/index.ts";
import { arrayParent, BATCH, failedChildren, multiNodeParent, TRAINING, TRANSFORM } from "./aws-jobs.ts";
import { LADDERS, recordedEdges, redriven, run, withLadders } from "./ladders.ts";
import { anEngine, aPlan, aRequest, aTraining, failing, planned } from "./run.ts";

const TASK_FAILED = "States.TaskFailed";
/** Fails on the first rungs, and is then done. */
const onRungs =
  (...causes: (string | undefined)[]) =>
  ({ arguments: given }: TaskRequest) => {
    const name = JSON.stringify(given);
    const rung = Number(/-k(\d)-r\d-d\d/.exec(name)?.[1]);
    const cause = causes[rung];
    if (cause !== undefined) throw new StatesError(TASK_FAILED, cause);
    return {};
  };
const refusing =
  (rungs: RegExp) =>
  ({ arguments: given }: TaskRequest) => {
    const { rung } = (given as { Payload: { rung: string } }).Payload;
    const reason = { code: "OverBudget", message: `${rung} can cost 99.00 USD.`, remedy: "Raise maxUsd." };
    return {
      Payload: rungs.test(rung) ? { granted: false, reservedUsd: 99, reason } : { granted: true, reservedUsd: 1 },
    };
  };

describe("a rung without a machine", () => {
  const ARRAYS = ["Ingest", "Preprocess", "Infer"];
  const HOST_LOST = "Host EC2 (instance i-1) terminated.";
  const PARENT = { ArrayJobId: "876da822-4198-45f2-a252-6cea32512ea8", JobStatus: "FAILED", MaxResults: 100 };
  /** Pages of failed children, by the token that leads to each. */
  const pagesOf =
    (pages: readonly (readonly string[])[]) =>
    ({ arguments: given }: TaskRequest) => {
      const page = Number((given as { NextToken?: string }).NextToken ?? 0);
      const more = page + 1 < pages.length ? { NextToken: String(page + 1) } : {};
      return { ...failedChildren(...pages[page]!), ...more };
    };

  it.each([
    ["no instance in its time", BATCH.noCapacity, "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY"],
    ["a queue that cannot hold the job", BATCH.queueTooSmall, "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE"],
    ["a host that was reclaimed too often", BATCH.hostLost, "Host EC2 (instance i-0bbd6dd7ee7fdd7b1) terminated."],
  ])("of a job: %s falls to the next, and the reason is kept", async (_what, cause, reason) => {
    const { result, reported, argumentsOf } = await run({ Compile: onRungs(cause) });
    expect(result.status).toBe("SUCCEEDED");
    expect(reported?.failures).toEqual([]);
    expect(reported?.falls).toEqual([
      {
        stage: "compile",
        taskId: "compile-fold0-dali-torch",
        rung: "spot-p5.4xlarge",
        reason: expect.stringContaining(reason),
        next: "on-demand-p5.4xlarge",
      },
    ]);
    expect(problemsOf(reportInput, reported)).toEqual([]);
    const [spot, onDemand] = argumentsOf("Compile");
    expect([spot?.JobQueue, onDemand?.JobQueue]).toEqual(["SpotQueue", "OnDemandQueue"]);
    expect(String(spot?.JobName)).not.toBe(String(onDemand?.JobName));
  });

  it.each(ARRAYS)("of the array %s falls when every failed child had none", async (state) => {
    const lost = JSON.parse(BATCH.noCapacity).StatusReason as string;
    const { result, reported, argumentsOf } = await run({
      [state]: onRungs(arrayParent(2)),
      [`${state}Children`]: failedChildren(lost, "Host EC2 (instance i-1) terminated."),
    });
    expect(result.status).toBe("SUCCEEDED");
    expect(reported?.falls).toMatchObject([{ stage: state.toLowerCase(), reason: lost }]);
    expect(argumentsOf(`${state}Children`)).toEqual([PARENT]);
  });

  it("of an array does not fall when a child failed by itself: it would fail again", async () => {
    const { reported, argumentsOf } = await run({
      Infer: onRungs(arrayParent(2)),
      InferChildren: failedChildren("Host EC2 (instance i-1) terminated.", "Essential container in task exited"),
    });
    expect(argumentsOf("Infer")).toHaveLength(1);
    expect(reported?.falls).toEqual([]);
    expect(reported?.failures).toMatchObject([{ stage: "infer", error: TASK_FAILED }]);
  });

  it.each(ARRAYS)(
    "of the array %s with more failed children than a page has falls when those of every page lost their hosts",
    async (state) => {
      const pages = pagesOf([Array(100).fill(HOST_LOST), Array(100).fill(HOST_LOST), [HOST_LOST], []]);
      const { result, reported, argumentsOf } = await run({
        [state]: onRungs(arrayParent(201, 300)),
        [`${state}Children`]: pages,
        [`${state}MoreChildren`]: pages,
      });
      expect(result.status).toBe("SUCCEEDED");
      expect(reported?.falls).toMatchObject([{ stage: state.toLowerCase(), reason: HOST_LOST }]);
      expect(argumentsOf(`${state}Children`)).toEqual([PARENT]);
      expect(argumentsOf(`${state}MoreChildren`)).toEqual(
        ["1", "2", "3"].map((NextToken) => ({ ...PARENT, NextToken })),
      );
    },
  );

  it.each(ARRAYS)(
    "of the array %s does not fall when a child of a later page failed by itself, and looks no further",
    async (state) => {
      const pages = pagesOf([[HOST_LOST], [HOST_LOST, "Essential container in task exited"], [HOST_LOST]]);
      const { reported, argumentsOf } = await run({
        [state]: onRungs(arrayParent(4, 300)),
        [`${state}Children`]: pages,
        [`${state}MoreChildren`]: pages,
      });
      expect(reported?.falls).toEqual([]);
      expect(reported?.failures).toMatchObject([{ stage: state.toLowerCase(), error: TASK_FAILED }]);
      expect(argumentsOf(`${state}MoreChildren`)).toHaveLength(1);
    },
  );

  it.each(ARRAYS)(
    "of the array %s fails as its parent did when a later page of its children cannot be had",
    async (state) => {
      const { reported } = await run({
        [state]: onRungs(arrayParent(200, 300)),
        [`${state}Children`]: pagesOf([[HOST_LOST], [HOST_LOST]]),
        [`${state}MoreChildren`]: failing("Batch.ClientException", "Rate exceeded"),
      });
      expect(reported?.falls).toEqual([]);
      expect(reported?.failures).toMatchObject([{ stage: state.toLowerCase(), error: TASK_FAILED }]);
    },
  );

  it("of an array is looked into for as many pages as Batch's largest array fills, and no more", async () => {
    const endless = () => ({ ...failedChildren(HOST_LOST), NextToken: "again" });
    const { reported, argumentsOf } = await run({
      Infer: onRungs(arrayParent(10_000, 10_000)),
      InferChildren: endless,
      InferMoreChildren: endless,
    });
    expect(argumentsOf("InferMoreChildren")).toHaveLength(99);
    expect(reported?.falls).toMatchObject([{ stage: "infer", reason: HOST_LOST }]);
  });

  it("of an array does not fall when a child failed without a word", async () => {
    const silent = failedChildren(HOST_LOST, "");
    Reflect.deleteProperty(silent.JobSummaryList[1]!, "StatusReason");
    const { reported } = await run({ Infer: onRungs(arrayParent(2)), InferChildren: silent });
    expect(reported?.falls).toEqual([]);
  });

  it.each(ARRAYS)("of the array %s fails as its parent did when its children cannot be asked", async (state) => {
    const { reported } = await run({
      [state]: onRungs(arrayParent(1)),
      [`${state}Children`]: failing("Batch.ClientException", "Rate exceeded"),
    });
    expect(reported?.failures).toMatchObject([{ stage: state.toLowerCase(), error: TASK_FAILED }]);
    expect(JSON.parse(reported?.failures[0]?.cause ?? "").ArrayProperties.StatusSummary.FAILED).toBe(1);
  });

  it.each([
    ["no capacity", TRAINING.noCapacity, /^CapacityError/],
    ["insufficient capacity, as it is called elsewhere", TRAINING.insufficientCapacity, /^InsufficientCapacity/],
    ["no spot instance in its time", TRAINING.noSpot, /^MaxWaitTimeExceeded$/],
    ["an interruption", TRAINING.interrupted, /^Interrupted$/],
  ])("of a training: %s falls to the next", async (_what, cause, reason) => {
    const { result, reported, argumentsOf } = await run({ Train: onRungs(cause) });
    expect(result.status).toBe("SUCCEEDED");
    expect(reported?.falls).toMatchObject([
      { stage: "train", taskId: "train-fold0-dali", next: "on-demand-ml.p5.4xlarge" },
    ]);
    expect(reported?.falls?.[0]?.reason).toMatch(reason);
    expect(argumentsOf("Train").map((given) => given.EnableManagedSpotTraining)).toEqual([true, false]);
  });

  it.each([TRAINING.quota, TRAINING.onDemandQuota])(
    "of a training that the account has no quota for falls too: %s",
    async (cause) => {
      const { reported, argumentsOf } = await run({
        Train: (task: TaskRequest) => {
          if ((task.arguments as { EnableManagedSpotTraining: boolean }).EnableManagedSpotTraining)
            throw new StatesError("SageMaker.ResourceLimitExceededException", cause);
          return {};
        },
      });
      expect(argumentsOf("Train")).toHaveLength(2);
      expect(reported?.falls).toMatchObject([
        { stage: "train", reason: expect.stringContaining("ml.p5.48xlarge for") },
      ]);
    },
  );

  it.each([
    ["a type that is not offered as spot", TRAINING.noSpotOfType],
    ["a type that the region does not have", TRAINING.notInRegion],
    ["a type that is not supported", TRAINING.notSupported],
    ["a type that it never had", TRAINING.unsupportedType],
    ["a training plan that is over", TRAINING.planIsOver],
  ])("of a training falls when SageMaker refuses %s", async (_what, cause) => {
    const { result, reported } = await run({
      Train: (task: TaskRequest) => {
        if (JSON.stringify(task.arguments).includes("-k0-"))
          throw new StatesError("SageMaker.AmazonSageMakerException", cause);
        return {};
      },
    });
    expect(result.status).toBe("SUCCEEDED");
    expect(reported?.falls).toMatchObject([{ stage: "train", reason: cause.slice(0, 160) }]);
  });

  it.each([
    [
      "is about a data set of that name",
      "SageMaker.AmazonSageMakerException",
      "No S3 objects found under s3://artefacts/runs/spot-lesions-0123456789ab-1/ (Service: SageMaker, Status Code: 400)",
    ],
    ["is the state machine's own", "States.QueryEvaluationError", "EnableManagedSpotTraining: nothing is reserved"],
  ])("of a training stays where a refusal that says spot %s", async (_what, error, cause) => {
    const { reported } = await run({ Train: failing(error, cause) });
    expect(reported).toMatchObject({ falls: [], failures: [{ stage: "train", error }] });
  });

  it("of a transform falls to the Batch array behind it", async () => {
    const { result, reported, allTasks } = await run(
      { InferTransform: failing(TASK_FAILED, TRANSFORM.noCapacity) },
      aRequest(),
      withLadders({ infer: LADDERS.inferWithTransform }),
    );
    expect(result.status).toBe("SUCCEEDED");
    expect(reported?.falls).toMatchObject([{ rung: "smaller-gpu-g5.4xlarge-transform", next: "spot-p5.4xlarge" }]);
    expect(allTasks.slice(allTasks.indexOf("InferModel"))).toEqual([
      "InferModel",
      "InferTransform",
      "InferDeleteModel",
      "InferSettle",
      "InferReserve",
      "Infer",
      "InferSettle",
      "Report",
      "Notify",
    ]);
  });

  it("of a multi-node training falls to the next as well, and keeps how many nodes it wanted", async () => {
    const ladder = [LADDERS.cluster("reservation"), LADDERS.cluster("on-demand")];
    const plan = aPlan({ trainings: [aTraining("fold0", "ddp", { gpus: 16, nodes: 2 })] });
    const { reported, argumentsOf } = await run(
      { Plan: planned(plan), TrainOnCluster: onRungs(multiNodeParent("Host EC2 (instance i-1) terminated.")) },
      aRequest(),
      withLadders({ train: ladder }),
    );
    expect(argumentsOf("TrainOnCluster").map((given) => given.NodeOverrides)).toMatchObject([
      { NumNodes: 2 },
      { NumNodes: 2 },
    ]);
    expect(reported?.falls).toMatchObject([
      { rung: "reservation-p5.48xlarge-cluster", next: "on-demand-p5.48xlarge-cluster" },
    ]);
  });

  it("leaves the run without capacity when it is the last, naming what each of them said", async () => {
    const { reported } = await run({ Compile: failing(TASK_FAILED, BATCH.noCapacity) });
    expect(reported?.failures).toMatchObject([
      { stage: "compile", taskId: "compile-fold0-dali-torch", error: "NoCapacity" },
    ]);
    const { errorMessage } = JSON.parse(reported?.failures[0]?.cause ?? "");
    expect(errorMessage).toMatch(
      /^No machine could be had or kept: spot-p5\.4xlarge \(Canceled.*on-demand-p5\.4xlarge \(/,
    );
    expect(reported?.falls?.map(({ next }) => next)).toEqual(["on-demand-p5.4xlarge", undefined]);
  });
});

describe("a job that failed by itself", () => {
  it.each([
    ["a stage's error", BATCH.stageFailed],
    ["too little memory", BATCH.outOfMemory],
    ["an image that is not there", BATCH.imageMissing],
    ["an attempt that took too long", BATCH.timedOut],
    ["a person who terminated it", BATCH.terminated],
  ])("is not tried on another rung: %s", async (_what, cause) => {
    const { reported, argumentsOf, allTasks } = await run({ Compile: failing(TASK_FAILED, cause) });
    expect(argumentsOf("Compile")).toHaveLength(1);
    expect(reported?.falls).toEqual([]);
    expect(reported?.failures).toMatchObject([{ stage: "compile", error: TASK_FAILED }]);
    expect(allTasks).toContain("CompileSettle");
  });

  it("of Batch keeps the exit code and the reason of its container", async () => {
    const { reported } = await run({ Compile: failing(TASK_FAILED, BATCH.outOfMemory) });
    expect(JSON.parse(reported?.failures[0]?.cause ?? "")).toMatchObject({
      StatusReason: "Essential container in task exited",
      Container: { ExitCode: 137, Reason: "OutOfMemoryError: Container killed due to memory usage" },
    });
  });

  it("of several nodes keeps their number", async () => {
    const { reported } = await run(
      { TrainOnCluster: failing(TASK_FAILED, multiNodeParent("Essential container in task exited")) },
      aRequest(),
      withLadders({ train: [LADDERS.cluster("on-demand")] }),
    );
    expect(JSON.parse(reported?.failures[0]?.cause ?? "").NodeProperties).toEqual({ NumNodes: 2, MainNode: 0 });
  });

  it.each([
    ["its own error", TASK_FAILED, TRAINING.stageFailed],
    ["its time limit", TASK_FAILED, TRAINING.tooLong],
    ["a request that SageMaker refuses", "SageMaker.AmazonSageMakerException", TRAINING.invalid],
  ])("ends a training: %s", async (_what, error, cause) => {
    const { reported, argumentsOf } = await run({ Train: failing(error, cause) });
    expect(new Set(argumentsOf("Train").map((given) => given.EnableManagedSpotTraining))).toEqual(new Set([true]));
    expect(reported?.failures).toMatchObject([{ stage: "train", error }]);
  });

  it("ends a training on reserved capacity too, although its description names the plan", async () => {
    const cause = JSON.stringify({
      ...JSON.parse(TRAINING.stageFailed),
      ResourceConfig: LADDERS.trainingPlan.ResourceConfig,
    });
    const ladders = withLadders({ train: [LADDERS.trainingPlan, LADDERS.warm] });
    const { argumentsOf } = await run({ Train: failing(TASK_FAILED, cause) }, aRequest(), ladders);
    expect(argumentsOf("Train")).toHaveLength(1);
  });

  it.each([
    ["InferModel", "SageMaker.AmazonSageMakerException", TRAINING.invalid],
    ["InferTransform", TASK_FAILED, TRANSFORM.stageFailed],
  ])("ends a transform: %s", async (state, error, cause) => {
    const { reported, argumentsOf } = await run(
      { [state]: failing(error, cause) },
      aRequest(),
      withLadders({ infer: LADDERS.inferWithTransform }),
    );
    expect(reported?.falls).toEqual([]);
    expect(reported?.failures).toMatchObject([{ stage: "infer", taskId: "infer-fold0-dali-torch", error }]);
    // What was not made is not deleted.
    expect(argumentsOf("InferDeleteModel")).toHaveLength(state === "InferModel" ? 0 : 1);
  });
});

describe("a state that timed out", () => {
  /** Settle answers so often that the job is still stopping. */
  const stoppingFor = (calls: number) => {
    let left = calls;
    return () => ({ Payload: { settled: left-- <= 0, usd: 1 } });
  };
  const late =
    (state: string) =>
    ({ arguments: given }: TaskRequest) => {
      if (JSON.stringify(given).includes("-k0-")) throw new StatesError("States.Timeout", undefined);
      return state;
    };

  it("has its job stopped and waits until it has ended before the next rung starts", async () => {
    const { allTasks, slept, reported } = await run({ Compile: late("ok"), CompileSettle: stoppingFor(3) });
    const compile = allTasks.filter((name) => name.startsWith("Compile"));
    expect(compile).toEqual([
      "CompileReserve",
      "Compile",
      ...Array(4).fill("CompileSettle"),
      "CompileReserve",
      "Compile",
      "CompileSettle",
    ]);
    expect(slept.filter((milliseconds) => milliseconds === 30_000)).toHaveLength(3);
    expect(reported?.falls).toMatchObject([{ reason: "It had not ended in its time." }]);
  });

  it("ends the task when its job does not stop", async () => {
    const { argumentsOf, reported, slept } = await run({ Compile: late("ok"), CompileSettle: stoppingFor(1_000) });
    expect(argumentsOf("Compile")).toHaveLength(1);
    expect(slept.filter((milliseconds) => milliseconds === 30_000)).toHaveLength(20);
    expect(reported?.failures).toMatchObject([{ stage: "compile", error: "States.Timeout" }]);
  });

  it("starts nothing else when the ledger cannot say whether its job has ended", async () => {
    const { argumentsOf, reported } = await run({
      Compile: late("ok"),
      CompileSettle: failing("TableMissing", JSON.stringify({ errorType: "TableMissing", errorMessage: "No table." })),
    });
    expect(argumentsOf("Compile")).toHaveLength(1);
    expect(reported?.failures).toMatchObject([{ stage: "compile", error: "TableMissing" }]);
  });

  it("of any stage does the same", async () => {
    const stages = ["Ingest", "Preprocess", "Train", "Compile", "Infer"];
    const { result, argumentsOf, reported } = await run(
      Object.fromEntries(
        stages.flatMap((stage) => [
          [stage, late("ok")],
          [`${stage}Settle`, stoppingFor(1)],
        ]),
      ),
    );
    expect(result.status).toBe("SUCCEEDED");
    for (const stage of stages) expect(argumentsOf(stage), stage).toHaveLength(2);
    expect(argumentsOf("InferChildren")).toHaveLength(0);
    expect(reported?.falls?.map(({ stage }) => stage)).toEqual(["ingest", "preprocess", "train", "compile", "infer"]);
  });
});

describe("the ledger", () => {
  it("is asked before every job and told after it, in calls that its contract takes", async () => {
    const { allTasks, argumentsOf } = await run();
    for (const stage of ["Ingest", "Preprocess", "Train", "Compile", "Infer"]) {
      const at = allTasks.indexOf(stage);
      expect([allTasks[at - 1], allTasks[at + 1]]).toEqual([`${stage}Reserve`, `${stage}Settle`]);
      expect(problemsOf(reserveInput, argumentsOf(`${stage}Reserve`)[0]?.Payload)).toEqual([]);
      expect(problemsOf(settleInput, argumentsOf(`${stage}Settle`)[0]?.Payload)).toEqual([]);
    }
  });

  it("is given what bounds the job: the very limits that the job is started with", async () => {
    const plan = aPlan({
      preprocess: { taskKey: "t", missing: 5, shards: 4, seconds: 2_000 },
      trainings: [
        aTraining("fold0", "dali", {
          engines: [{ ...anEngine("fold0-dali", "torch"), compileSeconds: 2_400, inferSeconds: 3_000 }],
        }),
      ],
    });
    const { argumentsOf } = await run({ Plan: planned(plan) }, aRequest({ ingestSeconds: 700 }));
    const jobOf = (stage: string) => (argumentsOf(`${stage}Reserve`)[0]!.Payload as unknown as { job: object }).job;
    const batch = { service: "batch", attempts: 3, waitSeconds: 3600 };
    expect(jobOf("Ingest")).toEqual({
      ...batch,
      name: "ingest-hippocampus-0123456789ab-1-k0-*",
      queue: "CpuQueue",
      instanceType: "r6id.32xlarge",
      children: 3,
      childrenPerInstance: 64,
      attemptSeconds: 700,
    });
    expect(jobOf("Preprocess")).toMatchObject({ ...batch, children: 4, childrenPerInstance: 1, attemptSeconds: 2_000 });
    expect(jobOf("Compile")).toMatchObject({ ...batch, children: 1, attemptSeconds: 2_400 });
    expect(jobOf("Infer")).toMatchObject({ ...batch, children: 2, attemptSeconds: 3_000 });
    expect(jobOf("Train")).toMatchObject({ service: "training", attempts: 1, children: 1, attemptSeconds: 600 });
    for (const stage of ["Ingest", "Preprocess", "Compile", "Infer"]) {
      const given = argumentsOf(stage)[0] as unknown as {
        JobName: string;
        Timeout: { AttemptDurationSeconds: number };
      };
      const job = jobOf(stage) as { name: string; attemptSeconds: number };
      expect(given.Timeout.AttemptDurationSeconds).toBe(job.attemptSeconds);
      expect(given.JobName.startsWith(job.name.slice(0, -1)), job.name).toBe(true);
    }
    const [train] = argumentsOf("Train") as unknown as { TrainingJobName: string }[];
    expect(train?.TrainingJobName.startsWith((jobOf("Train") as { name: string }).name.slice(0, -1))).toBe(true);
  });

  it("counts the instances of a transform, and its time in place of attempts", async () => {
    const { argumentsOf } = await run({}, aRequest(), withLadders({ infer: LADDERS.inferWithTransform }));
    const { job } = argumentsOf("InferReserve")[0]!.Payload as unknown as { job: Record<string, unknown> };
    expect(job).toMatchObject({ service: "transform", children: 2, childrenPerInstance: 1, attempts: 1 });
    expect(argumentsOf("InferTransform")[0]?.TransformJobName).toMatch(
      new RegExp(`^${String(job.name).slice(0, -1)}r0-d0$`),
    );
  });

  it("that refuses a rung leaves it to the next, which may be cheaper", async () => {
    const { result, argumentsOf, reported } = await run({ CompileReserve: refusing(/^spot-/) });
    expect(result.status).toBe("SUCCEEDED");
    expect(argumentsOf("Compile").map((given) => given.JobQueue)).toEqual(["OnDemandQueue"]);
    expect(reported?.falls).toMatchObject([{ rung: "spot-p5.4xlarge", reason: "spot-p5.4xlarge can cost 99.00 USD." }]);
  });

  it("that refuses the last rung fails the task as over budget, with the estimate and what to do", async () => {
    const { argumentsOf, reported } = await run({
      CompileReserve: refusing(/./),
    });
    expect(argumentsOf("Compile")).toHaveLength(0);
    expect(argumentsOf("CompileSettle")).toHaveLength(0);
    expect(reported?.failures).toMatchObject([{ stage: "compile", error: "OverBudget" }]);
    const { errorMessage } = JSON.parse(reported?.failures[0]?.cause ?? "");
    expect(JSON.parse(errorMessage)).toEqual({
      schema: 1,
      stage: "compile",
      taskId: "compile-fold0-dali-torch",
      code: "OverBudget",
      message: "on-demand-p5.4xlarge can cost 99.00 USD.",
      remedy: "Raise maxUsd.",
    });
  });

  it.each(["Ingest", "Preprocess", "Train", "Compile", "Infer"])(
    "that refuses every rung of %s, or does not answer, fails that stage alone",
    async (stage) => {
      const refused = await run({
        [`${stage}Reserve`]: refusing(/./),
      });
      expect(refused.argumentsOf(stage)).toHaveLength(0);
      expect(refused.reported?.failures).toMatchObject([{ stage: stage.toLowerCase(), error: "OverBudget" }]);
      const silent = await run({ [`${stage}Reserve`]: failing("Lambda.Unknown", "{}") });
      expect(silent.argumentsOf(stage)).toHaveLength(0);
      expect(silent.reported?.failures).toMatchObject([{ stage: stage.toLowerCase(), error: "Lambda.Unknown" }]);
    },
  );

  it("that does not answer lets nothing start", async () => {
    const cause = JSON.stringify({ errorType: "PriceUnknown", errorMessage: "No price." });
    const { tasks, reported } = await run({ IngestReserve: failing("PriceUnknown", cause) });
    expect(tasks).toEqual(["Report", "Notify"]);
    expect(reported?.failures).toEqual([{ stage: "ingest", taskId: "ingest", error: "PriceUnknown", cause }]);
  });

  it("is asked again while an earlier try of the job is still stopping", async () => {
    const { result, argumentsOf } = await run({
      CompileReserve: ({ attempt }: TaskRequest) => {
        if (attempt < 3) throw new StatesError("JobStopping", "{}");
        return { Payload: { granted: true, reservedUsd: 1 } };
      },
    });
    expect(argumentsOf("CompileReserve")).toHaveLength(4);
    expect(result.status).toBe("SUCCEEDED");
  });

  it("that fails after a job is done changes nothing: the guard settles it", async () => {
    const { result } = await run({ CompileSettle: failing("Lambda.Unknown", "{}") });
    expect(result.status).toBe("SUCCEEDED");
  });
});

describe("the rungs of a task", () => {
  const kindsOf = async (rungs: ("reservation" | "spot" | "on-demand" | "smaller-gpu")[]) => {
    const { argumentsOf, reported } = await run(
      {
        Plan: planned(aPlan({ rungs })),
        Preprocess: failing(TASK_FAILED, BATCH.noCapacity),
      },
      aRequest(),
      withLadders({ preprocess: LADDERS.everyKind }),
    );
    return { queues: argumentsOf("Preprocess").map((given) => given.JobQueue), reported };
  };

  it("are those that the recipe allows, in the recipe's order", async () => {
    expect((await kindsOf(["on-demand", "spot"])).queues).toEqual(["OnDemandQueue", "SpotQueue"]);
    expect((await kindsOf(["smaller-gpu", "reservation"])).queues).toEqual(["SmallerQueue", "ReservationQueue"]);
  });

  it("are missing where the deployment has none of them: the task says so", async () => {
    const { reported } = await run({ Plan: planned(aPlan({ rungs: ["reservation"] })) });
    expect(reported?.failures).toMatchObject([{ stage: "preprocess", error: "NoCapacity" }]);
    expect(JSON.parse(reported?.failures[0]?.cause ?? "").errorMessage).toMatch(/no rung that suits/);
  });

  it("leave out a smaller GPU for engines that are compiled for one GPU", async () => {
    const ladders = withLadders({ compile: LADDERS.everyKind, infer: LADDERS.everyKind });
    const withEngine = (engine: "torch" | "tensorrt") =>
      run(
        {
          Plan: planned(
            aPlan({
              rungs: ["smaller-gpu", "on-demand"],
              trainings: [aTraining("fold0", "dali", { engines: [anEngine("fold0-dali", engine)] })],
            }),
          ),
        },
        aRequest(),
        ladders,
      );
    expect((await withEngine("torch")).argumentsOf("Compile")[0]?.JobQueue).toBe("SmallerQueue");
    const tensorrt = await withEngine("tensorrt");
    expect(tensorrt.argumentsOf("Compile")[0]?.JobQueue).toBe("OnDemandQueue");
    expect(tensorrt.argumentsOf("Infer")[0]?.JobQueue).toBe("OnDemandQueue");
  });

  it("of a training are the service's that the recipe asks for", async () => {
    const batch = await run({ Plan: planned(aPlan({ trainOn: "batch" })) });
    expect(batch.tasks).toContain("TrainOnCluster");
    expect(batch.tasks).not.toContain("Train");
    expect((await run({ Plan: planned(aPlan({ trainOn: "sagemaker" })) })).tasks).toContain("Train");
  });

  it("of a training on several nodes are never on Spot", async () => {
    const plan = aPlan({ trainings: [aTraining("fold0", "ddp", { gpus: 2, nodes: 2 })] });
    const { argumentsOf } = await run({ Plan: planned(plan) });
    expect(argumentsOf("Train")).toMatchObject([
      { EnableManagedSpotTraining: false, ResourceConfig: { InstanceType: "ml.p5.4xlarge", InstanceCount: 2 } },
    ]);
  });
});

describe("what SageMaker is asked for", () => {
  it("is managed spot that waits and then runs, resumes from its checkpoints, and is retried by the service", async () => {
    const { argumentsOf } = await run();
    expect(argumentsOf("Train")[0]).toMatchObject({
      EnableManagedSpotTraining: true,
      StoppingCondition: { MaxRuntimeInSeconds: 600, MaxWaitTimeInSeconds: 4_200 },
      RetryStrategy: { MaximumRetryAttempts: 2 },
      CheckpointConfig: { S3Uri: expect.stringContaining("/checkpoints/") },
      Environment: { FI_PROVIDER: "efa", FI_EFA_USE_HUGE_PAGE: "0" },
    });
  });

  it("names no wait where there is no Spot, and a training plan or a warm pool where the rung has one", async () => {
    const ladders = withLadders({ train: [LADDERS.trainingPlan, LADDERS.warm] });
    const { argumentsOf } = await run({ Train: onRungs(TRAINING.noCapacity) }, aRequest(), ladders);
    const [plan, warm] = argumentsOf("Train");
    expect(plan).toMatchObject({
      EnableManagedSpotTraining: false,
      StoppingCondition: { MaxRuntimeInSeconds: 600 },
      ResourceConfig: { TrainingPlanArn: expect.stringContaining(":training-plan/"), InstanceCount: 1 },
    });
    expect(plan?.StoppingCondition).not.toHaveProperty("MaxWaitTimeInSeconds");
    expect(warm).toMatchObject({ ResourceConfig: { KeepAlivePeriodInSeconds: 1_800 } });
    const [, reserved] = argumentsOf("TrainReserve") as unknown as { Payload: { job: { attemptSeconds: number } } }[];
    expect(reserved?.Payload.job).toMatchObject({ attemptSeconds: 600, keepAliveSeconds: 1_800 });
  });

  it("says whose cost it is, since no stack does", async () => {
    const { argumentsOf } = await run({}, aRequest(), withLadders({ infer: LADDERS.inferWithTransform }));
    for (const [state, stage] of [
      ["Train", "train"],
      ["InferModel", "infer"],
      ["InferTransform", "infer"],
    ])
      expect(argumentsOf(state!)[0]?.Tags, state).toEqual([
        { Key: "application", Value: "voxelburst" },
        { Key: "voxelburst:run", Value: "hippocampus-0123456789ab-1" },
        { Key: "voxelburst:stage", Value: stage },
      ]);
  });

  it("deletes a transform's model after it, whatever becomes of the deletion", async () => {
    const refused = failing("SageMaker.SageMakerException", "Could not find model");
    for (const answers of [{}, { InferDeleteModel: refused }] as Parameters<typeof run>[0][]) {
      const { result, argumentsOf, allTasks, reported } = await run(
        answers,
        aRequest(),
        withLadders({ infer: LADDERS.inferWithTransform }),
      );
      const [transform] = argumentsOf("InferTransform");
      expect(new Set(argumentsOf("InferDeleteModel").map((given) => given.ModelName))).toEqual(
        new Set([transform?.ModelName]),
      );
      expect(allTasks.indexOf("InferDeleteModel")).toBe(allTasks.indexOf("InferTransform") + 1);
      expect(result.status).toBe("SUCCEEDED");
      expect(reported).toMatchObject({ failures: [], falls: [] });
    }
  });

  it("gives a rung with fewer GPUs than were planned for as much more time", async () => {
    const plan = aPlan({ trainings: [aTraining("fold0", "ddp", { gpus: 8, maxSeconds: 1_000 })] });
    const { argumentsOf } = await run({ Plan: planned(plan) });
    expect(argumentsOf("Train")[0]).toMatchObject({ StoppingCondition: { MaxRuntimeInSeconds: 8_000 } });
  });

  it("is a model without data and a transform of one record at a time, on an AMI that has a driver", async () => {
    const { argumentsOf } = await run({}, aRequest(), withLadders({ infer: LADDERS.inferWithTransform }));
    const [model] = argumentsOf("InferModel") as unknown as { ModelName: string; PrimaryContainer: object }[];
    expect(model?.PrimaryContainer).toMatchObject({
      Environment: { VOXELBURST_TASK: "s3://artefacts/runs/x/tasks/infer-fold0-dali-torch.json" },
    });
    expect(model?.PrimaryContainer).not.toHaveProperty("ModelDataUrl");
    const [transform] = argumentsOf("InferTransform");
    expect(transform).toMatchObject({
      ModelName: model?.ModelName,
      MaxConcurrentTransforms: 1,
      BatchStrategy: "SingleRecord",
      TransformInput: {
        SplitType: "Line",
        DataSource: {
          S3DataSource: {
            S3Uri: "s3://artefacts/runs/hippocampus-0123456789ab-1/tasks/infer-fold0-dali-torch.lines/",
          },
        },
      },
      TransformResources: {
        InstanceType: "ml.g5.4xlarge",
        InstanceCount: 2,
        TransformAmiVersion: "al2-ami-sagemaker-batch-gpu-535",
      },
    });
    const { MaxConcurrentTransforms, MaxPayloadInMB } = transform as unknown as Record<string, number>;
    expect(MaxConcurrentTransforms! * MaxPayloadInMB!).toBeLessThanOrEqual(100);
    // SageMaker gives up on a record after an hour at most.
    const { ModelClientConfig } = transform as unknown as { ModelClientConfig: Record<string, number> };
    expect(ModelClientConfig.InvocationsTimeoutInSeconds).toBeLessThanOrEqual(3_600);
  });
});

describe("a shortage", () => {
  it("that makes every task of a large run fall still leaves room to report: the first hundred falls", async () => {
    const trainings = ["fold0", "fold1", "fold2"].map((fold) =>
      aTraining(fold, "dali", {
        engines: (["torch", "inductor", "onnxruntime", "tensorrt"] as const).map((engine) =>
          anEngine(`${fold}-dali`, engine),
        ),
      }),
    );
    const many = Array.from({ length: 10 }, (_, at) => ({ ...LADDERS.everyKind[2]!, name: `on-demand-${at}` }));
    const { result, reported } = await run(
      {
        Plan: planned(aPlan({ trainings, trainConcurrency: 4 })),
        Compile: onRungs(...Array(9).fill(BATCH.noCapacity)),
      },
      aRequest(),
      withLadders({ compile: many }),
    );
    expect(result.status).toBe("SUCCEEDED");
    expect(reported?.falls).toHaveLength(100);
    expect(JSON.stringify(reported).length).toBeLessThan(256 * 1024);
  });
});

it("reserves at the price that the deployment gives the rung, and otherwise at the table's", async () => {
  const [reservation, onDemand] = LADDERS.everyKind;
  const ladders = withLadders({ infer: [{ ...reservation!, usdPerHour: 0.01 }], compile: [onDemand!] });
  const { argumentsOf } = await run({}, aRequest(), ladders);
  const priceOf = (stage: string) =>
    (argumentsOf(`${stage}Reserve`)[0]!.Payload as unknown as { job: { usdPerHour?: number } }).job.usdPerHour;
  expect([priceOf("Infer"), priceOf("Compile")]).toEqual([0.01, undefined]);
});

describe("a redrive, which begins at the job that was stopped", () => {
  it.each([
    ["Ingest", {}],
    ["Preprocess", {}],
    ["Compile", {}],
    ["Infer", {}],
    ["Train", {}],
    ["TrainOnCluster", { train: [LADDERS.cluster("on-demand")] }],
    ["InferModel", { infer: LADDERS.inferWithTransform }],
    ["InferTransform", { infer: LADDERS.inferWithTransform }],
  ])("reserves before it starts %s again, under a name of its own", async (state, ladders) => {
    const { result, allTasks, argumentsOf } = await redriven(state, withLadders(ladders));
    expect(result.status).toBe("SUCCEEDED");
    expect(allTasks[0]).toBe(`${state.replace(/OnCluster|Model|Transform/, "")}Reserve`);
    const [first] = argumentsOf(state) as unknown as Record<string, string>[];
    const { JobName, TrainingJobName, TransformJobName, ModelName } = first!;
    expect(JobName ?? TrainingJobName ?? TransformJobName ?? ModelName).toMatch(/-r0-d1$/);
  });

  it("of a transform takes the model that is there, and deletes it: no other is made", async () => {
    const machine = withLadders({ infer: LADDERS.inferWithTransform });
    const { allTasks, argumentsOf } = await redriven("InferTransform", machine);
    expect(allTasks.slice(0, 4)).toEqual(["InferReserve", "InferTransform", "InferDeleteModel", "InferSettle"]);
    const [transform] = argumentsOf("InferTransform");
    expect(transform?.ModelName).toMatch(/-r0-d0$/);
    expect(argumentsOf("InferDeleteModel")).toEqual([{ ModelName: transform?.ModelName }]);
  });

  it.each([
    ["ingest", LADDERS.everyKind[1]!],
    ["train", LADDERS.cluster("on-demand")],
    ["infer", LADDERS.everyKind[1]!],
  ])("lets a job of %s that cannot be evaluated fail, and does not reserve for ever", async (stage, rung) => {
    const { queue: _, ...noQueue } = rung;
    const { allTasks, reported } = await run({}, aRequest(), withLadders({ [stage]: [noQueue] }));
    expect(allTasks.filter((name) => name.toLowerCase() === `${stage}reserve`)).toHaveLength(1);
    expect(reported?.failures?.[0]).toMatchObject({ stage });
  });
});

// Last: it looks at what all tests above went through.
describe("these tests", () => {
  it("take every way that leads from a state of the ladder", () => {
    const { missed, known } = recordedEdges();
    expect(known).toBeGreaterThan(80);
    expect(missed).toEqual([]);
  });
});
