// What jobs on this machine are run with: the interpreter, the shares of the machine, the run's folder.
import type { ErrorDocument, ObjectStore, ProgressEvent, StageName } from "../contracts/index.ts";
import { TaskAbort } from "./asl/errors.ts";
import type { TaskRequest } from "./asl/ports.ts";
import type { Faults } from "./faults.ts";
import { RUN_MARK } from "./processes.ts";
import type { RunFolder } from "./run-folder.ts";
import type { RunningJobs } from "./running-jobs.ts";
import type { Slots } from "./slots.ts";

export type JsonRecord = { [field: string]: unknown };

export interface JobHost {
  run: RunFolder;
  store: ObjectStore;
  slots: Slots;
  faults: Faults;
  running: RunningJobs;
  python: string;
  /** What the interpreter is started with before a job's own arguments: ["-m", "voxelburst"]. */
  entry: readonly string[];
  /** Aborted when the engine ends for whatever reason: no job may outlive it. */
  closing: AbortSignal;
  /** The largest process of a stage, as far as it can be known before it runs. */
  memoryMiBOf(stage: StageName | undefined): Promise<number>;
  /** GPUs that the training task at a URI wants. */
  gpusOf(taskUri: string | undefined): Promise<number>;
  /** The whole environment of a child. */
  environment(cpus: number, gpuIds: readonly string[], variables: Record<string, string>): NodeJS.ProcessEnv;
  onProgress(event: ProgressEvent): void;
  /** An error document that a process printed. */
  onError(error: ErrorDocument): void;
}

/**
 * OpenMP's threads wait for each other spinning, for milliseconds by default. With anything else on the machine a
 * spinning thread takes the core that the awaited one needs: beside two other trainings a step took 2.9 s instead of
 * 1.5. This many turns are microseconds; then the thread sleeps.
 */
const GOMP_SPINCOUNT = "10000";
/** Libraries that each would take every core of the machine, for every child. */
const THREAD_COUNTS = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"];

export function childEnvironment(
  run: RunFolder,
  cpus: number,
  gpuIds: readonly string[],
  variables: Record<string, string>,
): NodeJS.ProcessEnv {
  // Only what names this machine's places and language: a child must not depend on the shell that started the engine.
  const inherited = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(AWS_BATCH_|SAGEMAKER_|SM_|PYTHON|OMP_|MKL_|NODE_)/.test(name)),
  );
  return {
    ...inherited,
    ...Object.fromEntries(THREAD_COUNTS.map((name) => [name, String(cpus)])),
    GOMP_SPINCOUNT,
    // Empty hides the GPUs that the child has no share of.
    CUDA_VISIBLE_DEVICES: gpuIds.join(","),
    PYTHONUNBUFFERED: "1",
    PYTHONNOUSERSITE: "1",
    PYTHONFAULTHANDLER: "1",
    [RUN_MARK]: run.folder,
    ...variables,
  };
}

export const argumentsOf = (request: TaskRequest): JsonRecord =>
  request.arguments !== null && typeof request.arguments === "object" && !Array.isArray(request.arguments)
    ? request.arguments
    : {};

/**
 * A signal that ends a job, which is at work until it is disposed of. The state's own signal ends it only where AWS
 * would: a state that timed out leaves its job running, until the ledger has it stopped.
 */
export function jobSignal(
  name: string,
  stateSignal: AbortSignal,
  { closing, running }: Pick<JobHost, "closing" | "running">,
): Disposable & { signal: AbortSignal } {
  const entry = running.enter(name);
  const controller = new AbortController();
  const listen = () => {
    const { reason } = stateSignal;
    if (!(reason instanceof TaskAbort) || reason.stopsJob) controller.abort(reason);
  };
  if (stateSignal.aborted) listen();
  else stateSignal.addEventListener("abort", listen, { once: true });
  return {
    signal: AbortSignal.any([controller.signal, entry.signal, closing]),
    [Symbol.dispose]: () => {
      stateSignal.removeEventListener("abort", listen);
      entry[Symbol.dispose]();
    },
  };
}

/** What Step Functions adds to every answer of a service. */
export const sdkMetadata = { SdkHttpMetadata: { HttpStatusCode: 200 }, SdkResponseMetadata: {} };
