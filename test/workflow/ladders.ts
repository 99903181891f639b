// Ladders for tests, the committed state machine with them, and a record of the ways that runs went through it.
import type { TaskRequest } from "../../lib/local/asl/index.ts";
import type { RungData } from "../../lib/stages/rung.ts";
import { type Answers, aRequest, definition, run as runMachine } from "./run.ts";

type Ladders = { [stage: string]: readonly RungData[] };

const batchRung = (kind: RungData["kind"], queue: string, instanceType = "p5.4xlarge"): RungData => ({
  name: `${kind}-${instanceType}`,
  kind,
  service: "batch",
  instanceType,
  childrenPerInstance: 1,
  waitSeconds: 3600,
  queue,
  definition: "Definition",
});

const gpu = [batchRung("spot", "SpotQueue"), batchRung("on-demand", "OnDemandQueue")];

/** Rungs as lib/stages renders them; test/stages holds the two together. */
export const LADDERS = {
  everyKind: [
    batchRung("reservation", "ReservationQueue"),
    ...gpu,
    batchRung("smaller-gpu", "SmallerQueue", "g6e.4xlarge"),
  ],
  inferWithTransform: [
    {
      name: "smaller-gpu-g5.4xlarge-transform",
      kind: "smaller-gpu",
      service: "transform",
      instanceType: "g5.4xlarge",
      childrenPerInstance: 1,
      waitSeconds: 3600,
      TransformResources: {
        InstanceType: "ml.g5.4xlarge",
        InstanceCount: 2,
        TransformAmiVersion: "al2-ami-sagemaker-batch-gpu-535",
      },
    },
    ...gpu,
  ] satisfies RungData[],
  cluster: (kind: RungData["kind"]): RungData => ({
    ...batchRung(kind, "ClusterQueue", "p5.48xlarge"),
    name: `${kind}-p5.48xlarge-cluster`,
    gpus: 8,
    isForSeveralNodes: true,
    backend: "batch",
    isPreferred: true,
  }),
  trainingPlan: {
    name: "reservation-ml.p5.48xlarge-plan",
    kind: "reservation",
    service: "training",
    instanceType: "p5.48xlarge",
    childrenPerInstance: 1,
    waitSeconds: 3600,
    gpus: 8,
    isForSeveralNodes: true,
    backend: "sagemaker",
    isPreferred: true,
    ResourceConfig: {
      InstanceType: "ml.p5.48xlarge",
      VolumeSizeInGB: 500,
      TrainingPlanArn: "arn:aws:sagemaker:us-east-1:111122223333:training-plan/p",
    },
    Environment: {},
  } satisfies RungData,
  warm: {
    name: "on-demand-ml.p5.48xlarge",
    kind: "on-demand",
    service: "training",
    instanceType: "p5.48xlarge",
    childrenPerInstance: 1,
    waitSeconds: 3600,
    gpus: 8,
    isForSeveralNodes: true,
    backend: "sagemaker",
    isPreferred: true,
    ResourceConfig: { InstanceType: "ml.p5.48xlarge", VolumeSizeInGB: 500, KeepAlivePeriodInSeconds: 1_800 },
    Environment: {},
    keepAliveSeconds: 1_800,
  } satisfies RungData,
};

const cpu: RungData = {
  name: "spot-cpu",
  kind: "spot",
  service: "batch",
  instanceType: "r6id.32xlarge",
  childrenPerInstance: 64,
  waitSeconds: 3600,
  queue: "CpuQueue",
  definition: "Definition",
};

/** The committed machine with other rungs. The default: Spot, then On-Demand; trainings on SageMaker first. */
export function withLadders(ladders: Ladders = {}): typeof definition {
  const machine = structuredClone(definition);
  const { ladders: committed } = machine.States.Begin.Assign as { ladders: Ladders };
  machine.States.Begin.Assign.ladders = {
    ingest: [cpu, { ...cpu, name: "on-demand-cpu", kind: "on-demand" }],
    preprocess: gpu,
    train: committed.train,
    compile: gpu,
    infer: gpu,
    ...ladders,
  };
  return machine;
}

const taken = new Set<string>();

/** Runs the machine, and remembers which state followed which. */
export async function run(
  answers: Answers = {},
  request = aRequest(),
  machine = withLadders(),
  drive: Parameters<typeof runMachine>[3] = {},
) {
  const outcome = await runMachine(answers, request, machine, drive);
  const names = new Map<number, string>();
  for (const event of outcome.events) {
    const { name } = (event as { stateEnteredEventDetails?: { name: string } }).stateEnteredEventDetails ?? {};
    const from = names.get(event.previousEventId);
    if (name && from) taken.add(`${from} -> ${name}`);
    names.set(event.id, name ?? from ?? "");
  }
  return outcome;
}

/** Stopped while a state's task runs, and redriven. */
export async function redriven(state: string, machine = withLadders(), request = aRequest()) {
  const stop = new AbortController();
  const hanging = ({ signal }: TaskRequest) => {
    setImmediate(() => stop.abort());
    return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  };
  const { events } = await run({ [state]: hanging }, request, machine, { signal: stop.signal });
  return run({}, request, machine, { history: events });
}

interface State {
  Type: string;
  Next?: string;
  Default?: string;
  Choices?: { Next: string }[];
  Catch?: { Next: string }[];
  ItemProcessor?: { States: Record<string, State> };
}

const statesOf = (states: Record<string, State>): [string, State][] =>
  Object.entries(states).flatMap(([name, state]): [string, State][] => [
    [name, state],
    ...(state.ItemProcessor ? statesOf(state.ItemProcessor.States) : []),
  ]);

const OF_A_LADDER =
  /^(Ingest|Preprocess|Train|Compile|Infer)(On|OnCluster|Model|Transform|Rungs|HasRung|Reserve|IsGranted|IsReserved|Children|ChildrenLeft|MoreChildren|Settle|Wait|Outcome|Fall)?$/;

/**
 * Ways of the ladders' states that no run of this file has taken. Two ladders that are made by the same code in the same
 * way need not each be driven through it: a way counts by what it is, not by whose.
 */
export function recordedEdges(): { missed: string[]; known: number } {
  const known = statesOf(definition.States as Record<string, State>)
    .filter(([name]) => OF_A_LADDER.test(name))
    .flatMap(([name, { Next, Default, Choices = [], Catch = [] }]) =>
      [Next, Default, ...Choices.map((choice) => choice.Next), ...Catch.map((catcher) => catcher.Next)]
        .filter((next) => next !== undefined)
        .map((next) => `${name} -> ${next}`),
    );
  const kindOf = (edge: string) => edge.replaceAll(/\b(Ingest|Preprocess|Compile)(?=[A-Z]| |$)/g, "Stage");
  const takenKinds = new Set([...taken].map(kindOf));
  const missed = [...new Set(known)].filter((edge) => !taken.has(edge) && !takenKinds.has(kindOf(edge)));
  return { missed, known: new Set(known).size };
}
