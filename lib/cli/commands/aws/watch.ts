// voxelburst watch [RUN] --on aws: a run drawn from its execution's history and from what its jobs log.
import { setTimeout as wait } from "node:timers/promises";
import { type Cloud, openCloud } from "../../../aws/cloud.ts";
import { jobsOf, type LogStream, type RunJob } from "../../../aws/jobs.ts";
import type { CloudRun, RunEvent } from "../../../aws/runs.ts";
import { keys, progressEvent, under } from "../../../contracts/index.ts";
import type { HistoryEvent } from "../../../local/asl/index.ts";
import type { CommandContext, CommandResult } from "../../command.ts";
import { EXIT } from "../../exit-codes.ts";
import { note } from "../../messages.ts";
import { RunView } from "../../run-view.ts";
import { showCloudRun } from "./show-run.ts";

/** Far below what Step Functions, Batch and CloudWatch Logs let an account ask for. */
const LOOK_MS = 5_000;
/** Of an array: the first children stand for all of them, or a look would take minutes. */
const FOLLOWED_CHILDREN = 50;

export interface WatchOptions {
  /** @default 5000 */
  lookMs?: number;
}

export async function watch(
  context: CommandContext,
  wanted: string | undefined,
  options: WatchOptions = {},
): Promise<CommandResult> {
  const { emit, signal } = context;
  const cloud = await openCloud();
  const run = await cloud.runs.find(wanted);
  const { runId } = run;
  emit(note("RunWatched", `run ${runId}`));
  const follower = new Follower(cloud, run);
  for (;;) {
    // The status first: what happened before it ended is then read below.
    const now = await cloud.runs.status(run);
    await follower.look();
    emit({ kind: "progress", view: follower.view });
    if (now.status !== "running" || signal.aborted) {
      emit({ kind: "progress-ended", view: follower.view });
      if (now.status === "cancelled") emit(note("RunStopped", `run ${runId} was cancelled`));
      if (now.status !== "running") return showCloudRun(context, cloud, now, now.status);
      emit(note("StillRunning", `run ${runId} goes on without this watch`));
      return { ...(await showCloudRun(context, cloud, now, "open")), exitCode: EXIT.cancelled };
    }
    await wait(options.lookMs ?? LOOK_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** Reads what is new of a run, look by look. */
class Follower {
  readonly view: RunView;
  private readonly cloud: Cloud;
  private readonly run: CloudRun;
  private seen = 0;
  private readonly events: RunEvent[] = [];
  private readonly cases = new Map<string, number>();
  /** Ids of jobs whose last line has been read. */
  private readonly finished = new Set<string>();

  constructor(cloud: Cloud, run: CloudRun) {
    this.cloud = cloud;
    this.run = run;
    this.view = new RunView({ runId: run.runId, casesOf: (taskId) => this.cases.get(taskId) });
  }

  async look(): Promise<void> {
    for (const event of await this.cloud.runs.history(this.run)) {
      if (event.id! <= this.seen) continue;
      this.seen = event.id!;
      this.events.push(event);
      this.view.onHistory(event as HistoryEvent);
    }
    await this.countCases();
    for (const job of jobsOf(this.events)) {
      if (this.finished.has(job.id)) continue;
      for (const stream of await this.streamsOf(job))
        for (const { text } of await this.cloud.logs.next(stream)) this.readLine(text);
      if (job.ended) this.finished.add(job.id);
    }
  }

  /** Children that wait have no stream yet, so that an array's are asked for again until all have one. */
  private async streamsOf(job: RunJob): Promise<LogStream[]> {
    const found: LogStream[] = [];
    for (const stream of (await this.cloud.jobs.streams(job)).slice(0, FOLLOWED_CHILDREN))
      found.push(...(await this.cloud.logs.resolve(stream)));
    return found;
  }

  private readLine(text: string): void {
    if (!text.startsWith('{"type": "progress"')) return;
    try {
      const parsed = progressEvent.safeParse(JSON.parse(text));
      if (parsed.success) this.view.onProgress(parsed.data);
    } catch {
      // A line that CloudWatch has cut is no progress.
    }
  }

  private async countCases(): Promise<void> {
    for (const { taskId, children } of this.view.view()) {
      if (children === undefined || this.cases.has(taskId)) continue;
      const key = keys.taskCases(this.run.runId, taskId);
      const bytes = await this.cloud.store.get(under(this.cloud.artefactsUri, key));
      if (bytes) this.cases.set(taskId, new TextDecoder().decode(bytes).split("\n").filter(Boolean).length);
    }
  }
}
