import { existsSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { StatesError } from "../../lib/local/asl/errors.ts";
import { listJobs, submitJob } from "../../lib/local/batch-job.ts";
import { type ChildSpec, runChild } from "../../lib/local/child.ts";
import { Faults } from "../../lib/local/faults.ts";
import { processesOf } from "../../lib/local/processes.ts";
import { call, fixture, job, linesOf, TWO_CORES } from "./fixture.ts";

/** The error of a failed task and its Cause as an object. */
async function failureOf(work: Promise<unknown>) {
  const error = await work.then(
    () => {
      throw new Error("the job succeeded");
    },
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof StatesError)) throw error;
  const cause = error.cause?.startsWith("{") ? JSON.parse(error.cause) : error.cause;
  return { error: error.error, cause };
}

describe("a plain job", () => {
  test("is one process, described as DescribeJobs does", async () => {
    const f = fixture();
    const note = path.join(f.folder, "note");
    const request = job("plain", ["note", note], {
      ContainerOverrides: { Command: ["note", note], Environment: [{ Name: "EXTRA", Value: "e" }] },
    });
    const detail = await submitJob(request, f.bindings);
    expect(detail).toMatchObject({
      JobName: "plain",
      Status: "SUCCEEDED",
      Container: { ExitCode: 0, LogStreamName: "plain", Command: ["note", note] },
      Attempts: [{ Container: { ExitCode: 0 }, StatusReason: "Essential container in task exited" }],
    });
    expect(detail.StoppedAt).toBeGreaterThanOrEqual(detail.StartedAt as number);
    expect(request.submissions).toMatchObject([{ JobName: "plain", JobId: detail.JobId }]);
    expect(linesOf(note)).toMatchObject([
      {
        AWS_BATCH_JOB_ID: detail.JobId,
        AWS_BATCH_JOB_ARRAY_INDEX: null,
        OMP_NUM_THREADS: "2",
        CUDA_VISIBLE_DEVICES: "",
        EXTRA: "e",
      },
    ]);
  });

  test("that fails raises States.TaskFailed with its description as Cause", async () => {
    const f = fixture();
    const failure = await failureOf(submitJob(job("bad", ["exit", "3"]), f.bindings));
    expect(failure).toMatchObject({
      error: "States.TaskFailed",
      cause: { Status: "FAILED", StatusReason: "Essential container in task exited", Container: { ExitCode: 3 } },
    });
  });

  test("is repeated as its retry strategy says, and its attempts are told apart", async () => {
    const f = fixture();
    const flag = path.join(f.folder, "flag");
    const retry = {
      RetryStrategy: {
        Attempts: 3,
        EvaluateOnExit: [
          { OnExitCode: "9*", Action: "RETRY" },
          { OnReason: "*", Action: "EXIT" },
        ],
      },
    };
    const detail = await submitJob(job("again", ["fail-once", flag, "9"], retry), f.bindings);
    expect(detail.Attempts).toMatchObject([{ Container: { ExitCode: 9 } }, { Container: { ExitCode: 0 } }]);
    const failure = await failureOf(submitJob(job("not-again", ["exit", "4"], retry), f.bindings));
    expect(failure.cause.Attempts).toHaveLength(1);
  });

  /** A process that has not begun by its limit knows no SIGTERM yet: on a busy machine that may take seconds. */
  const BUSY = { retry: 3 };
  // Batch's least is 60 s, too long for a test: the limit is put in below that check.
  const runLimited = (f: ReturnType<typeof fixture>, args: string[], limits: Partial<ChildSpec>) =>
    runChild({
      python: f.bindings.python,
      args: [...f.bindings.entry, ...args],
      cwd: f.folder,
      env: f.bindings.environment(1, [], {}),
      logFile: f.run.logFile("slow"),
      signal: new AbortController().signal,
      onProgress: () => undefined,
      ...limits,
    });

  test("that takes longer than an attempt may is killed, with Batch's reason", async () => {
    const began = Date.now();
    const end = await runLimited(fixture(), ["sleep", "30"], { timeoutSeconds: 0.3 });
    expect(end).toMatchObject({ endedBy: "timeout", exitCode: 137 });
    expect(Date.now() - began).toBeLessThan(5000);
  });

  test("that does not end in the grace after its time limit is killed", BUSY, async () => {
    const began = Date.now();
    const end = await runLimited(fixture(), ["stubborn", "30"], { timeoutSeconds: 3, timeoutGraceMs: 500 });
    expect(end).toMatchObject({ endedBy: "timeout", exitCode: 137 });
    expect(Date.now() - began).toBeGreaterThanOrEqual(3500);
    expect(Date.now() - began).toBeLessThan(15_000);
  });

  test("that is cancelled in that grace has still ended by its time limit", BUSY, async () => {
    const cancel = new AbortController();
    const work = runLimited(fixture(), ["stubborn", "30"], {
      timeoutSeconds: 3,
      timeoutGraceMs: 2000,
      signal: cancel.signal,
    });
    setTimeout(() => cancel.abort(), 3500);
    expect(await work).toMatchObject({ endedBy: "timeout", exitCode: 137 });
  });

  test("hands its progress and its error document on, and keeps everything in its log", async () => {
    const f = fixture();
    await failureOf(submitJob(job("talk", ["progress"]), f.bindings));
    expect(f.seen.progress).toMatchObject([{ stage: "ingest", done: 1, total: 2 }]);
    expect(f.seen.errors).toEqual([{ schema: 1, code: "Planted", message: "m", remedy: "r" }]);
    const log = readFileSync(f.run.logFile("talk"), "utf8");
    expect(log).toContain("plain text");
    expect(log).toContain("complaint");
  });
});

describe("an array", () => {
  test("gives each child its index, and runs no more at a time than there are cores", async () => {
    const f = fixture();
    const note = path.join(f.folder, "note");
    const detail = await submitJob(job("many", ["note", note], { ArrayProperties: { Size: 5 } }), f.bindings);
    expect(detail).toMatchObject({
      Status: "SUCCEEDED",
      ArrayProperties: { Size: 5, StatusSummary: { SUCCEEDED: 5, FAILED: 0 } },
    });
    const lines = linesOf(note) as unknown as {
      from: number;
      to: number;
      AWS_BATCH_JOB_ID: string;
      AWS_BATCH_JOB_ARRAY_INDEX: string;
      OMP_NUM_THREADS: string;
    }[];
    expect(lines.map((line) => line.AWS_BATCH_JOB_ARRAY_INDEX).sort()).toEqual(["0", "1", "2", "3", "4"]);
    expect(lines.every((line) => line.AWS_BATCH_JOB_ID === `${detail.JobId}:${line.AWS_BATCH_JOB_ARRAY_INDEX}`)).toBe(
      true,
    );
    expect(lines.every((line) => line.OMP_NUM_THREADS === "1")).toBe(true);
    const together = lines.map(({ from }) => lines.filter((other) => other.from <= from && from < other.to).length);
    expect(Math.max(...together)).toBe(2);
  });

  test("gives each child a GPU of its own where there are GPUs", async () => {
    const f = fixture({ cpus: 8, gpuIds: ["0", "3"], memoryMiB: 8192 });
    const note = path.join(f.folder, "note");
    await submitJob(job("gpus", ["note", note], { ArrayProperties: { Size: 4 } }), f.bindings);
    const lines = linesOf(note) as unknown as {
      from: number;
      to: number;
      CUDA_VISIBLE_DEVICES: string;
      OMP_NUM_THREADS: string;
    }[];
    expect(new Set(lines.map((line) => line.CUDA_VISIBLE_DEVICES))).toEqual(new Set(["0", "3"]));
    expect(lines.every((line) => line.OMP_NUM_THREADS === "4")).toBe(true);
    for (const line of lines)
      for (const other of lines)
        if (line !== other && line.CUDA_VISIBLE_DEVICES === other.CUDA_VISIBLE_DEVICES)
          expect(line.to <= other.from || other.to <= line.from).toBe(true);
  });

  test("runs its children one by one when two would not fit into memory", async () => {
    const f = fixture(undefined, { memoryMiBOf: async () => 5000 });
    const note = path.join(f.folder, "note");
    await submitJob(job("large", ["note", note], { ArrayProperties: { Size: 2 } }), f.bindings);
    const [first, second] = (linesOf(note) as unknown as { from: number; to: number; OMP_NUM_THREADS: string }[]).sort(
      (a, b) => a.from - b.from,
    );
    expect(first!.to).toBeLessThanOrEqual(second!.from);
    expect(first!.OMP_NUM_THREADS).toBe("2");
  });

  test("fails when a child fails, after all others have had their turn, and tells counts alone", async () => {
    const f = fixture();
    const flag = path.join(f.folder, "flag");
    const failure = await failureOf(
      submitJob(job("half", ["fail-once", flag, "1"], { ArrayProperties: { Size: 3 } }), f.bindings),
    );
    expect(failure).toMatchObject({
      error: "States.TaskFailed",
      cause: {
        Status: "FAILED",
        StatusReason: "Array Child Job failed",
        ArrayProperties: { StatusSummary: { FAILED: 1, SUCCEEDED: 2 } },
      },
    });
    expect(failure.cause).not.toHaveProperty("Container");
  });
});

describe("injected faults", () => {
  const injected = (spec: string) => fixture(undefined, { faults: new Faults([spec]) });
  const ingest = (f: ReturnType<typeof fixture>, name: string, ...rest: string[]) => {
    // The stand-in is told what to do by the second word: the first is the stage's.
    const entry = [f.bindings.entry[0]!, ...rest, "--"];
    return submitJob(job(name, ["ingest"]), { ...f.bindings, entry });
  };

  test("a reclaimed host is repeated as the job definition says", async () => {
    const f = injected("reclaim@ingest:2");
    const detail = await ingest(f, "job", "work");
    expect(detail.Attempts).toMatchObject([
      { StatusReason: expect.stringMatching(/^Host EC2/) },
      { StatusReason: expect.stringMatching(/^Host EC2/) },
      { StatusReason: "Essential container in task exited", Container: { ExitCode: 0 } },
    ]);
  });

  test("a host that is reclaimed three times ends the job with that reason", async () => {
    const failure = await failureOf(ingest(injected("reclaim@ingest:3"), "job", "work"));
    expect(failure.cause).toMatchObject({ Status: "FAILED", StatusReason: expect.stringMatching(/^Host EC2/) });
    expect(failure.cause.Attempts).toHaveLength(3);
  });

  test("a time limit and missing capacity end it at once", async () => {
    const late = await failureOf(ingest(injected("timeout@ingest"), "job", "sleep", "30"));
    expect(late.cause.StatusReason).toBe("Job attempt duration exceeded timeout");
    const none = await failureOf(ingest(injected("no-capacity@ingest"), "job", "work"));
    expect(none.cause).toMatchObject({
      StatusReason: expect.stringMatching(/JobStateTimeLimit action due to reason: CAPACITY:/),
      Attempts: [],
    });
  });

  test.each(["reclaim", "reclaim@plan", "flood@ingest", "reclaim@ingest:0"])("%s is refused by name", (spec) => {
    expect(() => new Faults([spec])).toThrow(expect.objectContaining({ code: "UsageInvalid" }));
  });
});

/** A job whose definition has EcsProperties, as all of ours. */
const ecs = (command: string[]) => ({
  ContainerOverrides: undefined,
  EcsPropertiesOverride: { TaskProperties: [{ Containers: [{ Name: "stage", Command: command }] }] },
});

describe("a job whose definition has EcsProperties", () => {
  test("is described with its container where such jobs have it", async () => {
    const f = fixture();
    const detail = await submitJob(job("plain", [], ecs(["exit", "0"])), f.bindings);
    expect(detail).not.toHaveProperty("Container");
    expect(detail).toMatchObject({
      EcsProperties: {
        TaskProperties: [
          { Containers: [{ Name: "stage", Command: ["exit", "0"], ExitCode: 0, LogStreamName: "plain" }] },
        ],
      },
      Attempts: [{ TaskProperties: [{ Containers: [{ Name: "stage", ExitCode: 0 }] }] }],
    });
  });

  test("tells of its failed children when it is an array, by ListJobs", async () => {
    const f = fixture(TWO_CORES, { faults: new Faults(["no-capacity@ingest:2"]) });
    const array = { ...ecs(["ingest"]), ArrayProperties: { Size: 3 } };
    const failure = await failureOf(submitJob(job("array", [], array), f.bindings));
    const list = call("aws-sdk:batch:listJobs", { ArrayJobId: failure.cause.JobId, JobStatus: "FAILED" });
    const { JobSummaryList } = await listJobs(list, f.bindings);
    const reasons = (JobSummaryList as { StatusReason: string }[]).map(({ StatusReason }) => StatusReason);
    expect(reasons.filter((reason) => /CAPACITY:INSUFFICIENT/.test(reason))).toHaveLength(2);
  });
});

describe("a multi-node job", () => {
  const nodes = (command: string[], NumNodes = 2) => ({
    ContainerOverrides: undefined,
    NodeOverrides: {
      NumNodes,
      NodePropertyOverrides: [{ TargetNodes: "0:", EcsPropertiesOverride: ecs(command).EcsPropertiesOverride }],
    },
  });

  test("is a process a node, each told its index and where the main one is, and ends with the main one", async () => {
    const f = fixture();
    const file = path.join(f.folder, "nodes");
    const detail = await submitJob(job("cluster", [], nodes(["node", file])), f.bindings);
    expect(detail).toMatchObject({ Status: "SUCCEEDED", NodeProperties: { NumNodes: 2, MainNode: 0 } });
    const seen = linesOf(file).sort((a, b) => Number(a.NODE_INDEX) - Number(b.NODE_INDEX));
    expect(seen).toEqual([
      { NUM_NODES: "2", NODE_INDEX: "0", MAIN_NODE_INDEX: "0", MAIN_NODE_PRIVATE_IPV4_ADDRESS: null },
      { NUM_NODES: "2", NODE_INDEX: "1", MAIN_NODE_INDEX: "0", MAIN_NODE_PRIVATE_IPV4_ADDRESS: "127.0.0.1" },
    ]);
  });

  test("fails as its main node does", async () => {
    const f = fixture();
    const failure = await failureOf(submitJob(job("cluster", [], nodes(["exit", "4"])), f.bindings));
    expect(failure.cause).toMatchObject({
      StatusReason: "Essential container in task exited",
      NodeProperties: { NumNodes: 2 },
      Attempts: [{ TaskProperties: [{ Containers: [{ ExitCode: 4 }] }] }],
    });
  });
});

describe("requests that Batch would refuse", () => {
  test.each([
    ["an array of one", { ArrayProperties: { Size: 1 } }],
    ["a timeout under a minute", { Timeout: { AttemptDurationSeconds: 30 } }],
    ["a name with a space", { JobName: "a b" }],
    ["a command that is no list", { ContainerOverrides: { Command: "ingest" } }],
  ])("%s", async (_, more) => {
    const f = fixture();
    const failure = await failureOf(submitJob(job("name", ["exit", "0"], more), f.bindings));
    expect(failure.error).toBe("Batch.ClientException");
  });

  test("a name that the run has used before", async () => {
    const f = fixture();
    await submitJob(job("twice", ["exit", "0"]), f.bindings);
    expect((await failureOf(submitJob(job("twice", ["exit", "0"]), f.bindings))).error).toBe("Batch.ClientException");
  });
});

describe("stopping", () => {
  test("an execution that is stopped ends its jobs, grandchildren in other sessions included", async () => {
    const f = fixture();
    const file = path.join(f.folder, "burst");
    const request = job("burst", ["burst", file]);
    const work = failureOf(submitJob(request, f.bindings));
    while (!existsSync(file)) await wait(20);
    request.abort("stopped");
    expect((await work).cause).toMatchObject({ Status: "FAILED", StatusReason: "Terminated by the engine" });
    expect(processesOf(f.run.folder)).toEqual([]);
    const size = statSync(file).size;
    await wait(150);
    expect(statSync(file).size).toBe(size);
  });

  test("an execution that is stopped ends every child of an array", async () => {
    const f = fixture();
    const note = path.join(f.folder, "started");
    const request = job("array", ["start", note, "60"], { ArrayProperties: { Size: 2 } });
    const work = failureOf(submitJob(request, f.bindings));
    while (!existsSync(note) || linesOf(note).length < 2) await wait(20);
    const stoppedAt = Date.now();
    request.abort("stopped");
    expect((await work).cause.ArrayProperties.StatusSummary).toMatchObject({ FAILED: 2, SUCCEEDED: 0 });
    expect(Date.now() - stoppedAt).toBeLessThan(20_000);
    expect(processesOf(f.run.folder)).toEqual([]);
  });

  test("the ledger's stop ends what a timed-out state left running of an array", async () => {
    const f = fixture();
    const note = path.join(f.folder, "started");
    const request = job("infer-x-k0-r0-d0", ["start", note, "60"], { ArrayProperties: { Size: 2 } });
    const work = failureOf(submitJob(request, f.bindings));
    while (!existsSync(note) || linesOf(note).length < 2) await wait(20);
    request.abort("state-timeout");
    expect(f.bindings.running.isAlive("infer-x-k0-*")).toBe(true);
    f.bindings.running.stop("infer-x-k0-*");
    expect((await work).cause.ArrayProperties.StatusSummary).toMatchObject({ FAILED: 2 });
    expect(f.bindings.running.isAlive("infer-x-k0-*")).toBe(false);
  });

  test("a state that times out leaves its job running, as on AWS", async () => {
    const f = fixture();
    const request = job("on", ["sleep", "0.5"]);
    const work = submitJob(request, f.bindings);
    request.abort("state-timeout");
    expect((await work).Status).toBe("SUCCEEDED");
  });

  test("the ledger's stop ends what a timed-out state left running, by the start of its name", async () => {
    const f = fixture();
    const request = job("infer-x-k0-r0-d0", ["sleep", "30"]);
    const done = failureOf(submitJob(request, f.bindings));
    await new Promise((resolve) => setTimeout(resolve, 300));
    request.abort("state-timeout");
    expect(f.bindings.running.isAlive("infer-x-k0-*")).toBe(true);
    f.bindings.running.stop("infer-x-k1-*");
    expect(f.bindings.running.isAlive("infer-x-k0-*")).toBe(true);
    f.bindings.running.stop("infer-x-k0-*");
    expect((await done).cause.Status).toBe("FAILED");
    expect(f.bindings.running.isAlive("infer-x-k0-*")).toBe(false);
  });

  test("a job that waits for its turn never starts once the execution is stopped", async () => {
    const f = fixture();
    const note = path.join(f.folder, "note");
    const first = submitJob(job("first", ["sleep", "0.5"]), f.bindings);
    const request = job("second", ["note", note]);
    const second = failureOf(submitJob(request, f.bindings));
    request.abort("stopped");
    expect((await second).cause.Status).toBe("FAILED");
    await first;
    expect(existsSync(note)).toBe(false);
  });
});
