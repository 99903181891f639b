// compile: weights become an engine, on the GPU type that will infer. A plain Batch job.
import { Construct } from "constructs";
import { shareOfGpu } from "../cloud/instance-types.ts";
import { compileTaskId } from "../contracts/keys.ts";
import type { EngineName, Strategy } from "../contracts/primitives.ts";
import { artefactUri, batchJobName, jsonata, keyExpression, ladderOf, variables } from "../workflow/jsonata.ts";
import { BatchJobTask } from "./batch-job-task.ts";
import { ATTEMPT_SECONDS, attemptSeconds, JOB_ATTEMPTS } from "./limits.ts";
import { allowObjects } from "./object-access.ts";
import type { GpuStageProps } from "./preprocess.ts";
import { gpuRungs, idOfType, type RungData } from "./rung.ts";
import type { JobBound, JobStage } from "./stage-context.ts";
import { StageJob } from "./stage-job.ts";

/**
 * TensorRT and Inductor compile for one GPU, and what they make lies under the name of the GPU that the plan was made
 * for: on another one it would be found by a later run that cannot use it.
 */
export const SUITS_ENGINE = `(kind != 'smaller-gpu' or $not(${variables.engine.engine} in ['tensorrt', 'inductor']))`;

/** JSONata of the id of an engine's task. */
export const engineTaskId = (build: typeof compileTaskId): string => {
  const { training, engine } = variables;
  return keyExpression((part) =>
    build(part(training.fold), part(training.strategy) as Strategy, part(engine.engine) as EngineName),
  );
};

export class Compile extends Construct implements JobStage {
  readonly stage = "compile";
  readonly taskId = engineTaskId(compileTaskId);
  readonly suits = SUITS_ENGINE;
  readonly job: StageJob;
  readonly rungs: RungData[];
  readonly bound: JobBound;
  private readonly name = batchJobName(this.stage, `'compile-' & ${variables.engine.name}`);

  constructor(scope: Construct, id: string, props: GpuStageProps) {
    super(scope, id);
    this.job = new StageJob(this, "Job", { ...props, attemptSeconds: ATTEMPT_SECONDS.compile });
    this.rungs = gpuRungs(props.fleets, ({ instanceType, gpu }) =>
      this.job.addDefinition(idOfType(instanceType), shareOfGpu(gpu)),
    );
    allowObjects(this.job.role, props.buckets.artefacts, {
      read: ["runs/*/tasks/*", "runs/*/plan.json", "preprocess/*", "train/*"],
      write: ["compile/*", "runs/*/results/*", "runs/*/errors/*"],
    });
    this.bound = {
      name: this.name.start,
      children: "1",
      attemptSeconds: attemptSeconds("compile", variables.engine.compileSeconds),
      attempts: `${JOB_ATTEMPTS}`,
    };
  }

  toJob(done: Record<string, string>) {
    const state = new BatchJobTask(this, "Compile", {
      jobName: this.name.unique,
      rungs: this.rungs,
      rung: ladderOf(this.stage).rung,
      command: ["compile", "--task", jsonata(artefactUri(variables.engine.compileTaskKey))],
      attemptSeconds: this.bound.attemptSeconds,
      assign: done,
    });
    return { start: state, jobs: [{ state, service: "batch" as const }] };
  }
}
