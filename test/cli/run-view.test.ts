import { describe, expect, test } from "vitest";
import { barLine, plainLine } from "../../lib/cli/progress-lines.ts";
import { Renderer } from "../../lib/cli/renderer.ts";
import { RunView } from "../../lib/cli/run-view.ts";
import type { ProgressEvent } from "../../lib/contracts/index.ts";
import type { HistoryEvent } from "../../lib/local/asl/index.ts";

const START = Date.parse("2026-01-01T00:00:00.000Z");
const at = (second: number) => new Date(START + second * 1000).toISOString();

/** Two array children of ingest: scheduled, submitted, and so on, as the interpreter writes it. */
function history(...ends: Partial<HistoryEvent>[]): HistoryEvent[] {
  const parameters = {
    JobName: "ingest-x",
    ArrayProperties: { Size: 2 },
    EcsPropertiesOverride: {
      TaskProperties: [
        { Containers: [{ Name: "stage", Command: ["ingest", "--task", "file:///store/runs/x/tasks/ingest.json"] }] },
      ],
    },
  };
  const events: Partial<HistoryEvent>[] = [
    { type: "ExecutionStarted" },
    { type: "TaskStateEntered" },
    {
      type: "TaskScheduled",
      taskScheduledEventDetails: {
        resource: "submitJob.sync",
        resourceType: "batch",
        region: "r",
        parameters: JSON.stringify(parameters),
      },
    },
    { type: "TaskStarted" },
    { type: "TaskSubmitted" },
    ...ends,
  ];
  return events.map((event, index) => ({
    id: index + 1,
    previousEventId: index,
    timestamp: at(index),
    type: "",
    ...event,
  }));
}
const progress = (index: number, done: number, more: Partial<ProgressEvent> = {}): ProgressEvent => ({
  type: "progress",
  time: at(10),
  stage: "ingest",
  taskId: "ingest",
  index,
  done,
  total: 6,
  unit: "cases",
  rate: 2,
  ...more,
});

function view(events = history(), casesOf?: (taskId: string) => number | undefined): RunView {
  const shown = new RunView({ runId: "x", casesOf });
  for (const event of events) shown.onHistory(event);
  return shown;
}

describe("a run's view", () => {
  test("adds its children up, and tells the time that is left", () => {
    const shown = view();
    shown.onProgress(progress(0, 2));
    shown.onProgress(progress(1, 4));
    expect(shown.view()).toMatchObject([
      {
        taskId: "ingest",
        stage: "ingest",
        children: 2,
        state: "running",
        done: 6,
        total: 12,
        rate: 4,
        secondsLeft: 1.5,
      },
    ]);
  });

  test("knows the cases of children that have not started", () => {
    const shown = view(history(), () => 12);
    shown.onProgress(progress(0, 2));
    expect(shown.view()).toMatchObject([{ done: 2, total: 12, rate: 2, secondsLeft: 5 }]);
  });

  test.each([
    ["before a first case is done", 0.999, 1],
    ["for what comes after the last case's windows", 5.999, 6],
  ])("estimates no remaining time %s", (_, done, total) => {
    const shown = view();
    shown.onProgress(progress(0, done, { total, rate: 0.0069 }));
    expect(shown.view()[0]).not.toHaveProperty("secondsLeft");
  });

  test("does not count what a killed process said before the task was started again", () => {
    const shown = view();
    shown.onProgress(progress(0, 5, { time: at(-100) }));
    expect(shown.view()).toMatchObject([{ done: 0, total: 0 }]);
  });

  test("says how a task ended and how long it took", () => {
    const shown = view(history({ type: "TaskSucceeded" }));
    shown.onProgress(progress(0, 6));
    expect(shown.view()).toMatchObject([{ state: "succeeded", startedMs: START + 2000, endedMs: START + 5000 }]);
    expect(shown.view()[0]).not.toHaveProperty("secondsLeft");
    expect(view(history({ type: "TaskFailed" })).view()).toMatchObject([{ state: "failed" }]);
  });

  test("counts all cases of a task that succeeded before a resume as done", () => {
    const shown = view(history({ type: "TaskSucceeded" }), () => 9);
    expect(plainLine(shown.view()[0]!)).toBe("ingest: done in 3.0 s, 9/9 cases");
  });

  test("shows a task as stopped that a killed engine left without an end", () => {
    const shown = view(history({ type: "ExecutionRedriven" }));
    expect(shown.view()).toMatchObject([{ state: "stopped" }]);
  });

  test("is the same when it is made of the events of a finished run", () => {
    const shown = view(history({ type: "TaskSucceeded" }, { type: "TaskStateExited" }, { type: "ExecutionSucceeded" }));
    expect(shown.endedMs).toBe(START + 7000);
    expect(shown.view()).toMatchObject([{ state: "succeeded", endedMs: START + 5000 }]);
  });
});

describe("lines", () => {
  const task = () => {
    const shown = view(history(), () => 12);
    shown.onProgress(progress(0, 3));
    return shown.view()[0]!;
  };
  test("for a terminal have a bar, counts, rate and remaining time", () => {
    expect(barLine(task(), START, 12)).toMatchInlineSnapshot(
      `"  ingest        ██████░░░░░░░░░░░░░░░░░░  3/12 cases, 2.00/s, 4.5 s left"`,
    );
  });
  test("for a pipe are words", () => {
    expect(plainLine(task())).toMatchInlineSnapshot(`"ingest: 3/12 cases, 2.00/s, 4.5 s left"`);
  });
});

/** A stream that remembers; with a cursor when it is a terminal. */
function stream(isTTY: boolean) {
  const written: string[] = [];
  return { isTTY, columns: 80, written, write: (text: string) => written.push(text) > 0 };
}

describe("the renderer", () => {
  test("draws running tasks in place on a terminal, and leaves what has ended", () => {
    const out = stream(true);
    let now = START;
    const renderer = new Renderer({ out, err: stream(true), json: false, debug: false, now: () => now });
    const shown = view();
    shown.onProgress(progress(0, 2));
    renderer.emit({ kind: "progress", view: shown });
    now += 1000;
    for (const event of history({ type: "TaskSucceeded" }).slice(-1)) shown.onHistory(event);
    renderer.emit({ kind: "progress", view: shown });
    renderer.emit({ kind: "progress-ended", view: shown });
    const text = out.written.join("");
    expect(text).toContain("\u001b[1A\u001b[0J");
    expect(text.match(/✓ ingest/g)).toHaveLength(1);
  });

  test("writes plain lines into a pipe, the same one only once", () => {
    const out = stream(false);
    let now = START;
    const renderer = new Renderer({ out, err: stream(false), json: false, debug: false, now: () => now });
    const shown = view();
    for (let second = 0; second < 30; second++) {
      now = START + second * 1000;
      shown.onProgress(progress(0, Math.min(6, Math.floor(second / 5))));
      renderer.emit({ kind: "progress", view: shown });
    }
    expect(out.written.join("")).not.toContain("\u001b");
    expect(out.written).toHaveLength(3);
  });

  test("keeps stdout for one JSON object", () => {
    const [out, err] = [stream(false), stream(false)];
    const renderer = new Renderer({ out, err, json: true, debug: false });
    renderer.emit({ kind: "note", code: "N", text: "prose" });
    renderer.emit({ kind: "progress", view: view() });
    renderer.result({ status: "succeeded" });
    expect(out.written).toEqual(['{"status":"succeeded"}\n']);
    expect(err.written.join("")).toContain("prose");
  });

  test("shows an error's code, sentence and remedy, and its stack with --debug alone", () => {
    const error = {
      kind: "error",
      code: "Bad",
      text: "It is bad.",
      remedy: "Make it good.",
      stack: "at x.ts",
    } as const;
    const said = (debug: boolean) => {
      const err = stream(false);
      new Renderer({ out: stream(false), err, json: false, debug }).emit(error);
      return err.written.join("");
    };
    expect(said(false)).toBe("Bad: It is bad.\n  what to do: Make it good.\n");
    expect(said(true)).toContain("at x.ts");
  });
});
