// infer: volumes become masks and scores. A Batch array on GPUs.
import type * as sfn from "aws-cdk-lib/aws-stepfunctions";
import { Construct } from "constructs";
import { artefactUri, batchJobName, jsonata, variables } from "../workflow/jsonata.ts";
import { BatchJobTask } from "./batch-job-task.ts";
import { ATTEMPT_SECONDS, jobStateSeconds } from "./limits.ts";
import { allowObjects } from "./object-access.ts";
import type { GpuStageProps } from "./preprocess.ts";
import { StageJob } from "./stage-job.ts";

export class Infer extends Construct {
  readonly job: StageJob;
  private readonly props: GpuStageProps;

  constructor(scope: Construct, id: string, props: GpuStageProps) {
    super(scope, id);
    this.props = props;
    this.job = new StageJob(this, "Job", { ...props, attemptSeconds: ATTEMPT_SECONDS.infer });
    allowObjects(this.job.role, props.buckets.artefacts, {
      read: ["runs/*/tasks/*", "runs/*/plan.json", "ingest/*", "compile/*", "infer/*", "runs/*/masks/*"],
      write: ["infer/*", "runs/*/infer/*", "runs/*/masks/*", "runs/*/results/*", "runs/*/errors/*"],
    });
  }

  toState(): sfn.TaskStateBase {
    const { engine } = variables;
    return new BatchJobTask(this, "Infer", {
      jobName: batchJobName(`'infer-' & ${engine.name}`),
      jobDefinition: this.job.definition,
      queue: this.props.queue,
      arraySize: jsonata(engine.inferShards),
      command: ["infer", "--task", jsonata(artefactUri(engine.inferTaskKey))],
      attemptSeconds: ATTEMPT_SECONDS.infer,
      stateSeconds: jobStateSeconds(ATTEMPT_SECONDS.infer),
      // Nothing failed; the map collects what did.
      outputs: { failures: [] },
    });
  }
}
