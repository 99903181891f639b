// What every command is given, and what it gives back.
import type { Faults } from "../local/faults.ts";
import type { Workbench } from "../local/workbench.ts";
import type { Emit } from "./messages.ts";

export interface CommandContext {
  emit: Emit;
  /** Opened on first use: `--help` and usage errors need none. */
  workbench: Workbench;
  /** Aborted by Ctrl-C. */
  signal: AbortSignal;
  /** What is to go wrong on purpose. */
  faults?: Faults;
}

export interface CommandResult {
  exitCode: number;
  /** The one object that --json prints. */
  json: object;
}
