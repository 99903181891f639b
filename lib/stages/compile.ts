// compile: weights become an engine, on the GPU type that will infer. A plain Batch job.
import type * as sfn from "aws-cdk-lib/aws-stepfunctions";
import { Construct } from "constructs";
import { artefactUri, batchJobName, jsonata, variables } from "../workflow/jsonata.ts";
import { BatchJobTask } from "./batch-job-task.ts";
import { ATTEMPT_SECONDS, jobStateSeconds } from "./limits.ts";
import { allowObjects } from "./object-access.ts";
import type { GpuStageProps } from "./preprocess.ts";
import { StageJob } from "./stage-job.ts";

export class Compile extends Construct {
  readonly job: StageJob;
  private readonly props: GpuStageProps;

  constructor(scope: Construct, id: string, props: GpuStageProps) {
    super(scope, id);
    this.props = props;
    this.job = new StageJob(this, "Job", { ...props, attemptSeconds: ATTEMPT_SECONDS.compile });
    allowObjects(this.job.role, props.buckets.artefacts, {
      read: ["runs/*/tasks/*", "runs/*/plan.json", "ingest/*", "preprocess/*", "train/*", "compile/*"],
      write: ["compile/*", "runs/*/results/*", "runs/*/errors/*"],
    });
  }

  toState(): sfn.TaskStateBase {
    const { engine } = variables;
    return new BatchJobTask(this, "Compile", {
      jobName: batchJobName(`'compile-' & ${engine.name}`),
      jobDefinition: this.job.definition,
      queue: this.props.queue,
      command: ["compile", "--task", jsonata(artefactUri(engine.compileTaskKey))],
      attemptSeconds: ATTEMPT_SECONDS.compile,
      stateSeconds: jobStateSeconds(ATTEMPT_SECONDS.compile),
    });
  }
}
