// Processes by what /proc says of them: who is still the process that a file names, and who belongs to a run.
import { readdirSync, readFileSync } from "node:fs";

/** Every stage process has it in its environment, and whatever it starts inherits it. */
export const RUN_MARK = "VOXELBURST_RUN_FOLDER";

/** Since the start of the system, in ticks: with the boot and the pid it names a process for ever. */
export function startTicks(pid: number): string | undefined {
  try {
    // The name in parentheses may hold spaces; the 20th field after it is the start time.
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ")[19];
  } catch {
    return undefined;
  }
}

let boot: string | undefined;

export function bootId(): string {
  boot ??= readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  return boot;
}

export interface ProcessName {
  pid: number;
  startTicks: string;
  bootId: string;
}

export const thisProcess = (): ProcessName => ({
  pid: process.pid,
  startTicks: startTicks(process.pid) ?? "",
  bootId: bootId(),
});

export const isAlive = (name: ProcessName): boolean =>
  name.bootId === bootId() && startTicks(name.pid) === name.startTicks && !isZombie(name.pid);

function isZombie(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.startsWith("Z") ?? true;
  } catch {
    return true;
  }
}

/** Processes of this user that a run started and that are still there. */
export function processesOf(runFolder: string): number[] {
  const mark = `${RUN_MARK}=${runFolder}`;
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").includes(mark) && !isZombie(pid);
      } catch {
        return false; // it ended, or belongs to somebody else
      }
    });
}

/** Ends what is left of a dead run, so that two generations never write the same output. @returns how many there were */
export async function killProcessesOf(runFolder: string): Promise<number> {
  const killed = new Set<number>();
  for (let tries = 0; tries < 100; tries++) {
    const left = processesOf(runFolder);
    if (left.length === 0) break;
    for (const pid of left) {
      killed.add(pid);
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It ended on its own.
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return killed.size;
}
