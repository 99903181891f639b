// preprocess: volumes become cropped, resampled, normalised arrays. A Batch array on GPUs.
import { Construct } from "constructs";
import { shareOfGpu } from "../cloud/instance-types.ts";
import { artefactUri, batchJobName, jsonata, ladderOf, variables } from "../workflow/jsonata.ts";
import { BatchJobTask } from "./batch-job-task.ts";
import { ATTEMPT_SECONDS, attemptSeconds, JOB_ATTEMPTS } from "./limits.ts";
import { allowObjects } from "./object-access.ts";
import { type GpuRung, gpuRungs, idOfType, type RungData } from "./rung.ts";
import type { BatchStageProps, JobBound, JobStage } from "./stage-context.ts";
import { StageJob } from "./stage-job.ts";

export interface GpuStageProps extends BatchStageProps {
  /** In the order in which a run tries them. */
  readonly fleets: readonly GpuRung[];
}

export class Preprocess extends Construct implements JobStage {
  readonly stage = "preprocess";
  readonly taskId = "'preprocess'";
  readonly job: StageJob;
  readonly rungs: RungData[];
  readonly bound: JobBound;
  private readonly name = batchJobName(this.stage, "'preprocess'");

  constructor(scope: Construct, id: string, props: GpuStageProps) {
    super(scope, id);
    this.job = new StageJob(this, "Job", { ...props, attemptSeconds: ATTEMPT_SECONDS.preprocess });
    this.rungs = gpuRungs(props.fleets, ({ instanceType, gpu }) =>
      this.job.addDefinition(idOfType(instanceType), shareOfGpu(gpu)),
    );
    allowObjects(this.job.role, props.buckets.artefacts, {
      read: ["runs/*/tasks/*", "runs/*/plan.json", "ingest/*", "preprocess/*"],
      write: ["preprocess/*", "runs/*/results/*", "runs/*/errors/*"],
    });
    const { preprocess } = variables.plan;
    this.bound = {
      name: this.name.start,
      children: `${preprocess.shards}`,
      attemptSeconds: attemptSeconds("preprocess", preprocess.seconds),
      attempts: `${JOB_ATTEMPTS}`,
    };
  }

  toJob(done: Record<string, string>) {
    const { plan } = variables;
    const state = new BatchJobTask(this, "Preprocess", {
      jobName: this.name.unique,
      rungs: this.rungs,
      rung: ladderOf(this.stage).rung,
      arraySize: jsonata(plan.preprocess.shards),
      command: ["preprocess", "--task", jsonata(artefactUri(plan.preprocess.taskKey))],
      attemptSeconds: this.bound.attemptSeconds,
      assign: done,
    });
    return { start: state, jobs: [{ state, service: "batch" as const, isArray: true }] };
  }
}
