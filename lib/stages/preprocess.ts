// preprocess: volumes become cropped, resampled, normalised arrays. A Batch array on GPUs.
import type * as sfn from "aws-cdk-lib/aws-stepfunctions";
import { Construct } from "constructs";
import { artefactUri, batchJobName, jsonata, variables } from "../workflow/jsonata.ts";
import { BatchJobTask } from "./batch-job-task.ts";
import { ATTEMPT_SECONDS, jobStateSeconds } from "./limits.ts";
import { allowObjects } from "./object-access.ts";
import type { BatchStageProps, ChildSize } from "./stage-context.ts";
import { StageJob } from "./stage-job.ts";

export interface GpuStageProps extends BatchStageProps {
  /** One GPU and its share of the instance. */
  readonly size: ChildSize;
}

export class Preprocess extends Construct {
  readonly job: StageJob;
  private readonly props: GpuStageProps;

  constructor(scope: Construct, id: string, props: GpuStageProps) {
    super(scope, id);
    this.props = props;
    this.job = new StageJob(this, "Job", { ...props, attemptSeconds: ATTEMPT_SECONDS.preprocess });
    allowObjects(this.job.role, props.buckets.artefacts, {
      read: ["runs/*/tasks/*", "runs/*/plan.json", "ingest/*", "preprocess/*"],
      write: ["preprocess/*", "runs/*/results/*", "runs/*/errors/*"],
    });
  }

  toState(): sfn.TaskStateBase {
    const { plan } = variables;
    return new BatchJobTask(this, "Preprocess", {
      jobName: batchJobName("'preprocess'"),
      jobDefinition: this.job.definition,
      queue: this.props.queue,
      arraySize: jsonata(plan.preprocess.shards),
      command: ["preprocess", "--task", jsonata(artefactUri(plan.preprocess.taskKey))],
      attemptSeconds: ATTEMPT_SECONDS.preprocess,
      stateSeconds: jobStateSeconds(ATTEMPT_SECONDS.preprocess),
    });
  }
}
