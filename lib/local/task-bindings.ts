// Which Resource of the state machine is what on this machine. Anything else is refused by name before a run starts.
import { randomUUID } from "node:crypto";
import { VoxelburstError } from "../contracts/index.ts";
import { StatesError, TaskAbort } from "./asl/errors.ts";
import type { TaskRequest, TaskRunner } from "./asl/ports.ts";
import { listJobs, submitJob } from "./batch-job.ts";
import { functionNamed, invokeFunction, type LambdaFunction } from "./function-call.ts";
import { argumentsOf, type JobHost, sdkMetadata } from "./job-host.ts";
import { createTrainingJob } from "./training-job.ts";
import { createModel, createTransformJob, deleteModel } from "./transform-job.ts";

export interface Bindings extends JobHost {
  functions: Readonly<Record<string, LambdaFunction>>;
  /** What sns:publish publishes. */
  onNotice(notice: { subject?: string; message: string }): void;
}

type Service = (request: TaskRequest, bindings: Bindings) => Promise<unknown>;

const SERVICES: Readonly<Record<string, Service>> = {
  "arn:aws:states:::batch:submitJob.sync": submitJob,
  "arn:aws:states:::aws-sdk:batch:listJobs": listJobs,
  "arn:aws:states:::sagemaker:createTrainingJob.sync": createTrainingJob,
  "arn:aws:states:::sagemaker:createModel": createModel,
  "arn:aws:states:::aws-sdk:sagemaker:deleteModel": deleteModel,
  "arn:aws:states:::sagemaker:createTransformJob.sync": createTransformJob,
  "arn:aws:states:::lambda:invoke": (request, { functions, onError }) => invokeFunction(request, functions, onError),
  "arn:aws:states:::sns:publish": async (request, { onNotice }) => {
    const { Subject, Message } = argumentsOf(request);
    onNotice({ ...(typeof Subject === "string" ? { subject: Subject } : {}), message: String(Message ?? "") });
    return { MessageId: randomUUID(), ...sdkMetadata };
  },
};

/** The partition is the region's matter: aws-cn and aws-us-gov name the same services. */
const serviceOf = (resource: string): Service | undefined => SERVICES[resource.replace(/^arn:[^:]*:/, "arn:aws:")];

export interface BoundTasks {
  run: TaskRunner;
  /** Resolves when no task is at work any more: also those that a state has stopped waiting for. */
  settled(): Promise<void>;
}

/**
 * Tasks on this machine.
 *
 * @param onBroken - told of an error that is no task's but the engine's own, such as a full disk: it is to stop the execution
 */
export function bindTasks(bindings: Bindings, onBroken: (error: unknown) => void): BoundTasks {
  const working = new Set<Promise<unknown>>();
  return {
    run: async (request) => {
      const service = serviceOf(request.resource);
      if (!service) throw unsupported(request.stateName, request.resource);
      const work = service(request, bindings);
      working.add(work);
      try {
        return await work;
      } catch (error) {
        if (error instanceof StatesError || error instanceof TaskAbort) throw error;
        onBroken(error);
        // As a stop, which a resumed run begins the state again after; a failure would be kept and gone on from.
        throw new TaskAbort("stopped");
      } finally {
        working.delete(work);
      }
    },
    settled: async () => {
      await Promise.allSettled(working);
    },
  };
}

const unsupported = (state: string, resource: string) =>
  new VoxelburstError(
    "ResourceUnsupported",
    `The state ${state} uses ${resource}, which cannot run on one machine; allowed: ${Object.keys(SERVICES).join(", ")}.`,
    "Run the workflow on AWS, or take the state out of it.",
    { field: state, got: resource },
  );

interface AnyState {
  Type?: unknown;
  Resource?: unknown;
  Arguments?: { FunctionName?: unknown };
  ItemProcessor?: { States?: Record<string, AnyState> };
  Branches?: { States?: Record<string, AnyState> }[];
}

/** @throws VoxelburstError ResourceUnsupported or FunctionUnknown for the first Task that has no counterpart here */
export function checkResources(definition: unknown, functions: Readonly<Record<string, LambdaFunction>>): void {
  const check = (states: Record<string, AnyState> = {}) => {
    for (const [name, state] of Object.entries(states)) {
      check(state.ItemProcessor?.States);
      for (const branch of state.Branches ?? []) check(branch.States);
      if (state.Type !== "Task" || typeof state.Resource !== "string") continue;
      if (!serviceOf(state.Resource)) throw unsupported(name, state.Resource);
      const called = state.Arguments?.FunctionName;
      const isKnown = typeof called !== "string" || called.startsWith("{%") || functionNamed(called, functions);
      if (!isKnown)
        throw new VoxelburstError(
          "FunctionUnknown",
          `The state ${name} calls ${called}, which has no counterpart on one machine; allowed: ${Object.keys(functions).join(", ")}.`,
          "Correct the state machine, or bind the function in lib/local.",
          { field: name, got: called },
        );
    }
  };
  check((definition as { States?: Record<string, AnyState> }).States);
}
