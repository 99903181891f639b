// ingest: DICOM series and NIfTI become canonical, de-identified volumes. A Batch array on CPUs.
import type * as secretsmanager from "aws-cdk-lib/aws-secretsmanager";
import { Construct } from "constructs";
import { keys } from "../contracts/keys.ts";
import { DEAREST_CPU_INSTANCE_TYPE } from "../contracts/prices.ts";
import { artefactUri, batchJobName, jsonata, keyExpression, ladderOf, variables } from "../workflow/jsonata.ts";
import { BatchJobTask } from "./batch-job-task.ts";
import { ATTEMPT_SECONDS, attemptSeconds, JOB_ATTEMPTS } from "./limits.ts";
import { allowObjects } from "./object-access.ts";
import type { CpuRung, RungData } from "./rung.ts";
import type { BatchStageProps, ChildSize, JobBound, JobStage } from "./stage-context.ts";
import { StageJob } from "./stage-job.ts";

export interface IngestProps extends BatchStageProps {
  /** In the order in which a run tries them. */
  readonly fleets: readonly CpuRung[];
  /** What patients are hashed with, as start-run hashes them. */
  readonly pseudonymKey: secretsmanager.ISecret;
}

/** A CT of 512 x 512 x 1,000 voxels is 1 GiB in float32; reading, reorienting and writing hold a few copies of it. */
const CHILD: ChildSize = { vcpus: 2, memoryMiB: 14_000, gpus: 0 };

/**
 * The dearest of the types that Batch may pick, and as many children as the smallest of them holds: m5d.4xlarge's 64 GiB
 * have room for four times 14,000 MiB.
 */
const DEAREST = { instanceType: DEAREST_CPU_INSTANCE_TYPE, children: 4 };

export class Ingest extends Construct implements JobStage {
  readonly stage = "ingest";
  readonly taskId = "'ingest'";
  readonly job: StageJob;
  readonly rungs: RungData[];
  readonly bound: JobBound;
  private readonly name = batchJobName(this.stage, "'ingest'");

  constructor(scope: Construct, id: string, props: IngestProps) {
    super(scope, id);
    this.job = new StageJob(this, "Job", {
      ...props,
      attemptSeconds: ATTEMPT_SECONDS.ingest,
      secrets: { VOXELBURST_PSEUDONYM_KEY: props.pseudonymKey },
    });
    const definition = this.job.addDefinition("", CHILD);
    this.rungs = props.fleets.map(({ rung: kind, queue, waitSeconds }) => ({
      name: `${kind}-cpu`,
      kind,
      service: "batch",
      instanceType: DEAREST.instanceType,
      childrenPerInstance: DEAREST.children,
      waitSeconds,
      queue: queue.jobQueueArn,
      definition,
    }));
    const { data, artefacts, quarantine } = props.buckets;
    allowObjects(this.job.role, data, { read: ["datasets/*"] });
    allowObjects(this.job.role, artefacts, {
      read: ["runs/*/tasks/*", "ingest/*"],
      write: ["ingest/*", "runs/*/ingest/*", "runs/*/results/*", "runs/*/errors/*"],
    });
    allowObjects(this.job.role, quarantine, { write: ["*"] });
    const { request } = variables;
    this.bound = {
      name: this.name.start,
      children: `${request.ingestShards}`,
      attemptSeconds: attemptSeconds("ingest", request.ingestSeconds),
      attempts: `${JOB_ATTEMPTS}`,
    };
  }

  toJob(done: Record<string, string>) {
    const { request } = variables;
    const task = keyExpression((part) => keys.task(part(request.runId), "ingest"));
    const state = new BatchJobTask(this, "Ingest", {
      jobName: this.name.unique,
      rungs: this.rungs,
      rung: ladderOf(this.stage).rung,
      arraySize: jsonata(request.ingestShards),
      command: ["ingest", "--task", jsonata(artefactUri(task))],
      attemptSeconds: this.bound.attemptSeconds,
      assign: done,
    });
    return { start: state, jobs: [{ state, service: "batch" as const, isArray: true }] };
  }
}
