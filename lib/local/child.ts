// One process of a stage: started through the launcher, its lines read, its limits enforced.
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import {
  type ErrorDocument,
  errorDocument,
  type ProgressEvent,
  progressEvent,
  VoxelburstError,
} from "../contracts/index.ts";
import { DISK_CODES, diskError } from "./disk-error.ts";

const launcher = fileURLToPath(new URL("launcher.py", import.meta.url));

/** What a cancelled stage gets to write its checkpoint: Batch's and SageMaker's own grace is 30 and 120 s. */
const GRACE_MS = 20_000;
/** setTimeout counts in a signed 32-bit integer and fires at once above it. */
const LONGEST_TIMER_MS = 2_147_483_647;

export interface ChildSpec {
  python: string;
  /** After the interpreter: ["-m", "voxelburst", "ingest", ...]. */
  args: readonly string[];
  cwd: string;
  env: NodeJS.ProcessEnv;
  logFile: string;
  /** Ended after so many seconds. */
  timeoutSeconds?: number;
  /** From SIGTERM to its end then, for a checkpoint. @default 0: it is killed at once */
  timeoutGraceMs?: number;
  signal: AbortSignal;
  /** Killed at its first sign of work, as the host of a reclaimed spot instance is. */
  isReclaimed?: boolean;
  onProgress(event: ProgressEvent): void;
  /** A JSON object on its stdout that is neither progress nor an error. */
  onObject?(value: Record<string, unknown>): void;
  /** A line of its stderr. */
  onProse?(line: string): void;
}

export interface ChildEnd {
  exitCode: number;
  endedBy: "itself" | "timeout" | "cancel" | "reclaim";
  startedAt: Date;
  stoppedAt: Date;
  /** Whether the kernel killed a process for lack of memory while this one ran and died of SIGKILL. */
  outOfMemory: boolean;
  /** The last error document on its stdout. */
  error?: ErrorDocument;
}

/**
 * Runs a process to its end. It never throws for what the process does, but where that says that the disk is full.
 *
 * @throws VoxelburstError DiskFull or DiskReadOnly, met by the process or by its log
 */
export function runChild(spec: ChildSpec): Promise<ChildEnd> {
  let log: number;
  try {
    mkdirSync(path.dirname(spec.logFile), { recursive: true });
    log = openSync(spec.logFile, "a");
  } catch (error) {
    return Promise.reject(diskError(error, "the run's data"));
  }
  const startedAt = new Date();
  const oomBefore = oomKills();
  // A session of its own: Ctrl-C on the terminal reaches the engine alone, which then decides.
  const child = spawn(spec.python, ["-I", "-S", launcher, String(process.pid), spec.python, ...spec.args], {
    cwd: spec.cwd,
    env: spec.env,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let endedBy: ChildEnd["endedBy"] = "itself";
  let errorDocumentSeen: ErrorDocument | undefined;
  let logError: unknown;

  const write = (text: string) => {
    if (logError) return;
    try {
      writeSync(log, text);
    } catch (error) {
      logError = error;
      child.kill("SIGUSR1");
    }
  };
  const readLine = (line: string) => {
    if (!line.startsWith("{")) return;
    const event = parse(line);
    if (event.progress) {
      spec.onProgress(event.progress);
      if (spec.isReclaimed && endedBy === "itself") {
        endedBy = "reclaim";
        child.kill("SIGUSR1");
      }
    }
    if (event.error) errorDocumentSeen = event.error;
    else if (event.object) spec.onObject?.(event.object);
  };
  const readLines = (of: (line: string) => void) => {
    let rest = "";
    return (text: string) => {
      write(text);
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) of(line);
    };
  };
  child.stdout.setEncoding("utf8").on("data", readLines(readLine));
  child.stderr.setEncoding("utf8").on(
    "data",
    readLines((line) => spec.onProse?.(line)),
  );

  return new Promise((resolve, reject) => {
    const timers: NodeJS.Timeout[] = [];
    // The first that tells it to stop is what ended it; another can only bring the kill forward.
    const end = (why: "timeout" | "cancel", graceMs: number) => {
      if (endedBy === "itself") {
        endedBy = why;
        if (graceMs > 0) child.kill("SIGTERM");
      }
      timers.push(setTimeout(() => child.kill("SIGUSR1"), graceMs));
    };
    const cancel = () => end("cancel", GRACE_MS);
    const timeout = () => end("timeout", spec.timeoutGraceMs ?? 0);
    if (spec.timeoutSeconds !== undefined)
      timers.push(setTimeout(timeout, Math.min(spec.timeoutSeconds * 1000, LONGEST_TIMER_MS)));
    if (spec.signal.aborted) cancel();
    else spec.signal.addEventListener("abort", cancel, { once: true });

    const finish = () => {
      for (const timer of timers) clearTimeout(timer);
      spec.signal.removeEventListener("abort", cancel);
      closeSync(log);
    };
    child.once("error", (error) => {
      finish();
      reject(error);
    });
    // "close" comes after the pipes' last byte, which the launcher makes sure of by leaving no process behind.
    child.once("close", (code, signal) => {
      finish();
      if (logError) return reject(diskError(logError, "the run's data"));
      if (code !== 0 && errorDocumentSeen) {
        const { code: name, message, remedy, schema: _, ...details } = errorDocumentSeen;
        if (DISK_CODES.includes(name)) return reject(new VoxelburstError(name, message, remedy, details));
      }
      const exitCode = code ?? 128 + (signal === "SIGKILL" ? 9 : 15);
      resolve({
        exitCode,
        endedBy,
        startedAt,
        stoppedAt: new Date(),
        outOfMemory: exitCode === 137 && endedBy === "itself" && oomKills() > oomBefore,
        error: errorDocumentSeen,
      });
    });
  });
}

interface Printed {
  progress?: ProgressEvent;
  error?: ErrorDocument;
  object?: Record<string, unknown>;
}

function parse(line: string): Printed {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return {};
  }
  const progress = progressEvent.safeParse(value);
  if (progress.success) return { progress: progress.data };
  const { type, ...document } = value as Record<string, unknown>;
  const error = type === "error" ? errorDocument.safeParse(document) : undefined;
  return error?.success ? { error: error.data } : { object: value as Record<string, unknown> };
}

/** Processes that the kernel killed for memory since boot; 0 where it does not say. */
function oomKills(): number {
  try {
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync("/proc/vmstat", "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}
