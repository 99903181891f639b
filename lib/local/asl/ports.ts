// What the interpreter needs from outside: tasks, objects, time.
import type { Json, JsonObject } from "./json.ts";

/** One step of the way to a task: which iteration of which Map it is in. */
export interface Iteration {
  map: string;
  index: number;
}

export interface TaskRequest {
  /** The state's Resource, as written. */
  resource: string;
  /** The evaluated Arguments; the state's input where it has none. */
  arguments: Json;
  stateName: string;
  /** Iterations around the state, outermost first. */
  path: readonly Iteration[];
  /** 0 for the first try: $states.context.State.RetryCount. */
  attempt: number;
  /** How often this execution was continued: names of jobs must carry it with the attempt. */
  redriveCount: number;
  /** Absent where the state sets none. */
  timeoutSeconds?: number;
  /**
   * Aborted with a TaskAbort as reason. When `reason.stopsJob` the runner must end its job and settle;
   * a timeout leaves the job running, as on AWS, and nobody waits for it any more.
   */
  signal: AbortSignal;
  /** $states.context at the time of scheduling. */
  context: JsonObject;
  /** A `.sync` runner reports the answer to its submission: it becomes a TaskSubmitted event. */
  submitted(output: Json): Promise<void>;
}

/** @throws StatesError to fail the task; anything else thrown ends the execution with States.Runtime */
export type TaskRunner = (request: TaskRequest) => Promise<unknown>;

export interface S3Object {
  key: string;
  bytes: number;
  /** In quotes, as S3 gives it. */
  etag: string;
  lastModifiedSeconds: number;
}

/** S3 as an ItemReader uses it. @throws Error: becomes States.ItemReaderFailed with its message */
export interface ItemReaderPort {
  getObject(address: { bucket: string; key: string; versionId?: string }): Promise<Uint8Array | string>;
  /** Absent: an ItemReader of s3:listObjectsV2 fails with States.ItemReaderFailed. */
  listObjectsV2?(address: { bucket: string; prefix?: string }): Promise<S3Object[]>;
}

export interface Clock {
  now(): Date;
  /** Resolves early, without throwing, when the signal is aborted. */
  sleep(milliseconds: number, signal: AbortSignal): Promise<void>;
}

/** setTimeout counts in a signed 32-bit integer: longer sleeps are cut into pieces. */
const LONGEST_TIMER_MS = 2_147_483_647;

export const systemClock: Clock = {
  now: () => new Date(),
  async sleep(milliseconds, signal) {
    const until = Date.now() + milliseconds;
    for (;;) {
      const left = until - Date.now();
      if (left <= 0 || signal.aborted) return;
      await new Promise<void>((resolve) => {
        const done = () => {
          clearTimeout(timer);
          signal.removeEventListener("abort", done);
          resolve();
        };
        const timer = setTimeout(done, Math.min(left, LONGEST_TIMER_MS));
        signal.addEventListener("abort", done, { once: true });
      });
    }
  },
};
