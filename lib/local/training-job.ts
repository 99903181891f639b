// sagemaker:createTrainingJob.sync on one machine: a process in a relocated /opt/ml, results in DescribeTrainingJob's
// shape. SageMaker's archive of /opt/ml/model is not made: nothing reads it, and it would double the disk's use.
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import * as z from "zod";
import { parseJson } from "../contracts/index.ts";
import { ERROR, StatesError } from "./asl/errors.ts";
import type { TaskRequest } from "./asl/ports.ts";
import { type ChildEnd, runChild } from "./child.ts";
import type { Fault } from "./faults.ts";
import { keysBelow, pathOf } from "./folder-store.ts";
import { argumentsOf, type JobHost, type JsonRecord, jobSignal, sdkMetadata } from "./job-host.ts";

const channel = z.looseObject({
  ChannelName: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/),
  DataSource: z.looseObject({
    S3DataSource: z.looseObject({ S3DataType: z.enum(["ManifestFile", "S3Prefix"]), S3Uri: z.string() }),
  }),
});
const fields = z.looseObject({
  TrainingJobName: z.string().regex(/^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$/),
  RoleArn: z.string(),
  AlgorithmSpecification: z.looseObject({}),
  OutputDataConfig: z.looseObject({ S3OutputPath: z.string() }),
  ResourceConfig: z.looseObject({
    InstanceType: z.string(),
    InstanceCount: z.literal(1),
    KeepAlivePeriodInSeconds: z.int().min(0).max(21_600).optional(),
  }),
  StoppingCondition: z.looseObject({
    MaxRuntimeInSeconds: z.int().min(1),
    MaxWaitTimeInSeconds: z.int().min(1).optional(),
  }),
  EnableManagedSpotTraining: z.boolean().default(false),
  RetryStrategy: z.looseObject({ MaximumRetryAttempts: z.int().min(1).max(30) }).optional(),
  HyperParameters: z.record(z.string(), z.string()).default({}),
  Environment: z.record(z.string(), z.string()).default({}),
  InputDataConfig: z.array(channel).default([]),
  CheckpointConfig: z.looseObject({ S3Uri: z.string() }).optional(),
});
type Creation = z.infer<typeof fields>;

/** What CreateTrainingJob refuses of managed spot, in its own order. */
const creation = fields
  .refine((job) => !job.EnableManagedSpotTraining || job.StoppingCondition.MaxWaitTimeInSeconds !== undefined, {
    path: ["StoppingCondition", "MaxWaitTimeInSeconds"],
    message: "managed spot training needs it",
  })
  .refine(
    ({ EnableManagedSpotTraining, StoppingCondition: { MaxRuntimeInSeconds, MaxWaitTimeInSeconds } }) =>
      MaxWaitTimeInSeconds === undefined || (EnableManagedSpotTraining && MaxWaitTimeInSeconds >= MaxRuntimeInSeconds),
    {
      path: ["StoppingCondition", "MaxWaitTimeInSeconds"],
      message: "for managed spot training alone, and at least MaxRuntimeInSeconds",
    },
  )
  .refine((job) => !(job.EnableManagedSpotTraining && job.ResourceConfig.KeepAlivePeriodInSeconds), {
    path: ["ResourceConfig", "KeepAlivePeriodInSeconds"],
    message: "managed spot training has no warm pool",
  });

/** SageMaker sends SIGTERM and waits two minutes: time for a checkpoint. */
const STOP_GRACE_MS = 120_000;
const INJECTED_TIMEOUT_SECONDS = 0.5;
const FAILURE_REASON_CHARACTERS = 1024;
/** A channel's manifest: the prefix, then the keys below it. */
const channelManifest = z.tuple([z.strictObject({ prefix: z.string() })]).rest(z.string());

export const sageMakerError = (code: string, cause: string) =>
  new StatesError("SageMaker.AmazonSageMakerException", `${cause} (Service: AmazonSageMaker; Error Code: ${code})`);

/**
 * @returns the job as DescribeTrainingJob gives it
 * @throws StatesError States.TaskFailed with that as Cause when the job failed or was stopped;
 *   SageMaker.AmazonSageMakerException for a bad request or a name that was used before
 */
export async function createTrainingJob(request: TaskRequest, host: JobHost): Promise<JsonRecord> {
  const parsed = creation.safeParse(argumentsOf(request));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw sageMakerError("ValidationException", `${issue?.path.join(".")}: ${issue?.message}`);
  }
  const job = parsed.data;
  const name = job.TrainingJobName;
  const TrainingJobArn = `arn:aws:sagemaker:local:000000000000:training-job/${name}`;
  const CreationTime = Date.now();
  const about = { ...job, TrainingJobArn, CreationTime };
  if (!host.run.claimJob(name, { ...about, TrainingJobStatus: "InProgress" }))
    throw sageMakerError(
      "ResourceInUse",
      `Training job names must be unique within an AWS account and region, and a training job with this name already exists (${TrainingJobArn})`,
    );
  await request.submitted({ TrainingJobArn, ...sdkMetadata });

  const outcome = await train(job, request, host);
  const detail = {
    ...about,
    ...outcome,
    LastModifiedTime: Date.now(),
    SecondaryStatusTransitions: [],
  };
  host.run.recordJob(name, detail);
  if (detail.TrainingJobStatus !== "Completed") throw new StatesError(ERROR.taskFailed, JSON.stringify(detail));
  return detail;
}

interface Outcome {
  TrainingJobStatus: "Completed" | "Failed" | "Stopped";
  SecondaryStatus: "Completed" | "Failed" | "Stopped" | "MaxRuntimeExceeded";
  FailureReason?: string;
  TrainingStartTime?: number;
  TrainingEndTime?: number;
  TrainingTimeInSeconds?: number;
}

async function train(job: Creation, request: TaskRequest, host: JobHost): Promise<Outcome> {
  const base = host.run.mlFolder(job.TrainingJobName);
  const problem = await prepareFolder(base, job, host);
  if (problem) return failed(`ClientError: ${problem}`);

  using stop = jobSignal(job.TrainingJobName, request.signal, host);
  const { cpus, gpuIds } = host.slots.capacity;
  const gpus = Math.min(await host.gpusOf(job.HyperParameters.task), gpuIds.length);
  const cpusOfJob = gpus > 0 ? Math.max(1, Math.floor((cpus * gpus) / gpuIds.length)) : cpus;
  const memoryMiB = await host.memoryMiBOf("train");
  // Managed spot goes on in its job for as long as it may wait; other lost instances the service tries again so often.
  let restarts = job.EnableManagedSpotTraining
    ? Number.POSITIVE_INFINITY
    : (job.RetryStrategy?.MaximumRetryAttempts ?? 0);
  let end: ChildEnd;
  try {
    for (;;) {
      const fault = host.faults.take("train");
      if (fault === "no-capacity")
        return failed("CapacityError: Unable to provision requested ML compute capacity (injected). Please retry.");
      end = await start(fault);
      if (end.endedBy !== "reclaim" || restarts-- <= 0) break;
    }
  } catch (error) {
    if (error !== stop.signal.reason) throw error;
    return { TrainingJobStatus: "Stopped", SecondaryStatus: "Stopped" };
  }
  return outcomeOf(end, base, host);

  async function start(fault: Fault | undefined): Promise<ChildEnd> {
    using lease = await host.slots.acquire({ cpus: cpusOfJob, gpus, memoryMiB }, stop.signal);
    return await runChild({
      python: host.python,
      args: [...host.entry, "train"],
      cwd: base,
      env: host.environment(cpusOfJob, lease.gpuIds, {
        ...job.Environment,
        SAGEMAKER_BASE_DIR: base,
        TRAINING_JOB_NAME: job.TrainingJobName,
        TRAINING_JOB_ARN: `arn:aws:sagemaker:local:000000000000:training-job/${job.TrainingJobName}`,
      }),
      logFile: host.run.logFile(job.TrainingJobName),
      timeoutSeconds: fault === "timeout" ? INJECTED_TIMEOUT_SECONDS : job.StoppingCondition.MaxRuntimeInSeconds,
      isReclaimed: fault === "reclaim",
      timeoutGraceMs: STOP_GRACE_MS,
      signal: stop.signal,
      onProgress: host.onProgress,
    });
  }
}

function outcomeOf(end: ChildEnd, base: string, host: JobHost): Outcome {
  if (end.error) host.onError(end.error);
  const times = {
    TrainingStartTime: end.startedAt.getTime(),
    TrainingEndTime: end.stoppedAt.getTime(),
    TrainingTimeInSeconds: Math.round((end.stoppedAt.getTime() - end.startedAt.getTime()) / 1000),
  };
  // What was told to stop may end well, and has not done its work.
  const wasStopped = end.endedBy === "cancel" || end.endedBy === "timeout";
  if (end.exitCode === 0 && !wasStopped)
    return { TrainingJobStatus: "Completed", SecondaryStatus: "Completed", ...times };
  if (end.endedBy === "timeout")
    return { TrainingJobStatus: "Stopped", SecondaryStatus: "MaxRuntimeExceeded", ...times };
  if (end.endedBy === "cancel") return { TrainingJobStatus: "Stopped", SecondaryStatus: "Stopped", ...times };
  // What SageMaker calls an instance that it lost too often.
  if (end.endedBy === "reclaim")
    return {
      ...failed("InternalServerError: We encountered an internal error (injected). Please try again."),
      ...times,
    };
  return { ...failed(failureReason(base, end)), ...times };
}

const failed = (reason: string): Outcome => ({
  TrainingJobStatus: "Failed",
  SecondaryStatus: "Failed",
  FailureReason: reason.slice(0, FAILURE_REASON_CHARACTERS),
});

/** SageMaker shows the first 1,024 characters of output/failure; without that file, the exit code alone. */
function failureReason(base: string, end: ChildEnd): string {
  const file = path.join(base, "output", "failure");
  const exit = `exit code: ${end.exitCode}`;
  if (end.outOfMemory)
    return `ClientError: Please use an instance type with more memory, or reduce the size of training data processed on an instance, ${exit}`;
  if (!existsSync(file)) return `AlgorithmError: , ${exit}`;
  const room = FAILURE_REASON_CHARACTERS - "AlgorithmError: , ".length - exit.length;
  return `AlgorithmError: ${readFileSync(file, "utf8").slice(0, room)}, ${exit}`;
}

/** @returns why a channel could not be had, as SageMaker would say it; undefined when everything is there */
async function prepareFolder(base: string, job: Creation, host: JobHost): Promise<string | undefined> {
  const at = (...parts: string[]) => path.join(base, ...parts);
  for (const folder of [at("input", "config"), at("input", "data"), at("model"), at("output", "data")])
    mkdirSync(folder, { recursive: true });
  const config = (name: string, value: unknown) =>
    writeFileSync(at("input", "config", `${name}.json`), `${JSON.stringify(value, null, 1)}\n`);
  config("hyperparameters", job.HyperParameters);
  const instanceType = job.ResourceConfig.InstanceType;
  config("resourceconfig", {
    current_host: "algo-1",
    current_instance_type: instanceType,
    current_group_name: "homogeneousCluster",
    hosts: ["algo-1"],
    instance_groups: [{ instance_group_name: "homogeneousCluster", instance_type: instanceType, hosts: ["algo-1"] }],
    network_interface_name: "lo",
  });
  config(
    "inputdataconfig",
    Object.fromEntries(
      job.InputDataConfig.map(({ ChannelName }) => [
        ChannelName,
        { TrainingInputMode: "File", S3DistributionType: "FullyReplicated", RecordWrapperType: "None" },
      ]),
    ),
  );
  if (job.CheckpointConfig) {
    // The folder itself, not a copy that is carried over: a resumed job finds what the killed one wrote last.
    const kept = pathOf(job.CheckpointConfig.S3Uri);
    mkdirSync(kept, { recursive: true });
    symlinkSync(kept.replace(/\/$/, ""), at("checkpoints"));
  } else mkdirSync(at("checkpoints"));
  for (const { ChannelName, DataSource } of job.InputDataConfig) {
    const problem = await linkChannel(at("input", "data", ChannelName), DataSource.S3DataSource, host);
    if (problem) return `Data download failed: ${problem}`;
  }
  return undefined;
}

async function linkChannel(
  folder: string,
  source: { S3DataType: "ManifestFile" | "S3Prefix"; S3Uri: string },
  host: JobHost,
): Promise<string | undefined> {
  mkdirSync(folder, { recursive: true });
  let prefix = source.S3Uri;
  let names: string[];
  if (source.S3DataType === "S3Prefix") {
    if (!prefix.endsWith("/")) prefix += "/";
    names = await keysBelow(prefix);
    if (names.length === 0) return "No S3 objects found under the S3 prefix.";
  } else {
    const bytes = await host.store.get(source.S3Uri);
    if (!bytes) return "The S3 object of the manifest file does not exist.";
    const manifest = channelManifest.safeParse(parseJson(bytes, "the channel's manifest", "ChannelManifestInvalid"));
    if (!manifest.success) return "The manifest file is not valid.";
    prefix = manifest.data[0].prefix;
    names = manifest.data.slice(1) as string[];
  }
  const root = pathOf(prefix);
  for (const name of names) {
    const target = path.join(root, name);
    const link = path.join(folder, name);
    if (!existsSync(target)) return `An S3 object of the manifest file does not exist: ${name}.`;
    if (path.relative(folder, link).startsWith("..")) return "A key of the manifest file leads out of the channel.";
    mkdirSync(path.dirname(link), { recursive: true });
    symlinkSync(target, link);
  }
  return undefined;
}
