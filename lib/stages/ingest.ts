// ingest: DICOM series and NIfTI become canonical, de-identified volumes. A Batch array on CPUs.
import type * as sfn from "aws-cdk-lib/aws-stepfunctions";
import { Construct } from "constructs";
import { keys } from "../contracts/keys.ts";
import { artefactUri, batchJobName, jsonata, keyExpression, variables } from "../workflow/jsonata.ts";
import { BatchJobTask } from "./batch-job-task.ts";
import { ATTEMPT_SECONDS, jobStateSeconds } from "./limits.ts";
import { allowObjects } from "./object-access.ts";
import type { BatchStageProps } from "./stage-context.ts";
import { StageJob } from "./stage-job.ts";

export class Ingest extends Construct {
  readonly job: StageJob;
  private readonly props: BatchStageProps;

  constructor(scope: Construct, id: string, props: BatchStageProps) {
    super(scope, id);
    this.props = props;
    this.job = new StageJob(this, "Job", {
      ...props,
      attemptSeconds: ATTEMPT_SECONDS.ingest,
      // A CT of 512 x 512 x 1,000 voxels is 1 GiB in float32; reading, reorienting and writing hold a few copies of it.
      size: { vcpus: 2, memoryMiB: 14_000, gpus: 0 },
    });
    const { data, artefacts, quarantine } = props.buckets;
    allowObjects(this.job.role, data, { read: ["datasets/*"] });
    allowObjects(this.job.role, artefacts, {
      read: ["runs/*/tasks/*", "ingest/*"],
      write: ["ingest/*", "runs/*/ingest/*", "runs/*/results/*", "runs/*/errors/*"],
    });
    allowObjects(this.job.role, quarantine, { write: ["*"] });
  }

  toState(): sfn.TaskStateBase {
    const { request } = variables;
    const task = keyExpression((part) => keys.task(part(request.runId), "ingest"));
    return new BatchJobTask(this, "Ingest", {
      jobName: batchJobName("'ingest'"),
      jobDefinition: this.job.definition,
      queue: this.props.queue,
      arraySize: jsonata(request.ingestShards),
      command: ["ingest", "--task", jsonata(artefactUri(task))],
      attemptSeconds: ATTEMPT_SECONDS.ingest,
      stateSeconds: jobStateSeconds(ATTEMPT_SECONDS.ingest),
    });
  }
}
