// A run's tasks as lines: bars for a terminal, sentences for a pipe.
import { duration, significant } from "./format.ts";
import type { TaskView } from "./run-view.ts";

const BAR_CELLS = 24;
/** Eighths of a cell, so that a slow bar is seen to move. */
const EIGHTHS = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

export const labelOf = (task: TaskView): string => task.taskId.replaceAll("-", " ");

export function barLine(task: TaskView, nowMs: number, labelWidth: number): string {
  const label = labelOf(task).padEnd(labelWidth);
  if (task.state !== "running") return `${markOf(task)} ${label}  ${endOf(task)}`;
  if (task.total === 0) return `  ${label}  ${duration((nowMs - task.startedMs) / 1000)}`;
  return `  ${label}  ${bar(task.done / task.total)}  ${countsOf(task)}${speedOf(task)}`;
}

/** Without control characters: for logs, CI and screen readers. */
export function plainLine(task: TaskView): string {
  if (task.state !== "running") return `${labelOf(task)}: ${endOf(task)}`;
  if (task.total === 0) return `${labelOf(task)}: started`;
  return `${labelOf(task)}: ${countsOf(task)}${speedOf(task)}`;
}

function bar(share: number): string {
  const filled = Math.min(1, Math.max(0, share)) * BAR_CELLS;
  const whole = Math.floor(filled);
  const rest = EIGHTHS[Math.floor((filled - whole) * 8)] ?? "";
  return `${"█".repeat(whole)}${rest}`.padEnd(BAR_CELLS, "░");
}

const countsOf = ({ done, total, unit }: TaskView) => `${Math.floor(done)}/${Math.floor(total)} ${unit}`;

const speedOf = ({ rate, secondsLeft }: TaskView) =>
  `${rate > 0 ? `, ${significant(rate)}/s` : ""}${secondsLeft === undefined ? "" : `, ${duration(secondsLeft)} left`}`;

const markOf = ({ state }: TaskView) => ({ running: " ", succeeded: "✓", failed: "✗", stopped: "-" })[state];

function endOf(task: TaskView): string {
  const took = duration(((task.endedMs ?? task.startedMs) - task.startedMs) / 1000);
  const counts = task.total > 0 ? `, ${countsOf(task)}` : "";
  const words = { running: "running", succeeded: "done in", failed: "failed after", stopped: "stopped after" };
  return `${words[task.state]} ${took}${counts}`;
}
