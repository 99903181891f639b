// Draws messages: bars in place on a terminal, plain lines elsewhere; prose beside --json goes to stderr.
import type { WriteStream } from "node:tty";
import { tableLines } from "./format.ts";
import type { Message } from "./messages.ts";
import { barLine, labelOf, plainLine } from "./progress-lines.ts";
import type { RunView, TaskView } from "./run-view.ts";

type Stream = Pick<WriteStream, "write"> & { isTTY?: boolean; columns?: number };

const FRAME_MS = 120;
/** A plain line for each task as often as this, so that the log of a night stays readable. */
const PLAIN_MS = 10_000;

export interface RendererOptions {
  out: Stream;
  err: Stream;
  /** One JSON object owns stdout. */
  json: boolean;
  /** Errors with their stack. */
  debug: boolean;
  now?: () => number;
}

export class Renderer {
  private readonly options: RendererOptions;
  private readonly prose: Stream;
  private readonly now: () => number;
  private drawnLines = 0;
  private drawnAt = 0;
  private redraw: NodeJS.Timeout | undefined;
  /** Tasks whose last line has been said, by task and start. */
  private readonly ended = new Set<string>();
  private readonly saidAt = new Map<string, { at: number; text: string }>();

  constructor(options: RendererOptions) {
    this.options = options;
    this.prose = options.json ? options.err : options.out;
    this.now = options.now ?? Date.now;
  }

  readonly emit = (message: Message): void => {
    switch (message.kind) {
      case "progress":
        if (this.prose.isTTY) this.draw(message.view);
        else this.sayPlainly(message.view);
        break;
      case "progress-ended":
        if (this.prose.isTTY) this.drawNow(message.view);
        else this.sayPlainly(message.view);
        this.drawnLines = 0;
        break;
      case "note":
        this.say(this.prose, [message.text]);
        break;
      case "warning":
        this.say(this.prose, [`warning: ${message.text}`]);
        break;
      case "table":
        this.say(this.prose, [...(message.title ? ["", message.title] : []), ...tableLines(message.table), ""]);
        break;
      case "error":
        this.say(this.options.err, [
          `${message.code}: ${message.text}`,
          `  what to do: ${message.remedy}`,
          ...(this.options.debug && message.stack ? [message.stack] : []),
        ]);
    }
  };

  /** The one JSON object on stdout. */
  result(value: unknown): void {
    if (this.options.json) this.options.out.write(`${JSON.stringify(value)}\n`);
  }

  private say(stream: Stream, lines: readonly string[]): void {
    this.erase();
    stream.write(lines.map((line) => `${line}\n`).join(""));
  }

  /** At most eight frames a second: what changed in between is in the next one. */
  private draw(view: RunView): void {
    const wait = this.drawnAt + FRAME_MS - this.now();
    if (wait <= 0) this.drawNow(view);
    else this.redraw ??= setTimeout(() => this.drawNow(view), wait).unref();
  }

  private drawNow(view: RunView): void {
    clearTimeout(this.redraw);
    this.redraw = undefined;
    this.drawnAt = this.now();
    const tasks = view.view();
    const labelWidth = Math.max(12, ...tasks.map((task) => labelOf(task).length));
    const line = (task: TaskView) => barLine(task, this.now(), labelWidth).slice(0, (this.prose.columns ?? 80) - 1);
    this.erase();
    // What has ended is written once and scrolls away; what runs is drawn anew below it.
    const over = tasks.filter((task) => task.state !== "running" && !this.ended.has(nameOf(task)));
    for (const task of over) this.ended.add(nameOf(task));
    const running = tasks.filter((task) => task.state === "running").map(line);
    const text = [...over.map(line), ...running].map((one) => `${one}\n`).join("");
    this.prose.write(text);
    this.drawnLines = running.length;
  }

  private erase(): void {
    if (this.drawnLines > 0) this.prose.write(`\u001b[${this.drawnLines}A\u001b[0J`);
    this.drawnLines = 0;
  }

  private sayPlainly(view: RunView): void {
    for (const task of view.view()) {
      const name = nameOf(task);
      if (this.ended.has(name)) continue;
      const before = this.saidAt.get(name);
      const isOver = task.state !== "running";
      if (!isOver && before && this.now() - before.at < PLAIN_MS) continue;
      const text = plainLine(task);
      if (isOver) this.ended.add(name);
      if (before?.text === text) continue;
      this.saidAt.set(name, { at: this.now(), text });
      this.prose.write(`${text}\n`);
    }
  }
}

/** A task that is started again after a kill is another one. */
const nameOf = (task: TaskView) => `${task.taskId}@${task.startedMs}`;
