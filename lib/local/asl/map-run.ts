// Map in DISTRIBUTED mode: each item, or batch of items, is a child execution with a history of its own.
//
// On AWS those histories are separate. Here their events go to the same sink with `executionArn` set, ids from 1
// in each. A child's ARN ends in its map run's name and its index, so that a continued execution finds it again.
import { runGroup } from "./concurrent-group.ts";
import { conduct, type Outcome } from "./conduct.ts";
import { ERROR, StatesError, TaskAbort } from "./errors.ts";
import { failureDetails } from "./history-event.ts";
import { readBatches } from "./item-batcher.ts";
import { readItems } from "./item-reader.ts";
import { Journal } from "./journal.ts";
import type { Json, JsonObject } from "./json.ts";
import { EvaluationFailure, evaluateTemplate, evaluateTyped } from "./jsonata-evaluate.ts";
import { drawUuid } from "./jsonata-functions.ts";
import { itemInput, type MapNumbers, mapItems, mapNumbers } from "./map-state.ts";
import type { RestoredAttempt, RestoredExecution } from "./restored.ts";
import type { Run } from "./scope.ts";
import type { StateCall } from "./state-call.ts";

/** AWS's is 10,000; a machine's processes are limited where they are started. */
const DISTRIBUTED_CONCURRENCY = 1000;

export async function attemptMapRun(
  call: StateCall,
  attempt: number,
  restored: RestoredAttempt | undefined,
): Promise<Json> {
  const { scope, def, entered } = call;
  scope.throwIfAborted();
  const plan = await scope.evaluating(entered, () => evaluatePlan(call, attempt));
  if (!restored?.startedId)
    await scope.record("MapStateStarted", { mapStateStartedEventDetails: { length: plan.items?.length ?? 0 } });
  const before = restored?.mapRun;
  const mapRunArn = before?.arn ?? newMapRunArn(call, attempt);
  if (!before) await scope.record("MapRunStarted", { mapRunStartedEventDetails: { mapRunArn } });
  else if (before.redriven)
    await scope.record("MapRunRedriven", {
      mapRunRedrivenEventDetails: { mapRunArn, redriveCount: before.redriveCount + 1 },
    });
  let outputs: Json[];
  try {
    const items = plan.items ?? (await readItems(scope.run.s3, def.ItemReader!, plan.readerArguments, plan.maxItems));
    const inputs = await childInputs(call, attempt, items, plan);
    outputs = await runChildren(call, mapRunArn, inputs, plan);
  } catch (thrown) {
    if (thrown instanceof StatesError && thrown.error !== ERROR.queryEvaluation && !before?.ended)
      await scope.record("MapRunFailed", { mapRunFailedEventDetails: failureDetails(thrown.error, thrown.cause) });
    else if (thrown instanceof TaskAbort && thrown.kind === "sibling-failed") await scope.record("MapRunAborted");
    throw thrown;
  }
  if (!restored?.succeeded) {
    if (!before?.ended || before.redriven) await scope.record("MapRunSucceeded");
    await scope.recordAside("MapStateSucceeded");
  }
  return outputs;
}

interface Plan extends MapNumbers {
  items: Json[] | undefined;
  readerArguments: Json;
  maxItems: number | undefined;
  batch: { maxItems: number | undefined; maxBytes: number | undefined; input: Json | undefined } | undefined;
}

async function evaluatePlan(call: StateCall, attempt: number): Promise<Plan> {
  const { scope, def, entered } = call;
  const states = { input: call.input, context: scope.context(entered, attempt) };
  const bindings = (purpose: string) =>
    scope.bindings(entered, states, `${purpose}|${attempt}`, { now: new Date(entered.time) });
  const integer = async (template: Json | undefined, location: string) => {
    if (template === undefined) return undefined;
    const value = (await evaluateTyped(template, location, "number", bindings(location))) as number;
    if (!Number.isInteger(value))
      throw new EvaluationFailure(`The ${location} field must be an integer, but was: ${value}`, location);
    return value;
  };
  const reader = def.ItemReader;
  const batcher = def.ItemBatcher;
  return {
    ...(await mapNumbers(call, attempt)),
    items: reader ? undefined : await mapItems(call, attempt),
    readerArguments: reader?.Arguments
      ? await evaluateTemplate(reader.Arguments, "ItemReader/Arguments", bindings("ItemReader"))
      : {},
    maxItems: await integer(reader?.ReaderConfig?.MaxItems, "ItemReader/ReaderConfig/MaxItems"),
    batch: batcher && {
      maxItems: await integer(batcher.MaxItemsPerBatch, "ItemBatcher/MaxItemsPerBatch"),
      maxBytes: await integer(batcher.MaxInputBytesPerBatch, "ItemBatcher/MaxInputBytesPerBatch"),
      input:
        batcher.BatchInput === undefined
          ? undefined
          : await evaluateTemplate(batcher.BatchInput, "ItemBatcher/BatchInput", bindings("BatchInput")),
    },
  };
}

async function childInputs(call: StateCall, attempt: number, items: readonly Json[], plan: Plan): Promise<Json[]> {
  const selected: Json[] = [];
  for (const [index, item] of items.entries())
    selected.push(await itemInput(call, attempt, item, call.scope, { Index: index, Value: item }));
  return plan.batch ? readBatches(selected, plan.batch) : selected;
}

/**
 * @returns the children's outputs in the order of the items. A tolerated failure leaves its execution record, as the
 *   documentation of ResultWriter's transformations says ("returns its execution result unchanged"); unverified on AWS
 * @throws StatesError States.ExceedToleratedFailureThreshold
 */
async function runChildren(call: StateCall, mapRunArn: string, inputs: readonly Json[], plan: Plan): Promise<Json[]> {
  const { scope } = call;
  const earlier = scope.run.children.get(mapRunArn);
  const outputs: Json[] = inputs.map(() => null);
  const tolerated = toleratedFailures(inputs.length, plan);
  let failures = 0;
  const concurrency = Math.min(plan.maxConcurrency || DISTRIBUTED_CONCURRENCY, DISTRIBUTED_CONCURRENCY);
  await runGroup(scope.signal, inputs.length, concurrency, async (index, group) => {
    const outcome = await runChild(call, mapRunArn, index, inputs[index]!, group.signal, earlier?.get(index));
    if (outcome.status === "SUCCEEDED") {
      outputs[index] = outcome.output;
      return;
    }
    outputs[index] = {
      ExecutionArn: childArn(mapRunArn, index),
      Input: JSON.stringify(inputs[index]),
      Status: outcome.status,
      ...(outcome.error === undefined ? {} : { Error: outcome.error }),
      ...(outcome.cause === undefined ? {} : { Cause: outcome.cause }),
    };
    if (!group.signal.aborted && ++failures > tolerated) {
      const cause = "The specified tolerated failure threshold was exceeded";
      throw new StatesError(ERROR.exceedToleratedFailureThreshold, cause);
    }
  });
  return outputs;
}

/** Either threshold, when passed, fails the run. Without one, the first failure does. */
function toleratedFailures(count: number, { toleratedCount, toleratedPercentage }: MapNumbers): number {
  const byCount = toleratedCount;
  const byPercentage =
    toleratedPercentage === undefined ? undefined : Math.floor((count * toleratedPercentage) / 100 + 1e-9);
  if (byCount === undefined) return byPercentage ?? 0;
  return byPercentage === undefined ? byCount : Math.min(byCount, byPercentage);
}

async function runChild(
  call: StateCall,
  mapRunArn: string,
  index: number,
  input: Json,
  signal: AbortSignal,
  restored: RestoredExecution | undefined,
): Promise<Outcome> {
  const parent = call.scope.run;
  if (restored?.ended) return restored.ended as Outcome;
  const arn = childArn(mapRunArn, index);
  const redriveCount = restored ? restored.redriveCount + 1 : 0;
  const machine = mapRunArn.split(":")[6]!;
  const run: Run = {
    ...parent,
    arn,
    redriveCount,
    journal: new Journal({ sink: parent.sink, clock: parent.clock, childArn: arn, lastId: restored?.lastId ?? 0 }),
    context: {
      Execution: {
        ...parent.context.Execution,
        Id: arn,
        Input: restored?.input ?? input,
        Name: arn.split(":").at(-1)!,
        StartTime: restored?.startTime ?? parent.clock.now().toISOString(),
        RedriveCount: redriveCount,
      },
      StateMachine: {
        Id: `${String(parent.context.StateMachine.Id).split("/")[0]}/${machine.split("/")[1]}`,
        Name: machine,
      },
    },
  };
  const roleArn = (parent.context.Execution as JsonObject).RoleArn;
  return conduct(run, call.def.ItemProcessor!, restored?.input ?? input, {
    signal,
    path: [...call.scope.path, { map: call.name, index }],
    ...(typeof roleArn === "string" ? { roleArn } : {}),
    ...(restored ? { restored } : {}),
  });
}

/** arn:aws:states:REGION:ACCOUNT:mapRun:MACHINE/LABEL:UUID */
function newMapRunArn(call: StateCall, attempt: number): string {
  const [, , , region, account, , machine] = call.scope.run.arn.split(":");
  const label = call.def.Label ?? call.name.replace(/[^A-Za-z0-9_-]/g, "-").slice(0, 40);
  // Seeded with the start, so that a name used again for another execution draws other runs.
  const start = String(call.scope.run.context.Execution.StartTime);
  const uuid = drawUuid(`${call.scope.run.arn}|${start}|${call.entered.id}|mapRun|${attempt}`);
  return `arn:aws:states:${region}:${account}:mapRun:${machine?.split("/")[0]}/${label}:${uuid}`;
}

const childArn = (mapRunArn: string, index: number): string =>
  `${mapRunArn.replace(":mapRun:", ":execution:")}-${index}`;

/** @returns which child of which map run an ARN names, or undefined for an execution that is no child */
export function childOf(arn: string): { mapRunArn: string; index: number } | undefined {
  const parts = /^(arn:[^:]*:states:[^:]*:[^:]*):execution:([^:]*\/[^:]*:.+)-(\d+)$/.exec(arn);
  return parts ? { mapRunArn: `${parts[1]}:mapRun:${parts[2]}`, index: Number(parts[3]) } : undefined;
}
