// Task: evaluates its arguments, has the runner do the work, records each attempt as Step Functions does.
import { ERROR, StatesError, TaskAbort } from "./errors.ts";
import { type EventDetails, failureDetails, text } from "./history-event.ts";
import type { Json } from "./json.ts";
import { evaluateInteger, evaluateTemplate } from "./jsonata-evaluate.ts";
import type { TaskRequest } from "./ports.ts";
import { integrationOf } from "./resource.ts";
import type { RestoredAttempt } from "./restored.ts";
import { retrying } from "./retrying-state.ts";
import { abortReason, causeIn, linkedController } from "./scope.ts";
import { type Exit, limited, type StateCall } from "./state-call.ts";

const LONGEST_TASK_SECONDS = 99_999_999;

export const runTask = (call: StateCall): Promise<Exit> =>
  retrying(call, (attempt, restored) => attemptTask(call, attempt, restored));

async function attemptTask(call: StateCall, attempt: number, restored: RestoredAttempt | undefined): Promise<Json> {
  if (restored?.result !== undefined) return restored.result;
  const { scope, def, entered } = call;
  scope.throwIfAborted();
  const context = scope.context(entered, attempt);
  const states = { input: call.input, context };
  const { parameters, timeoutSeconds, heartbeatSeconds } = await scope.evaluating(entered, async () => {
    const bindings = (field: string) => scope.bindings(entered, states, `${field}|${attempt}`);
    const seconds = async (field: "TimeoutSeconds" | "HeartbeatSeconds") => {
      const template = def[field];
      if (template === undefined) return undefined;
      return evaluateInteger(template, field, { least: 1, most: LONGEST_TASK_SECONDS }, bindings(field));
    };
    return {
      parameters:
        def.Arguments === undefined
          ? call.input
          : await evaluateTemplate(def.Arguments, "Arguments", bindings("Arguments")),
      timeoutSeconds: await seconds("TimeoutSeconds"),
      // No service integration but a callback sends heartbeats, so on AWS this is recorded and has no effect.
      heartbeatSeconds: await seconds("HeartbeatSeconds"),
    };
  });
  const resource = def.Resource!;
  limited(call.name, text(parameters));
  const events = taskEvents(resource, scope.run.region);
  await scope.record(...events.scheduled(text(parameters), timeoutSeconds, heartbeatSeconds));
  await scope.record(...events.started());
  const request: Omit<TaskRequest, "signal"> = {
    resource,
    arguments: parameters,
    stateName: call.name,
    path: scope.path,
    attempt,
    redriveCount: scope.run.redriveCount,
    ...(timeoutSeconds === undefined ? {} : { timeoutSeconds }),
    context,
    submitted: async (output) => {
      const event = events.submitted(text(output));
      if (event) await scope.record(...event);
    },
  };
  try {
    const result = await perform(call, request);
    await scope.record(...events.succeeded(limited(resource, text(result))));
    return result;
  } catch (thrown) {
    if (thrown instanceof StatesError) {
      const timedOut = thrown.error === ERROR.timeout;
      await scope.record(...(timedOut ? events.timedOut(thrown) : events.failed(thrown)));
    }
    throw thrown;
  }
}

/** @throws StatesError the task's failure, or States.Timeout; TaskAbort when the scope is told to stop */
async function perform(call: StateCall, request: Omit<TaskRequest, "signal">): Promise<Json> {
  const { scope } = call;
  scope.throwIfAborted();
  const { controller, release } = linkedController(scope.signal);
  const timer = new AbortController();
  const work = settled(call, (async () => scope.run.tasks({ ...request, signal: controller.signal }))());
  const aborted = new Promise<never>((_, reject) => {
    controller.signal.addEventListener("abort", () => reject(abortReason(controller.signal)), { once: true });
  });
  aborted.catch(() => {});
  const timedOut =
    request.timeoutSeconds === undefined
      ? new Promise<never>(() => {})
      : scope.run.clock.sleep(request.timeoutSeconds * 1000, timer.signal).then(() => {
          if (timer.signal.aborted || controller.signal.aborted) return new Promise<never>(() => {});
          throw new StatesError(ERROR.timeout);
        });
  timedOut.catch(() => {});
  try {
    return await Promise.race([work, aborted, timedOut]);
  } catch (thrown) {
    if (thrown instanceof StatesError && thrown.error === ERROR.timeout)
      controller.abort(new TaskAbort("state-timeout"));
    else if (thrown instanceof TaskAbort && thrown.stopsJob) {
      const stopping = work.catch(() => {});
      scope.run.stopping.add(stopping);
      stopping.finally(() => scope.run.stopping.delete(stopping));
    }
    throw thrown;
  } finally {
    timer.abort();
    release();
    // The loser of the race may still fail, and nobody listens any more.
    work.catch(() => {});
  }
}

async function settled(call: StateCall, work: Promise<unknown>): Promise<Json> {
  try {
    const result = await work;
    return result === undefined ? null : (JSON.parse(JSON.stringify(result)) as Json);
  } catch (thrown) {
    if (thrown instanceof StatesError || thrown instanceof TaskAbort) throw thrown;
    const message = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
    throw new StatesError(ERROR.runtime, causeIn(call.entered, `The task runner threw ${message}`));
  }
}

type Event = [type: string, details?: EventDetails];

interface TaskEvents {
  scheduled(parameters: string, timeout: number | undefined, heartbeat: number | undefined): Event;
  started(): Event;
  submitted(output: string): Event | undefined;
  succeeded(output: string): Event;
  failed(failure: StatesError): Event;
  timedOut(failure: StatesError): Event;
}

/** A function named by its own ARN has events of another family than a service integration. */
function taskEvents(arn: string, region: string): TaskEvents {
  const integration = integrationOf(arn);
  const whole = { truncated: false };
  if (integration.kind === "lambda")
    return {
      scheduled: (input, timeout) => [
        "LambdaFunctionScheduled",
        {
          lambdaFunctionScheduledEventDetails: {
            resource: arn,
            input,
            inputDetails: whole,
            ...(timeout === undefined ? {} : { timeoutInSeconds: timeout }),
          },
        },
      ],
      started: () => ["LambdaFunctionStarted"],
      submitted: () => undefined,
      succeeded: (output) => [
        "LambdaFunctionSucceeded",
        { lambdaFunctionSucceededEventDetails: { output, outputDetails: whole } },
      ],
      failed: ({ error, cause }) => [
        "LambdaFunctionFailed",
        { lambdaFunctionFailedEventDetails: failureDetails(error, cause) },
      ],
      timedOut: ({ error, cause }) => [
        "LambdaFunctionTimedOut",
        { lambdaFunctionTimedOutEventDetails: failureDetails(error, cause) },
      ],
    };
  const { resource, resourceType } = integration;
  const task = { resource, resourceType };
  return {
    scheduled: (parameters, timeout, heartbeat) => [
      "TaskScheduled",
      {
        taskScheduledEventDetails: {
          ...task,
          region,
          parameters,
          ...(timeout === undefined ? {} : { timeoutInSeconds: timeout }),
          ...(heartbeat === undefined ? {} : { heartbeatInSeconds: heartbeat }),
        },
      },
    ],
    started: () => ["TaskStarted", { taskStartedEventDetails: task }],
    submitted: (output) => ["TaskSubmitted", { taskSubmittedEventDetails: { ...task, output, outputDetails: whole } }],
    succeeded: (output) => ["TaskSucceeded", { taskSucceededEventDetails: { ...task, output, outputDetails: whole } }],
    failed: ({ error, cause }) => [
      "TaskFailed",
      { taskFailedEventDetails: { ...task, ...failureDetails(error, cause) } },
    ],
    timedOut: ({ error, cause }) => [
      "TaskTimedOut",
      { taskTimedOutEventDetails: { ...task, ...failureDetails(error, cause) } },
    ],
  };
}
