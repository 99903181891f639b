// Runs small machines in tests: a virtual clock, tasks as functions, the events kept.
import { type HistoryEvent, type Json, runExecution, type TaskRequest } from "../../../lib/local/asl/index.ts";
import { VirtualClock } from "./virtual-clock.ts";

export const LAMBDA = "arn:aws:states:::lambda:invoke";

interface Options {
  input?: Json;
  tasks?: (request: TaskRequest) => unknown;
  history?: readonly HistoryEvent[];
  signal?: AbortSignal;
  clock?: VirtualClock;
  objects?: { [key: string]: string };
  onEvent?: (event: HistoryEvent) => void | Promise<void>;
}

/** @param states of a JSONata machine that starts with the first */
export const machineOf = (states: object, rest: object = {}) => ({
  QueryLanguage: "JSONata",
  StartAt: Object.keys(states)[0],
  States: states,
  ...rest,
});

export async function execute(definition: object, options: Options = {}) {
  const clock = options.clock ?? new VirtualClock();
  const events: HistoryEvent[] = [...(options.history ?? [])];
  const requests: TaskRequest[] = [];
  const result = await runExecution({
    definition,
    input: options.input ?? {},
    name: "run-1",
    clock,
    ...(options.history ? { history: options.history } : {}),
    ...(options.signal ? { signal: options.signal } : {}),
    s3: {
      getObject: async ({ bucket, key }) => {
        const body = options.objects?.[`${bucket}/${key}`];
        if (body === undefined) throw new Error("The specified key does not exist.");
        return body;
      },
    },
    sink: async (event) => {
      events.push(JSON.parse(JSON.stringify(event)) as HistoryEvent);
      await options.onEvent?.(event);
    },
    tasks: async (request) => {
      requests.push(request);
      return options.tasks?.(request);
    },
  });
  const types = events.filter(({ executionArn }) => executionArn === undefined).map(({ type }) => type);
  return { result, events, types, requests, slept: clock.slept };
}
