// Who runs a run: one process at a time, and a dead one is recognised as dead.
import { linkSync, readdirSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { isMissing, isPresent } from "./disk-error.ts";
import { isAlive, type ProcessName, thisProcess } from "./processes.ts";

const NAME = /^lock\.(\d+)$/;

/**
 * Locks are numbered and the highest one counts. A dead lock is not replaced but topped: of two processes that both see
 * it dead, only one can make the next number.
 */
export class RunLock implements Disposable {
  private readonly file: string;

  private constructor(file: string) {
    this.file = file;
  }

  /** @returns undefined when a living process holds the lock of the folder */
  static acquire(folder: string): RunLock | undefined {
    const staged = path.join(folder, `.lock-${process.pid}`);
    writeFileSync(staged, JSON.stringify(thisProcess()));
    try {
      for (;;) {
        const last = highest(folder);
        if (last && isHeld(last.file)) return undefined;
        const file = path.join(folder, `lock.${(last?.number ?? 0) + 1}`);
        try {
          linkSync(staged, file);
          return new RunLock(file);
        } catch (error) {
          if (!isPresent(error)) throw error;
        }
      }
    } finally {
      unlinkSync(staged);
    }
  }

  /** The process that holds the lock of a folder, if it lives. */
  static holder(folder: string): ProcessName | undefined {
    const last = highest(folder);
    return last && isHeld(last.file) ? read(last.file) : undefined;
  }

  [Symbol.dispose](): void {
    try {
      unlinkSync(this.file);
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }
}

function highest(folder: string): { file: string; number: number } | undefined {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  const numbers = names.flatMap((name) => NAME.exec(name)?.[1] ?? []).map(Number);
  if (numbers.length === 0) return undefined;
  const number = Math.max(...numbers);
  return { number, file: path.join(folder, `lock.${number}`) };
}

function read(file: string): ProcessName | undefined {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as ProcessName;
  } catch {
    return undefined; // just released
  }
}

function isHeld(file: string): boolean {
  const owner = read(file);
  return owner !== undefined && isAlive(owner);
}
