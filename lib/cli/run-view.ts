// What is happening in a run, from its history and its progress events: the same for a run conducted here, watched from
// another terminal, or read after it has ended.
import { type ProgressEvent, type StageName, stageName } from "../contracts/index.ts";
import type { HistoryEvent } from "../local/asl/index.ts";

export interface TaskView {
  taskId: string;
  stage: StageName;
  /** Array children; undefined for a task that is no array. */
  children?: number;
  startedMs: number;
  endedMs?: number;
  state: "running" | "succeeded" | "failed" | "stopped";
  /** Units done and to do, over all children. */
  done: number;
  total: number;
  unit: string;
  /** Units a second, now. */
  rate: number;
  secondsLeft?: number;
  message?: string;
}

export interface RunViewOptions {
  runId: string;
  /** Cases of a task, over all its children: those that have not started yet have not said theirs. */
  casesOf?(taskId: string): number | undefined;
}

interface Task {
  taskId: string;
  stage: StageName;
  children?: number;
  startedMs: number;
  endedMs?: number;
  state: TaskView["state"];
  /** By child; -1 for a task that is no array. */
  progress: Map<number, ProgressEvent>;
  message?: string;
}

export class RunView {
  readonly runId: string;
  startedMs: number | undefined;
  endedMs: number | undefined;
  private readonly options: RunViewOptions;
  private readonly tasks = new Map<string, Task>();
  /** Which task an event belongs to: events name their predecessor. */
  private readonly taskOfEvent = new Map<number, Task>();

  constructor(options: RunViewOptions) {
    this.runId = options.runId;
    this.options = options;
  }

  onHistory(event: HistoryEvent): void {
    if (event.executionArn !== undefined) return;
    const at = Date.parse(event.timestamp);
    if (event.type === "ExecutionStarted") this.startedMs = at;
    if (event.type === "ExecutionRedriven") this.stopRunning(at);
    if (/^Execution(Succeeded|Failed|Aborted|TimedOut)$/.test(event.type)) {
      this.endedMs = at;
      this.stopRunning(at);
    }
    if (event.type === "TaskScheduled") {
      const task = taskScheduled(event, at);
      if (!task) return;
      this.tasks.delete(task.taskId);
      this.tasks.set(task.taskId, task);
      this.taskOfEvent.set(event.id, task);
      return;
    }
    const task = this.taskOfEvent.get(event.previousEventId);
    if (!task) return;
    const ends = { TaskSucceeded: "succeeded", TaskFailed: "failed", TaskTimedOut: "failed" } as const;
    if (event.type in ends) {
      task.state = ends[event.type as keyof typeof ends];
      task.endedMs = at;
    } else if (event.type.startsWith("Task") && !event.type.endsWith("StateExited"))
      this.taskOfEvent.set(event.id, task);
  }

  /** A task that no history tells of: a command outside of any run. */
  startTask(taskId: string, stage: StageName, startedMs = Date.now()): void {
    this.tasks.set(taskId, { taskId, stage, startedMs, state: "running", progress: new Map() });
  }

  endTask(taskId: string, state: "succeeded" | "failed", endedMs = Date.now()): void {
    const task = this.tasks.get(taskId);
    if (task) Object.assign(task, { state, endedMs });
  }

  onProgress(event: ProgressEvent): void {
    const task = this.tasks.get(event.taskId);
    // What an earlier, killed process said of the same task is not this one's.
    if (!task || Date.parse(event.time) < task.startedMs) return;
    task.progress.set(event.index ?? -1, event);
    if (event.message !== undefined) task.message = event.message;
  }

  /** In the order of their start. */
  view(): TaskView[] {
    return [...this.tasks.values()].map((task) => this.viewOf(task));
  }

  private viewOf({ progress, ...task }: Task): TaskView {
    const events = [...progress.values()];
    const counted = events.reduce((sum, event) => sum + event.done, 0);
    const unit = events[0]?.unit ?? "cases";
    const said = events.reduce((sum, event) => sum + event.total, 0);
    const isOverCases = task.children !== undefined && unit === "cases";
    const total = isOverCases ? Math.max(said, this.options.casesOf?.(task.taskId) ?? 0) : said;
    // What succeeded before a resume said its progress to another process; it has done all its cases.
    const done = isOverCases && task.state === "succeeded" ? total : counted;
    const rate = events.filter((event) => event.done < event.total).reduce((sum, event) => sum + event.rate, 0);
    const isRunning = task.state === "running";
    return {
      ...task,
      done,
      total,
      unit,
      rate,
      // What is left of the last unit is a remainder that grows no smaller with the work behind it (scores, a
      // first case's share of windows): no estimate of it, nor before one whole unit is done.
      ...(isRunning && rate > 0 && done >= 1 && total - done >= 1 ? { secondsLeft: (total - done) / rate } : {}),
    };
  }

  /** A killed engine leaves tasks without an end. */
  private stopRunning(at: number): void {
    for (const task of this.tasks.values())
      if (task.state === "running") {
        task.state = "stopped";
        task.endedMs = at;
      }
  }
}

/** Where SubmitJob has a container's command: by its job definition's form. */
interface Overrides {
  ContainerOverrides?: { Command?: string[] };
  EcsPropertiesOverride?: { TaskProperties?: { Containers?: { Command?: string[] }[] }[] };
}

const commandOf = ({ ContainerOverrides, EcsPropertiesOverride }: Overrides): string[] | undefined =>
  EcsPropertiesOverride?.TaskProperties?.[0]?.Containers?.[0]?.Command ?? ContainerOverrides?.Command;

/** The task that a TaskScheduled event starts; undefined for what is no stage, such as a notification. */
function taskScheduled(event: HistoryEvent, startedMs: number): Task | undefined {
  const details = event.taskScheduledEventDetails;
  if (!details) return undefined;
  const parameters = JSON.parse(details.parameters) as Overrides & {
    NodeOverrides?: { NodePropertyOverrides?: Overrides[] };
    ArrayProperties?: { Size?: number };
    HyperParameters?: { task?: string };
    TransformInput?: { DataSource?: { S3DataSource?: { S3Uri?: string } } };
    FunctionName?: string;
  };
  const command = commandOf(parameters.NodeOverrides?.NodePropertyOverrides?.[0] ?? parameters);
  const lines = parameters.TransformInput?.DataSource?.S3DataSource?.S3Uri;
  const uri = command?.at(-1) ?? parameters.HyperParameters?.task ?? lines;
  const called = parameters.FunctionName?.toLowerCase();
  const name =
    command?.[0] ??
    (parameters.HyperParameters
      ? "train"
      : lines
        ? "infer"
        : ["plan", "report"].find((verb) => called?.includes(verb)));
  const stage = stageName.safeParse(name);
  if (!stage.success) return undefined;
  return {
    taskId: /\/tasks\/([^/]+)\.(?:json|lines\/)$/.exec(uri ?? "")?.[1] ?? stage.data,
    stage: stage.data,
    ...(parameters.ArrayProperties?.Size === undefined ? {} : { children: parameters.ArrayProperties.Size }),
    startedMs,
    state: "running",
    progress: new Map(),
  };
}
