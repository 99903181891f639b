// .voxelburst/runs/<runId>/: the history of a run, its jobs and logs. What the stages write is in the store.
import {
  closeSync,
  existsSync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { type ProgressEvent, VoxelburstError } from "../contracts/index.ts";
import { type HistoryEvent, isTerminal } from "./asl/history-event.ts";
import { diskError, isMissing, isPresent } from "./disk-error.ts";
import type { Home } from "./home.ts";
import { RunLock } from "./run-lock.ts";

/** running: a process works on it; interrupted: its process died; the others are how an execution ends. */
export type RunStatus = "absent" | "running" | "interrupted" | "succeeded" | "failed" | "cancelled" | "timed-out";

const WHAT = "the run's data";
const ENDS: Record<string, RunStatus> = {
  ExecutionSucceeded: "succeeded",
  ExecutionFailed: "failed",
  ExecutionAborted: "cancelled",
  ExecutionTimedOut: "timed-out",
};

export class RunFolder {
  readonly runId: string;
  readonly folder: string;
  private historyFile: number | undefined;
  private progressFile: number | undefined;

  constructor(home: Home, runId: string) {
    this.runId = runId;
    this.folder = path.join(home.runs, runId);
  }

  get logs(): string {
    return path.join(this.folder, "logs");
  }

  logFile(jobName: string): string {
    return path.join(this.logs, `${jobName}.log`);
  }

  /** SageMaker's /opt/ml of a training job. */
  mlFolder(jobName: string): string {
    return path.join(this.folder, "ml", jobName);
  }

  private at(name: string): string {
    return path.join(this.folder, name);
  }

  /** The state machine that the run was started with: a redrive continues that one. */
  get definition(): string | undefined {
    try {
      return readFileSync(this.at("definition.json"), "utf8");
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw diskError(error, WHAT);
    }
  }

  set definition(text: string | undefined) {
    this.guard(() => writeFileSync(this.at("definition.json"), text ?? ""));
  }

  /** @returns undefined when a living process holds it */
  lock(): RunLock | undefined {
    return this.guard(() => {
      mkdirSync(this.folder, { recursive: true });
      return RunLock.acquire(this.folder);
    });
  }

  status(): RunStatus {
    const history = this.history();
    const end = history.findLast((event) => event.executionArn === undefined);
    const running = RunLock.holder(this.folder) !== undefined;
    if (running) return "running";
    if (!end) return "absent";
    return isTerminal(end.type) ? ENDS[end.type]! : "interrupted";
  }

  /** Whole lines alone: the last one is torn when the process was killed while it wrote. */
  history(): HistoryEvent[] {
    return wholeLines(this.at("history.jsonl")).map((line) => JSON.parse(line) as HistoryEvent);
  }

  /** Appends an event and waits until the disk has it: what a history says has happened must survive the machine. */
  appendHistory(event: HistoryEvent): void {
    this.guard(() => {
      if (this.historyFile === undefined) {
        mkdirSync(this.folder, { recursive: true });
        const file = this.at("history.jsonl");
        const whole = existsSync(file) ? wholeBytes(file) : 0;
        this.historyFile = openSync(file, "a");
        ftruncateSync(this.historyFile, whole);
      }
      writeSync(this.historyFile, `${JSON.stringify(event)}\n`);
      fdatasyncSync(this.historyFile);
    });
  }

  /** For whoever watches from another process; nothing depends on it, so it need not reach the disk. */
  appendProgress(event: ProgressEvent): void {
    this.guard(() => {
      this.progressFile ??= openSync(this.at("progress.jsonl"), "a");
      writeSync(this.progressFile, `${JSON.stringify(event)}\n`);
    });
  }

  progress(): ProgressEvent[] {
    return wholeLines(this.at("progress.jsonl")).map((line) => JSON.parse(line) as ProgressEvent);
  }

  tailHistory(): Tail<HistoryEvent> {
    return new Tail(this.at("history.jsonl"));
  }

  tailProgress(): Tail<ProgressEvent> {
    return new Tail(this.at("progress.jsonl"));
  }

  /**
   * Takes the name of a job for ever.
   *
   * @returns false when a job of the run had it before
   */
  claimJob(jobName: string, record: unknown): boolean {
    return this.guard(() => {
      mkdirSync(this.at("jobs"), { recursive: true });
      try {
        writeFileSync(this.jobFile(jobName), json(record), { flag: "wx" });
        return true;
      } catch (error) {
        if (isPresent(error)) return false;
        throw error;
      }
    });
  }

  /** What became of a job: the description that its service gives. */
  recordJob(jobName: string, record: unknown): void {
    this.guard(() => writeFileSync(this.jobFile(jobName), json(record)));
  }

  /** What is recorded under a job's name; undefined when nobody has taken it. */
  job(jobName: string): unknown {
    try {
      return JSON.parse(readFileSync(this.jobFile(jobName), "utf8"));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw diskError(error, WHAT);
    }
  }

  /**
   * Forgets what is recorded under a name, which may be taken again.
   *
   * @returns false when nobody had taken it
   */
  dropJob(jobName: string): boolean {
    const isThere = this.job(jobName) !== undefined;
    this.guard(() => rmSync(this.jobFile(jobName), { force: true }));
    return isThere;
  }

  /** All that is recorded of jobs, in the order of their names. */
  jobs(): unknown[] {
    return this.guard(() =>
      readdirSync(this.at("jobs"))
        .sort()
        .map((file) => JSON.parse(readFileSync(path.join(this.at("jobs"), file), "utf8"))),
    );
  }

  private jobFile(jobName: string): string {
    return path.join(this.at("jobs"), `${jobName}.json`);
  }

  close(): void {
    for (const file of [this.historyFile, this.progressFile]) if (file !== undefined) closeSync(file);
    this.historyFile = undefined;
    this.progressFile = undefined;
  }

  private guard<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw diskError(error, WHAT);
    }
  }
}

/** What was appended to a JSON Lines file since the last look; a line that is still being written waits for the next. */
export class Tail<T> {
  private readonly file: string;
  private offset = 0;

  constructor(file: string) {
    this.file = file;
  }

  next(): T[] {
    let file: number;
    try {
      file = openSync(this.file, "r");
    } catch (error) {
      if (isMissing(error)) return [];
      throw diskError(error, WHAT);
    }
    try {
      const bytes = Buffer.alloc(Math.max(0, fstatSync(file).size - this.offset));
      const read = readSync(file, bytes, 0, bytes.length, this.offset);
      const whole = bytes.subarray(0, read).lastIndexOf(10) + 1;
      this.offset += whole;
      const lines = bytes.subarray(0, whole).toString().split("\n");
      return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as T);
    } finally {
      closeSync(file);
    }
  }
}

const json = (value: unknown) => `${JSON.stringify(value, null, 1)}\n`;

function wholeLines(file: string): string[] {
  try {
    const text = readFileSync(file, "utf8");
    return text
      .slice(0, text.lastIndexOf("\n") + 1)
      .split("\n")
      .filter((line) => line !== "");
  } catch (error) {
    if (isMissing(error)) return [];
    throw diskError(error, WHAT);
  }
}

const wholeBytes = (file: string): number => readFileSync(file).lastIndexOf(10) + 1;

/** Names of all runs, the latest start last. */
export function runIds(home: Home): string[] {
  try {
    return readdirSync(home.runs, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name)
      .sort();
  } catch (error) {
    if (isMissing(error)) return [];
    throw diskError(error, WHAT);
  }
}

/**
 * The run that a person means: a whole name, a part that only one run has, or nothing for the latest.
 *
 * @throws VoxelburstError RunNotFound or RunAmbiguous
 */
export function findRun(home: Home, wanted: string | undefined): RunFolder {
  const all = runIds(home);
  const startOf = (id: string) => new RunFolder(home, id).history()[0]?.timestamp ?? "";
  if (wanted === undefined) {
    const latest = all.map((id) => ({ id, start: startOf(id) })).sort((a, b) => (a.start < b.start ? -1 : 1));
    const id = latest.at(-1)?.id;
    if (id) return new RunFolder(home, id);
    throw new VoxelburstError("RunNotFound", "There is no run yet.", "Start one with `voxelburst run DATASET`.");
  }
  if (all.includes(wanted)) return new RunFolder(home, wanted);
  const matching = all.filter((id) => id.includes(wanted));
  if (matching.length === 1) return new RunFolder(home, matching[0]!);
  if (matching.length > 1)
    throw new VoxelburstError(
      "RunAmbiguous",
      `${wanted} is a part of ${matching.length} runs' names: ${matching.slice(0, 4).join(", ")}.`,
      "Write more of the name.",
      { got: wanted },
    );
  throw new VoxelburstError(
    "RunNotFound",
    `There is no run ${wanted}.`,
    "`voxelburst ps` lists the runs of this folder.",
    { got: wanted },
  );
}
