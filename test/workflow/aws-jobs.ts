// What AWS's services say of jobs, as `.sync` gives it to the state machine: in the output of a job that is done, and as
// the Cause of States.TaskFailed. Transcribed from the pages named at each; ids and times are made up.
//
// Batch's names are in PascalCase there (Step Functions' page "Run AWS Batch workloads": its sample output), and a job
// whose definition has EcsProperties tells of its container in EcsProperties and Attempts[].TaskProperties instead of
// Container (Batch's API reference: JobDetail, AttemptDetail). Unverified on a real account.

const JOB_ARN = "arn:aws:batch:us-east-1:111122223333:job/876da822-4198-45f2-a252-6cea32512ea8";

/** DescribeJobs of a job with one container. */
export const batchJob = (changes: object = {}, container: object = { ExitCode: 0 }) => ({
  JobArn: JOB_ARN,
  JobId: "876da822-4198-45f2-a252-6cea32512ea8",
  JobName: "compile-fold0-dali-torch-hippocampus-0123456789ab-1-k0-r0-d0",
  JobQueue: "arn:aws:batch:us-east-1:111122223333:job-queue/Gpu",
  JobDefinition: "arn:aws:batch:us-east-1:111122223333:job-definition/Compile:3",
  Status: "SUCCEEDED",
  StatusReason: "Essential container in task exited",
  CreatedAt: 1764000000000,
  StartedAt: 1764000300000,
  StoppedAt: 1764000900000,
  RetryStrategy: { Attempts: 3, EvaluateOnExit: [] },
  Timeout: { AttemptDurationSeconds: 14400 },
  DependsOn: [],
  Parameters: {},
  Tags: {},
  PlatformCapabilities: ["EC2"],
  EcsProperties: {
    TaskProperties: [
      {
        TaskArn: "arn:aws:ecs:us-east-1:111122223333:task/Gpu/0f9de17a6e9f43c0ab2a3ae3ab0ef1a1",
        TaskRoleArn: "arn:aws:iam::111122223333:role/Compile",
        Volumes: [{ Name: "scratch", Host: { SourcePath: "/scratch" } }],
        Containers: [
          {
            Name: "stage",
            Command: ["compile", "--task", "s3://artefacts/runs/x/tasks/compile-fold0-dali-torch.json"],
            Environment: [{ Name: "AWS_DEFAULT_REGION", Value: "us-east-1" }],
            LogStreamName: "compile/stage/0f9de17a6e9f43c0ab2a3ae3ab0ef1a1",
            MountPoints: [{ ContainerPath: "/scratch", SourceVolume: "scratch" }],
            ...container,
          },
        ],
      },
    ],
  },
  ...changes,
});

const failedJob = (StatusReason: string, container: object = {}) =>
  JSON.stringify(batchJob({ Status: "FAILED", StatusReason }, container));

/**
 * Reasons of Batch's user guide: "Troubleshooting", "Jobs stuck in RUNNABLE due to capacity" and "... due to
 * misconfiguration" (after jobStateTimeLimitActions cancelled them), "Automated job retries" (a lost host), "Job
 * timeouts".
 */
export const BATCH = {
  stageFailed: failedJob("Essential container in task exited", { ExitCode: 1 }),
  outOfMemory: failedJob("Essential container in task exited", {
    ExitCode: 137,
    Reason: "OutOfMemoryError: Container killed due to memory usage",
  }),
  imageMissing: failedJob("Task failed to start", {
    Reason: "CannotPullContainerError: pull image manifest has been retried",
  }),
  timedOut: failedJob("Job attempt duration exceeded timeout", { ExitCode: 137 }),
  terminated: failedJob("Terminated by a person"),
  noCapacity: failedJob("Canceled by JobStateTimeLimit action due to reason: CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY"),
  queueTooSmall: failedJob(
    "Canceled by JobStateTimeLimit action due to reason: MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
  ),
  hostLost: failedJob("Host EC2 (instance i-0bbd6dd7ee7fdd7b1) terminated."),
} as const;

/** DescribeJobs of an array's parent: counts, and no word of why (Batch's user guide, "Array jobs"). */
export const arrayParent = (failed: number, size = 3) =>
  JSON.stringify({
    ...batchJob({ Status: "FAILED", StatusReason: "Array Child Job failed" }),
    EcsProperties: undefined,
    ArrayProperties: {
      Size: size,
      StatusSummary: {
        STARTING: 0,
        FAILED: failed,
        RUNNING: 0,
        SUCCEEDED: size - failed,
        RUNNABLE: 0,
        SUBMITTED: 0,
        PENDING: 0,
      },
    },
  });

/** ListJobs with arrayJobId and jobStatus FAILED, by the SDK integration: JobSummary in PascalCase. */
export const failedChildren = (...reasons: string[]) => ({
  JobSummaryList: reasons.map((StatusReason, Index) => ({
    JobArn: `${JOB_ARN}:${Index}`,
    JobId: `876da822-4198-45f2-a252-6cea32512ea8:${Index}`,
    JobName: "infer-fold0-dali-torch-hippocampus-0123456789ab-1-k0-r0-d0",
    Status: "FAILED",
    StatusReason,
    CreatedAt: 1764000000000,
    Container: { ExitCode: 1 },
    ArrayProperties: { Index },
  })),
});

/** DescribeJobs of a multi-node job's parent (API reference, NodeProperties; user guide, "Multi-node parallel jobs"). */
export const multiNodeParent = (StatusReason: string) =>
  JSON.stringify({
    ...batchJob({ Status: "FAILED", StatusReason }),
    EcsProperties: undefined,
    NodeProperties: {
      NumNodes: 2,
      MainNode: 0,
      NodeRangeProperties: [{ TargetNodes: "0:1", InstanceTypes: ["p5.48xlarge"] }],
    },
  });

/** DescribeTrainingJob (SageMaker's API reference: its Status, SecondaryStatus and FailureReason). */
const training = (changes: object) =>
  JSON.stringify({
    TrainingJobName: "train-fold0-dali-f00d0000-0123456789ab-1-k0-r0-d0",
    TrainingJobArn: "arn:aws:sagemaker:us-east-1:111122223333:training-job/train-fold0-dali",
    HyperParameters: { task: "s3://artefacts/runs/x/tasks/train-fold0-dali.json" },
    AlgorithmSpecification: {
      TrainingImage: "111122223333.dkr.ecr.us-east-1.amazonaws.com/x",
      TrainingInputMode: "File",
    },
    RoleArn: "arn:aws:iam::111122223333:role/Train",
    ResourceConfig: { InstanceType: "ml.p5.48xlarge", InstanceCount: 1, VolumeSizeInGB: 500 },
    StoppingCondition: { MaxRuntimeInSeconds: 600 },
    CreationTime: 1764000000000,
    SecondaryStatusTransitions: [],
    EnableManagedSpotTraining: true,
    ...changes,
  });

export const TRAINING = {
  stageFailed: training({
    TrainingJobStatus: "Failed",
    SecondaryStatus: "Failed",
    FailureReason: "AlgorithmError: LossNotFinite: The loss was nan around step 10., exit code: 1",
  }),
  noCapacity: training({
    TrainingJobStatus: "Failed",
    SecondaryStatus: "Failed",
    FailureReason:
      "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type.",
  }),
  /**
   * The code is named by AWS's machine learning blog ("Amazon SageMaker Automatic Model Tuning now supports SageMaker
   * Training Instance Fallbacks": jobs "would fail with an InsufficientCapacityError"); the words behind it are made up.
   */
  insufficientCapacity: training({
    TrainingJobStatus: "Failed",
    SecondaryStatus: "Failed",
    FailureReason: "InsufficientCapacityError: Unable to provision requested ML compute capacity.",
  }),
  tooLong: training({ TrainingJobStatus: "Stopped", SecondaryStatus: "MaxRuntimeExceeded" }),
  noSpot: training({ TrainingJobStatus: "Stopped", SecondaryStatus: "MaxWaitTimeExceeded" }),
  interrupted: training({ TrainingJobStatus: "Stopped", SecondaryStatus: "Interrupted" }),
  /** Not a job's: CreateTrainingJob was refused. */
  quota:
    "The account-level service limit 'ml.p5.48xlarge for spot training job usage' is 0 Instances, with current utilization of 0 Instances and a request delta of 1 Instances. Please use AWS Service Quotas to request an increase for this quota. (Service: AmazonSageMaker; Status Code: 400; Error Code: ResourceLimitExceeded; Request ID: 6f0f5f2f)",
  /** As an SDK of version 2 writes it: the code is in the error's name alone. */
  onDemandQuota:
    "The account-level service limit 'ml.p5.48xlarge for training job usage' is 0 Instances, with current utilization of 0 Instances and a request delta of 1 Instances. (Service: SageMaker, Status Code: 400, Request ID: 6f0f5f2f)",
  /** The first words are CreateTrainingJob's own, from the issue aws/amazon-sagemaker-examples#3494. */
  unsupportedType:
    "Unsupported instance type ml.p3dn.24xlarge (Service: SageMaker, Status Code: 400, Request ID: 6f0f5f2f)",
  /**
   * The sentence is CreateTrainingJob's own, from the issue aws/amazon-sagemaker-examples#1001. What is in the brackets
   * is as SDKs of version 2 write it, without the error's code.
   */
  notInRegion:
    "The requested resource training-job/ml.p2.xlarge is not available in this region (Service: SageMaker, Status Code: 400, Request ID: 6f0f5f2f)",
  /**
   * Made up of a sentence of that service's about an algorithm (aws/amazon-sagemaker-examples#1951): AWS's pages say that
   * a type which is not offered is refused, and not how.
   */
  notSupported:
    "Instance type ml.p5.4xlarge is not supported (Service: SageMaker, Status Code: 400, Request ID: 6f0f5f2f)",
  /** The wording of these two is made up: AWS's pages say that such requests are refused, and not how. */
  noSpotOfType: "Managed Spot Training is not supported for ml.p5.4xlarge (Service: AmazonSageMaker; Status Code: 400)",
  planIsOver:
    "Training plan p is not Active (Service: AmazonSageMaker; Status Code: 400; Error Code: ValidationException)",
  invalid:
    "1 validation error detected: Value 'ml.p9.48xlarge' at 'resourceConfig.instanceType' failed to satisfy constraint (Service: AmazonSageMaker; Status Code: 400; Error Code: ValidationException; Request ID: 6f0f5f2f)",
} as const;

/** DescribeTransformJob. */
const transform = (changes: object) =>
  JSON.stringify({
    TransformJobName: "infer-torch-5d0b3f6c-0123456789ab-1-k0-r0-d0",
    TransformJobArn: "arn:aws:sagemaker:us-east-1:111122223333:transform-job/infer-torch-5d0b3f6c",
    TransformJobStatus: "Failed",
    ModelName: "infer-torch-5d0b3f6c-0123456789ab-1-k0-r0-d0",
    MaxConcurrentTransforms: 1,
    BatchStrategy: "SingleRecord",
    TransformResources: { InstanceType: "ml.g5.4xlarge", InstanceCount: 2 },
    CreationTime: 1764000000000,
    ...changes,
  });

export const TRANSFORM = {
  stageFailed: transform({
    FailureReason: "ClientError: See job logs for more information",
  }),
  noCapacity: transform({
    FailureReason:
      "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type.",
  }),
} as const;
