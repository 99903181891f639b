// Executions on this machine, as start-run asks for them: a run is claimed here and conducted by local-engine.ts.
import type { Executions, RunState } from "../../lambdas/start-run/core.ts";
import type { RunRequest } from "../contracts/index.ts";
import type { HistoryEvent } from "./asl/history-event.ts";
import type { Home } from "./home.ts";
import { killProcessesOf } from "./processes.ts";
import { RunFolder, type RunStatus } from "./run-folder.ts";
import type { RunLock } from "./run-lock.ts";

/** A run that this process, and no other, may conduct. */
export interface ClaimedRun {
  request: RunRequest;
  folder: RunFolder;
  lock: RunLock;
  /** Empty for a new run. */
  history: HistoryEvent[];
}

export class LocalExecutions implements Executions {
  private readonly home: Home;
  private readonly definition: string;
  private readonly version: string;
  /** Set by start and redrive when this process got the run. */
  claimed: ClaimedRun | undefined;

  /** @param definition - text of the state machine that new runs are started with */
  constructor(home: Home, definition: string, version: string) {
    this.home = home;
    this.definition = definition;
    this.version = version;
  }

  async state(runId: string): Promise<RunState> {
    const states: Record<RunStatus, RunState> = {
      absent: "absent",
      running: "open",
      succeeded: "succeeded",
      // Nothing works on it, so that it takes a redrive like a failed one.
      interrupted: "failed",
      failed: "failed",
      cancelled: "failed",
      "timed-out": "failed",
    };
    return states[new RunFolder(this.home, runId).status()];
  }

  async start(request: RunRequest): Promise<void> {
    const folder = new RunFolder(this.home, request.runId);
    const lock = folder.lock();
    if (!lock) return; // another delivery was faster
    if (folder.history().length > 0) {
      lock[Symbol.dispose](); // it was faster and is done already
      return;
    }
    folder.definition = this.definition;
    await this.claim(request, folder, lock);
  }

  async redrive(request: RunRequest): Promise<boolean> {
    const folder = new RunFolder(this.home, request.runId);
    // As on AWS, a redrive takes the same definition; and outputs must not be named after code that did not make them.
    if (folder.definition !== this.definition || request.version !== this.version) return false;
    if (endsInFail(folder.history())) return false;
    const lock = folder.lock();
    if (lock) await this.claim(request, folder, lock);
    return true;
  }

  private async claim(request: RunRequest, folder: RunFolder, lock: RunLock): Promise<void> {
    await killProcessesOf(folder.folder);
    this.claimed = { request, folder, lock, history: folder.history() };
  }
}

/**
 * A run whose failure was caught and reported has gone all its way to a Fail state: a redrive would enter that state
 * again and nothing else. The next attempt skips what exists.
 */
function endsInFail(history: readonly HistoryEvent[]): boolean {
  const own = history.filter((event) => event.executionArn === undefined);
  if (own.at(-1)?.type !== "ExecutionFailed") return false;
  return own.findLast((event) => event.type.endsWith("StateEntered"))?.type === "FailStateEntered";
}
