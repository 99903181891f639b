// A home in a temporary folder, and single tasks run through the real executor on a stand-in script.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import { TaskAbort } from "../../lib/local/asl/errors.ts";
import type { TaskRequest } from "../../lib/local/asl/ports.ts";
import { Faults } from "../../lib/local/faults.ts";
import { FolderStore } from "../../lib/local/folder-store.ts";
import { type Home, homeAt } from "../../lib/local/home.ts";
import { childEnvironment } from "../../lib/local/job-host.ts";
import { findPython } from "../../lib/local/machine.ts";
import { RunFolder } from "../../lib/local/run-folder.ts";
import { RunningJobs } from "../../lib/local/running-jobs.ts";
import { type Capacity, Slots } from "../../lib/local/slots.ts";
import type { Bindings } from "../../lib/local/task-bindings.ts";

export const standIn = fileURLToPath(new URL("stand-in.py", import.meta.url));
export const python = findPython();
export const TWO_CORES: Capacity = { cpus: 2, gpuIds: [], memoryMiB: 8192 };

export function temporaryFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), "voxelburst-local-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface Fixture {
  home: Home;
  folder: string;
  run: RunFolder;
  bindings: Bindings;
  seen: { progress: unknown[]; errors: unknown[]; notices: unknown[] };
}

export function fixture(capacity: Capacity = TWO_CORES, overrides: Partial<Bindings> = {}): Fixture {
  const folder = temporaryFolder();
  const home = homeAt(path.join(folder, ".voxelburst"));
  const run = new RunFolder(home, "phantoms-0123456789ab-1");
  const seen: Fixture["seen"] = { progress: [], errors: [], notices: [] };
  run.lock()?.[Symbol.dispose]();
  return {
    home,
    folder,
    run,
    seen,
    bindings: {
      run,
      store: new FolderStore(),
      slots: new Slots(capacity),
      faults: new Faults(),
      running: new RunningJobs(),
      python,
      entry: [standIn],
      functions: {},
      closing: new AbortController().signal,
      memoryMiBOf: async () => 100,
      gpusOf: async () => capacity.gpuIds.length,
      environment: (cpus, ids, variables) => childEnvironment(run, cpus, ids, variables),
      onProgress: (event) => seen.progress.push(event),
      onError: (error) => seen.errors.push(error),
      onNotice: (notice) => seen.notices.push(notice),
      ...overrides,
    },
  };
}

export interface Call extends TaskRequest {
  abort(kind: TaskAbort["kind"]): void;
  submissions: unknown[];
}

/** A task request as the interpreter makes it. */
export function call(resource: string, args: unknown): Call {
  const controller = new AbortController();
  const submissions: unknown[] = [];
  return {
    resource: `arn:aws:states:::${resource}`,
    arguments: args as TaskRequest["arguments"],
    stateName: "State",
    path: [],
    attempt: 0,
    redriveCount: 0,
    context: {},
    signal: controller.signal,
    submissions,
    submitted: async (output) => {
      submissions.push(output);
    },
    abort: (kind) => controller.abort(new TaskAbort(kind)),
  };
}

export const job = (name: string, command: string[], more: object = {}) =>
  call("batch:submitJob.sync", {
    JobName: name,
    JobDefinition: "definition",
    JobQueue: "queue",
    ContainerOverrides: { Command: command },
    ...more,
  });

export const linesOf = (file: string): Record<string, never>[] =>
  readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
