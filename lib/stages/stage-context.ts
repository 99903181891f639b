// What every stage's construct is given, and what it tells the workflow of the jobs that it runs as.
import type * as logs from "aws-cdk-lib/aws-logs";
import type * as s3 from "aws-cdk-lib/aws-s3";
import type * as sfn from "aws-cdk-lib/aws-stepfunctions";
import type { StageImage } from "../cloud/container-image.ts";
import type { LedgerStage } from "../contracts/ledger.ts";
import type { JobService } from "../workflow/failure.ts";
import type { RungData } from "./rung.ts";

export interface Buckets {
  /** What people upload: datasets/<name>/. */
  readonly data: s3.IBucket;
  /** Everything that the stages write. */
  readonly artefacts: s3.IBucket;
  /** Refused cases, each with its reason. */
  readonly quarantine: s3.IBucket;
}

export interface BatchStageProps {
  readonly buckets: Buckets;
  readonly image: StageImage;
  readonly logGroup: logs.ILogGroup;
}

/** What one child gets of an instance. */
export interface ChildSize {
  readonly vcpus: number;
  readonly memoryMiB: number;
  readonly gpus: number;
}

/** A Task state that runs a job to its end. */
export interface JobState {
  readonly state: sfn.TaskStateBase;
  /** Whose Cause a failure has. */
  readonly service: JobService;
  /** Whether the job is an array, whose description tells counts and no reasons. */
  readonly isArray?: boolean;
  /** False where another of the stage's states follows.
   * @default true */
  readonly isLast?: boolean;
  /** What follows the job however it ended, and changes nothing about how it did.
   * @default - nothing */
  readonly cleanUp?: sfn.TaskStateBase;
}

/** Expressions of what bounds the cost of a job, as contracts/ledger.ts' boundedJob has it. */
export interface JobBound {
  /** The start of the job's name, for every try on the rung. */
  readonly name: string;
  readonly children: string;
  readonly attemptSeconds: string;
  readonly attempts: string;
  /** @default - false */
  readonly waitsTogether?: string;
}

/** A stage that is a job on one of several rungs. */
export interface JobStage {
  readonly stage: LedgerStage;
  /** JSONata of the task's id. */
  readonly taskId: string;
  /** In the order in which they are tried. */
  readonly rungs: readonly RungData[];
  /** JSONata condition on a rung, whose fields it names bare: which of the rungs can take this very task.
   * @default - every one */
  readonly suits?: string;
  readonly bound: JobBound;
  /** Variables of the stage's own, as they are before its first job.
   * @default - none */
  readonly initially?: Record<string, string>;
  /**
   * The states that run the job; the ladder says what follows the last, and catches every one of them.
   *
   * @param done - what the last one assigns when the job is done
   */
  toJob(done: Record<string, string>): { readonly start: sfn.State; readonly jobs: readonly JobState[] };
}
