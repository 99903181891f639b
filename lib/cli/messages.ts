// What commands say. They never print: a renderer decides how a message looks on a terminal, in a pipe, beside --json.
import type { Table } from "./format.ts";
import type { RunView } from "./run-view.ts";

export type Message =
  /** A line of prose. */
  | { kind: "note"; code: string; text: string }
  | { kind: "warning"; code: string; text: string }
  | { kind: "table"; code: string; title?: string; table: Table }
  /** The state of a run has changed; drawn again and again in place. */
  | { kind: "progress"; view: RunView }
  /** No more progress: what was drawn stays. */
  | { kind: "progress-ended"; view: RunView }
  | { kind: "error"; code: string; text: string; remedy: string; stack?: string };

export type Emit = (message: Message) => void;

export const note = (code: string, text: string): Message => ({ kind: "note", code, text });
export const warning = (code: string, text: string): Message => ({ kind: "warning", code, text });
