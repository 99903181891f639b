// A Python command outside of any run: predict, phantoms. Its lines of JSON are read, the rest goes to a log.
import { mkdirSync } from "node:fs";
import path from "node:path";
import { type ErrorDocument, type ProgressEvent, VoxelburstError } from "../contracts/index.ts";
import { runChild } from "./child.ts";
import type { Home } from "./home.ts";

export interface StageCommand {
  home: Home;
  python: string;
  /** For example ["predict", "--model", "..."]. */
  args: readonly string[];
  cwd?: string;
  signal: AbortSignal;
  onProgress?(event: ProgressEvent): void;
  /** A JSON object that it printed, when it does. */
  onObject?(value: Record<string, unknown>): void;
  /** A line of its stderr, which is prose. */
  onProse?(line: string): void;
}

/**
 * Runs `python -m voxelburst ARGS` to its end.
 *
 * @returns the JSON objects that it printed, without progress and errors
 * @throws VoxelburstError the error that it printed; Cancelled; or CommandFailed with the path of its log
 */
export async function runStageCommand(command: StageCommand): Promise<Record<string, unknown>[]> {
  const { home, signal } = command;
  const folder = path.join(home.folder, "logs");
  mkdirSync(folder, { recursive: true });
  const started = new Date().toISOString().replaceAll(/[:.]/g, "-");
  const logFile = path.join(folder, `${command.args[0]}-${started}-${process.pid}.log`);
  const printed: Record<string, unknown>[] = [];
  const end = await runChild({
    python: command.python,
    args: ["-m", "voxelburst", ...command.args],
    cwd: command.cwd ?? process.cwd(),
    env: { ...process.env, PYTHONUNBUFFERED: "1", PYTHONNOUSERSITE: "1" },
    logFile,
    signal,
    onProgress: command.onProgress ?? (() => undefined),
    onObject(value) {
      printed.push(value);
      command.onObject?.(value);
    },
    onProse: command.onProse,
  });
  if (end.exitCode === 0) return printed;
  if (end.endedBy === "cancel")
    throw new VoxelburstError("Cancelled", "The command was cancelled.", "Start it again when you want it.");
  throw end.error
    ? fromDocument(end.error)
    : new VoxelburstError(
        "CommandFailed",
        `${command.args[0]} ended with ${end.exitCode}.`,
        `Read its log: ${logFile}.`,
        { got: String(end.exitCode) },
      );
}

/** The error of an error document. */
export function fromDocument({ schema: _schema, code, message, remedy, ...details }: ErrorDocument): VoxelburstError {
  return new VoxelburstError(code, message, remedy, details);
}
