import { type ChildProcess, spawn } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { homeAt } from "../../lib/local/home.ts";
import { processesOf } from "../../lib/local/processes.ts";
import { RunFolder } from "../../lib/local/run-folder.ts";
import { RunLock } from "../../lib/local/run-lock.ts";
import { checkResources } from "../../lib/local/task-bindings.ts";
import { linesOf, temporaryFolder } from "./fixture.ts";

const driver = fileURLToPath(new URL("engine-driver.ts", import.meta.url));

const batch = (name: string, command: string[], next?: string, more: object = {}) => ({
  Type: "Task",
  Resource: "arn:aws:states:::batch:submitJob.sync",
  Arguments: {
    JobName: `{% '${name}-r' & $string($states.context.State.RetryCount) & '-d' & $string($states.context.Execution.RedriveCount) %}`,
    JobDefinition: "definition",
    JobQueue: "queue",
    ContainerOverrides: { Command: command },
    ...more,
  },
  Output: {},
  ...(next ? { Next: next } : { End: true }),
});

interface Engine {
  folder: string;
  run: RunFolder;
  note: string;
  start(): ChildProcess & { answer: Promise<{ status?: string; error?: string; state?: string }> };
}

function engine(states: Record<string, object>, startAt = Object.keys(states)[0]!): Engine {
  const folder = temporaryFolder();
  const definition = path.join(folder, "definition.json");
  writeFileSync(definition, JSON.stringify({ QueryLanguage: "JSONata", StartAt: startAt, States: states }));
  const home = path.join(folder, ".voxelburst");
  return {
    folder,
    run: new RunFolder(homeAt(home), "phantoms-0123456789ab-1"),
    note: path.join(folder, "note"),
    start() {
      const child = spawn(process.execPath, [driver, home, definition], { stdio: ["ignore", "pipe", "inherit"] });
      onTestFinished(() => {
        child.kill("SIGKILL");
      });
      let out = "";
      child.stdout!.setEncoding("utf8").on("data", (text: string) => (out += text));
      const answer = new Promise<never>((resolve) =>
        child.once("close", () => resolve((out ? JSON.parse(out) : {}) as never)),
      );
      return Object.assign(child, { answer });
    },
  };
}

async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 500) throw new Error("it did not happen within ten seconds");
    await wait(20);
  }
}

/** First, a stage that notes that it ran; second, one that works until it is killed; third, another note. */
function threeStages(folder: string, note: string, second: string[]) {
  return {
    First: batch("first", ["note", note], "Second", { ArrayProperties: { Size: 2 } }),
    Second: batch("second", second, "Third"),
    Third: batch("third", ["note", path.join(folder, "note-3")]),
  };
}

describe("a run whose engine is killed", () => {
  test("takes its processes with it, is seen as interrupted, and goes on without repeating what was done", async () => {
    const scratch = temporaryFolder();
    const note = path.join(scratch, "note");
    const burst = path.join(scratch, "burst");
    const e = engine(threeStages(scratch, note, ["burst", burst]));
    const first = e.start();
    await until(() => existsSync(burst));
    first.kill("SIGKILL");
    await first.answer;
    await until(() => processesOf(e.run.folder).length === 0);
    const size = statSync(burst).size;
    expect(e.run.status()).toBe("interrupted");
    // A torn last line, as a kill in the middle of a write leaves it.
    appendFileSync(path.join(e.run.folder, "history.jsonl"), '{"timestamp":"2026-');

    const second = e.start();
    await until(() => statSync(burst).size > size);
    second.kill("SIGINT");
    expect(await second.answer).toMatchObject({ status: "ABORTED" });
    expect(e.run.status()).toBe("cancelled");
    expect(linesOf(note)).toHaveLength(2);
    expect(existsSync(path.join(scratch, "note-3"))).toBe(false);
    expect(processesOf(e.run.folder)).toEqual([]);
    const ids = e.run.history().map((event) => event.id);
    expect(ids).toEqual(ids.map((_, index) => index + 1));
  });

  test("finishes when it is resumed, and then refuses to be run again", async () => {
    const scratch = temporaryFolder();
    const note = path.join(scratch, "note");
    const flag = path.join(scratch, "flag");
    const e = engine(threeStages(scratch, note, ["hang-once", flag]));
    const first = e.start();
    await until(() => existsSync(flag));
    first.kill("SIGKILL");
    await first.answer;
    expect(await e.start().answer).toMatchObject({ status: "SUCCEEDED" });
    expect(linesOf(note)).toHaveLength(2);
    expect(linesOf(path.join(scratch, "note-3"))).toHaveLength(1);
    expect(e.run.status()).toBe("succeeded");
    expect(await e.start().answer).toEqual({ state: "succeeded" });
  });

  test("that was killed with its jobs named is not refused for their names", async () => {
    const scratch = temporaryFolder();
    const flag = path.join(scratch, "flag");
    const e = engine({ Only: batch("only", ["hang-once", flag]) });
    const first = e.start();
    await until(() => existsSync(flag));
    first.kill("SIGKILL");
    await first.answer;
    expect(await e.start().answer).toMatchObject({ status: "SUCCEEDED" });
  });
});

describe("a run that is conducted", () => {
  test("is conducted by one process, however many ask for it at once", async () => {
    const scratch = temporaryFolder();
    const note = path.join(scratch, "note");
    const e = engine({ Only: batch("only", ["note", note]) });
    const answers = await Promise.all(Array.from({ length: 4 }, () => e.start().answer));
    expect(answers.filter((answer) => answer.status === "SUCCEEDED")).toHaveLength(1);
    expect(linesOf(note)).toHaveLength(1);
  });

  test("gets its lambdas in process, with their answer in the service's envelope", async () => {
    const e = engine({
      Plan: {
        Type: "Task",
        Resource: "arn:aws:states:::lambda:invoke",
        Arguments: { FunctionName: "$" + "{PlanFunction}", Payload: { a: 1 } },
        Output: "{% $states.result.Payload %}",
        End: true,
      },
    });
    expect(await e.start().answer).toMatchObject({ status: "SUCCEEDED", output: { planned: { a: 1 } } });
  });

  test.each([
    [
      "function",
      (room: string) => ({
        Type: "Task",
        Resource: "arn:aws:states:::lambda:invoke",
        Arguments: { FunctionName: "$" + "{PlanFunction}", Payload: { room } },
        End: true,
      }),
    ],
    ["job", (room: string) => batch("second", ["needs-room", room])],
    ["array", (room: string) => batch("second", ["needs-room", room], undefined, { ArrayProperties: { Size: 2 } })],
  ])("whose %s met a full disk goes on there, and no Catch has seen it", async (_, second) => {
    const room = path.join(temporaryFolder(), "room");
    const note = path.join(temporaryFolder(), "note");
    const e = engine({
      First: batch("first", ["note", note], "Second"),
      Second: { ...second(room), Catch: [{ ErrorEquals: ["States.ALL"], Next: "Caught" }] },
      Caught: { Type: "Fail", Error: "Caught" },
    });
    expect(await e.start().answer).toEqual({ error: "DiskFull" });
    expect(await e.start().answer).toEqual({ error: "DiskFull" });
    writeFileSync(room, "");
    expect(await e.start().answer).toMatchObject({ status: "SUCCEEDED" });
    expect(linesOf(note)).toHaveLength(1);
  });

  test("fails as the state machine says when a job does", async () => {
    const e = engine({ Only: batch("only", ["exit", "5"]) });
    const answer = await e.start().answer;
    expect(answer).toMatchObject({ status: "FAILED", error: "States.TaskFailed" });
    expect(e.run.status()).toBe("failed");
    const types = e.run.history().map((event) => event.type);
    expect(types).toEqual([
      "ExecutionStarted",
      "TaskStateEntered",
      "TaskScheduled",
      "TaskStarted",
      "TaskSubmitted",
      "TaskFailed",
      "ExecutionFailed",
    ]);
  });
});

describe("locks", () => {
  test("of a dead process are topped by exactly one of many", () => {
    const folder = temporaryFolder();
    writeFileSync(path.join(folder, "lock.1"), JSON.stringify({ pid: 1, startTicks: "0", bootId: "another" }));
    expect(RunLock.holder(folder)).toBeUndefined();
    const locks = Array.from({ length: 5 }, () => RunLock.acquire(folder)).filter(Boolean);
    expect(locks).toHaveLength(1);
    expect(RunLock.holder(folder)?.pid).toBe(process.pid);
    locks[0]![Symbol.dispose]();
    expect(RunLock.holder(folder)).toBeUndefined();
  });

  test("of a process whose number was given to another one count as dead", () => {
    const folder = temporaryFolder();
    mkdirSync(folder, { recursive: true });
    const lock = RunLock.acquire(folder)!;
    const file = path.join(folder, "lock.1");
    const owner = JSON.parse(readFileSync(file, "utf8"));
    writeFileSync(file, JSON.stringify({ ...owner, startTicks: "1" }));
    expect(RunLock.holder(folder)).toBeUndefined();
    lock[Symbol.dispose]();
  });
});

describe("a state machine that this machine cannot run", () => {
  test("is refused by the name of the state and of the resource, in maps too", () => {
    const inner = { Type: "Task", Resource: "arn:aws:states:::dynamodb:putItem", End: true };
    const definition = {
      States: { Each: { Type: "Map", ItemProcessor: { StartAt: "Put", States: { Put: inner } }, End: true } },
    };
    expect(() => checkResources(definition, {})).toThrow(/state Put uses arn:aws:states:::dynamodb:putItem/);
  });

  test("is refused by the name of a function that has no core here", () => {
    const call = { Type: "Task", Resource: "arn:aws:states:::lambda:invoke", Arguments: { FunctionName: "Billing" } };
    expect(() => checkResources({ States: { Bill: call } }, { plan: async () => null })).toThrow(
      /state Bill calls Billing/,
    );
  });
});
