// Conducts a claimed run: the interpreter executes the state machine, and this machine does the tasks.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import {
  type Clock,
  type ErrorDocument,
  ingestCase,
  keys,
  type Machine,
  type ObjectStore,
  type ProgressEvent,
  parseOrThrow,
  planInput,
  plan as planSchema,
  type RunRequest,
  readJson,
  readJsonLines,
  reportInput,
  reserveInput,
  type StageName,
  settleInput,
  trainTask,
  under,
  VoxelburstError,
} from "../contracts/index.ts";
import { type ExecutionResult, runExecution } from "./asl/execution.ts";
import type { HistoryEvent } from "./asl/history-event.ts";
import { isMissing } from "./disk-error.ts";
import type { ClaimedRun } from "./executions.ts";
import { Faults } from "./faults.ts";
import type { LambdaFunction } from "./function-call.ts";
import { childEnvironment } from "./job-host.ts";
import { gpuIds } from "./machine.ts";
import { RunningJobs } from "./running-jobs.ts";
import { Slots } from "./slots.ts";
import { ingestMemoryMiB } from "./stage-memory.ts";
import { bindTasks, checkResources } from "./task-bindings.ts";

const workflowFile = fileURLToPath(new URL("../workflow/workflow.asl.json", import.meta.url));

/** What is left to the system and to the engine itself. */
const SHARE_OF_MEMORY = 0.9;
/** Of a stage that no plan has an estimate for. */
const UNKNOWN_STAGE_MIB = 4096;

/** The text of the state machine that AWS executes too. @throws VoxelburstError WorkflowMissing */
export function readWorkflow(file = workflowFile): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (!isMissing(error)) throw error;
    throw new VoxelburstError(
      "WorkflowMissing",
      "lib/workflow/workflow.asl.json is not there.",
      "Write it with `npm run build`.",
      { cause: error },
    );
  }
}

/** Told what happens, as it happens. */
export interface RunObserver {
  onHistory(event: HistoryEvent): void;
  onProgress(event: ProgressEvent): void;
  onError(error: ErrorDocument): void;
  onNotice(notice: { subject?: string; message: string }): void;
}

export interface EnginePorts {
  store: ObjectStore;
  clock: Clock;
  machine: Machine;
  python: string;
  /** @default ["-m", "voxelburst"] */
  entry?: readonly string[];
  pseudonymKey: string;
  /** @default none */
  faults?: Faults;
  observer: RunObserver;
  /** Aborting it cancels the run and its jobs. */
  signal: AbortSignal;
  /** @default the cores of the lambdas */
  functions?: Readonly<Record<string, LambdaFunction>>;
}

/** Loaded when they are called: the report's plots alone take longer to load than most commands run. */
const coresOf = (ports: EnginePorts, running: RunningJobs): Readonly<Record<string, LambdaFunction>> => ({
  ...ledgerOf(ports, running),
  async plan(input) {
    const { plan } = await import("../../lambdas/plan/core.ts");
    return plan(parseOrThrow(planInput, input, "the input of plan", "PlanInputInvalid"), ports);
  },
  async report(input) {
    const { report } = await import("../../lambdas/report/core.ts");
    return report(parseOrThrow(reportInput, input, "the input of report", "ReportInputInvalid"), ports);
  },
});

/** The ledger of a run that costs nothing: it grants everything, and stops what a state that timed out left running. */
function ledgerOf(ports: EnginePorts, running: RunningJobs): Readonly<Record<"reserve" | "settle", LambdaFunction>> {
  const load = async () => {
    const [core, { freeLedger }] = await Promise.all([
      import("../../lambdas/ledger/core.ts"),
      import("../../lambdas/ledger/memory-store.ts"),
    ]);
    const free = freeLedger(ports);
    const jobs: typeof free.jobs = {
      ...free.jobs,
      use: async ({ name }) => ({ times: [], isAlive: running.isAlive(name), running: [] }),
      stop: async ({ name }) => running.stop(name),
    };
    return { core, ledger: { ...free, jobs } };
  };
  let loaded: ReturnType<typeof load> | undefined;
  const use = () => (loaded ??= load());
  return {
    async reserve(input) {
      const { core, ledger } = await use();
      return core.reserve(parseOrThrow(reserveInput, input, "the input of reserve", "ReserveInputInvalid"), ledger);
    },
    async settle(input) {
      const { core, ledger } = await use();
      return core.settle(parseOrThrow(settleInput, input, "the input of settle", "SettleInputInvalid"), ledger);
    },
  };
}

/**
 * Runs the claimed run to its end, or on from where its history stops. The lock is released whatever happens.
 *
 * @throws VoxelburstError DiskFull and other failures of the engine itself; the run can then be resumed
 */
export async function conductRun(claimed: ClaimedRun, ports: EnginePorts): Promise<ExecutionResult> {
  const { folder, request } = claimed;
  using _lock = claimed.lock;
  const definition: unknown = JSON.parse(folder.definition ?? "null");
  const running = new RunningJobs();
  const functions = ports.functions ?? coresOf(ports, running);
  checkResources(definition, functions);
  const closing = new AbortController();
  const breaking = new AbortController();
  let broken: unknown;
  const tasks = bindTasks(
    {
      run: folder,
      store: ports.store,
      slots: new Slots({
        cpus: ports.machine.cpus,
        gpuIds: gpuIds(ports.machine.gpus),
        memoryMiB: ports.machine.memoryGiB * 1024 * SHARE_OF_MEMORY,
      }),
      faults: ports.faults ?? new Faults(),
      running,
      python: ports.python,
      entry: ports.entry ?? ["-m", "voxelburst"],
      functions,
      closing: closing.signal,
      memoryMiBOf: (stage) => memoryOf(stage, request, ports.store),
      gpusOf: (taskUri) => gpusOf(taskUri, ports.store),
      environment: (cpus, ids, variables) =>
        childEnvironment(folder, cpus, ids, { VOXELBURST_PSEUDONYM_KEY: ports.pseudonymKey, ...variables }),
      onProgress(event) {
        folder.appendProgress(event);
        ports.observer.onProgress(event);
      },
      onError: (error) => ports.observer.onError(error),
      onNotice: (notice) => ports.observer.onNotice(notice),
    },
    (error) => {
      broken ??= error;
      breaking.abort();
    },
  );
  try {
    const result = await runExecution({
      definition,
      input: JSON.parse(JSON.stringify(request)),
      name: request.runId,
      tasks: tasks.run,
      // The workflow passes keys; no state of it reads its items from S3.
      s3: { getObject: () => Promise.reject(new Error("There is no S3 on one machine.")) },
      sink(event) {
        folder.appendHistory(event);
        ports.observer.onHistory(event);
      },
      history: claimed.history,
      signal: AbortSignal.any([ports.signal, breaking.signal]),
    });
    if (result.status !== "SUCCEEDED" && broken !== undefined) throw broken;
    return result;
  } finally {
    closing.abort();
    await tasks.settled();
    folder.close();
  }
}

async function memoryOf(stage: StageName | undefined, request: RunRequest, store: ObjectStore): Promise<number> {
  const at = (key: string) => under(request.artefactsUri, key);
  if (stage === "ingest")
    return ingestMemoryMiB(await readJsonLines(store, at(keys.taskCases(request.runId, "ingest")), ingestCase));
  if (!(await store.exists(at(keys.plan(request.runId))))) return UNKNOWN_STAGE_MIB;
  const planned = await readJson(store, at(keys.plan(request.runId)), planSchema);
  const estimate = planned.estimate.stages.find((one) => one.stage === stage);
  return estimate ? Math.max(estimate.memoryGiB * 1024, 1) : UNKNOWN_STAGE_MIB;
}

async function gpusOf(taskUri: string | undefined, store: ObjectStore): Promise<number> {
  return taskUri === undefined ? 0 : (await readJson(store, taskUri, trainTask)).gpus;
}
